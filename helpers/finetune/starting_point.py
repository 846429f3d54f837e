"""The adapters a lesson starts from: shipped, trained once, or the reader's own."""

import dataclasses
import json
from copy import copy
from hashlib import sha256
from pathlib import Path

from filelock import FileLock

from helpers import UserError
from helpers.config import Profile
from helpers.files import CHECKPOINTS, ROOT, TICKETS, shown_model, write_text
from helpers.models import check_adapter, fetch_small_model

CONFIG = "adapter_config.json"
TRAINED = ROOT / "build" / "adapters"
FEW = 20  # rows that such a run measures itself by: lessons do it with many more


class AdapterError(UserError):
    """An adapter that cannot be used. One line: what is wrong, where, the remedy."""


def adapter_folder(
    profile: Profile, folder: str, shipped: str, data: Path = TICKETS, **training_config
) -> Path:
    """The folder of an adapter that belongs to the profile's model.

    folder: the reader's own, or "auto": the one of the name `shipped` that comes with
        the course where it was trained on this model; else one that `helpers.finetune`
        trains on the data, once, and keeps below build/adapters/MODEL: another base,
        dtype, data or setting is another folder. What a lesson has trained so, and
        kept by `keep_adapter`, is not trained again. training_config: what that run
        changes.
    Raises AdapterError for a folder without an adapter or with one of another base,
    and ModelError for a reader's own that is not whole or was not trained.
    """
    path = Path(folder)
    if folder == "auto":
        path = CHECKPOINTS / shipped
        if profile.name != "tiny" or not fits(path, profile):
            path = _trained(profile, shipped, data, training_config)
    if not fits(path, profile):
        what = f"the adapter in {path} was trained on {_base(path)!r}"
        remedy = f"the profile {profile.name!r} loads {profile.model!r}: change one"
        raise AdapterError(f"{what}, and {remedy}")
    if folder != "auto":
        check_adapter(path)
    return path


def item_tickets(folder: Path) -> Path:
    """Writes the tickets with the product alone as answer; returns their folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for file in sorted(TICKETS.glob("*.jsonl")):
        rows = [json.loads(line) for line in file.read_text("utf-8").splitlines()]
        for row in rows:
            turn = row["messages"][-1]
            turn["content"] = json.loads(turn["content"])["item"]
        lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
        write_text(folder / file.name, "".join(lines))
    return folder


def _trained(profile: Profile, name: str, data: Path, changed: dict) -> Path:
    """The adapter that this run trains; a complete run is not repeated."""
    from helpers.finetune import recipe
    from helpers.formatting import load_splits

    if profile.name == "small" and profile.model == profile.open_model:
        fetch_small_model()  # the folder's name depends on its files
    settings, _, path = planned(profile, name, data, changed, load_splits(data))
    # Lessons side by side may want the same adapter: one trains it, the other waits.
    with FileLock(f"{path}.lock"):
        recipe.run(dataclasses.replace(settings, output=path))
    return path


def planned(profile: Profile, name: str, data: Path, changed: dict, splits) -> tuple:
    """(settings, identity, folder) of the run that trains an adapter."""
    from helpers.finetune import recipe
    from helpers.finetune.rows import choose_rows
    from helpers.finetune.settings import Settings, complete

    few = {"validation_rows": FEW, "test_rows": FEW, "resume": True}
    few |= {"overrides": {"training_config": changed}}
    few["force"] = True  # data and settings are the course's: a doubt stops no lesson
    settings = Settings(data, TRAINED, profile.name, profile.model, **few)
    splits = choose_rows(copy(splits), settings)
    run = recipe.identify(settings, complete(settings), splits)
    named = {key: run[key] for key in run if key != "scorer"}  # as it always was
    # Weights in a folder may change under its name.
    files = sorted(Path(profile.model).glob("*.safetensors"))
    named["files"] = [(f.name, f.stat().st_size, f.stat().st_mtime_ns) for f in files]
    key = sha256(json.dumps(named, sort_keys=True).encode()).hexdigest()[:8]
    path = TRAINED / Path(profile.model).name / f"{name}-{key}"
    path.parent.mkdir(parents=True, exist_ok=True)
    return settings, run, path


def fits(folder: Path, profile: Profile) -> bool:
    """Whether a folder's adapter names the profile's model. Raises AdapterError."""
    base = _base(folder)
    # helpers.finetune names a folder outside of the course `local:` its last part.
    return _place(base) == _place(profile.model) or base == shown_model(profile.model)


def _base(folder: Path) -> str:
    """The model that an adapter names as its base. Raises AdapterError."""
    try:
        named = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        return named["base_model_name_or_path"]
    except (OSError, ValueError, KeyError, TypeError):
        what = f"no readable {CONFIG} in {folder}"
        remedy = "give a folder that save_pretrained or helpers.finetune wrote"
        raise AdapterError(f"{what}: {remedy}") from None


def _place(model: str) -> str:
    """A folder below the course as an absolute path; a Hub id as it is."""
    local = ROOT / str(model)  # an absolute path stays what it is
    return str(local.resolve()) if local.is_dir() else str(model)
