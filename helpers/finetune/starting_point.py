"""The adapters a lesson starts from: shipped, trained once, or the reader's own."""

import dataclasses
import json
import re
from copy import copy
from hashlib import sha256
from pathlib import Path

from filelock import FileLock

from helpers import UserError
from helpers.config import Profile
from helpers.files import ROOT, shown, shown_model, write_json, write_text
from helpers.finetune.run_folder import RunFolder
from helpers.models import check_adapter, fetch_small_model, fingerprint

CONFIG = "adapter_config.json"
SHIPPED = ROOT / "data" / "checkpoints"
TICKETS = ROOT / "data" / "tickets"
TRAINED = ROOT / "build" / "adapters"
FEW = 20  # rows that such a run measures itself by: lessons do it with many more
# Settings of a training that its adapter does not depend on.
WATCHES = re.compile("output_dir|report_to|disable_tqdm|(eval|save|logging)_|.*_eval_")


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
        path = SHIPPED / shipped
        if profile.name != "tiny" or not _fits(path, profile):
            path = _trained(profile, shipped, data, training_config)
    if not _fits(path, profile):
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


def keep_adapter(trainer, profile: Profile, splits) -> Path | None:
    """Keeps what a lesson trained on the tickets for those that start from an adapter.

    Only what `adapter_folder` would train for them, which on a CPU is the same to the
    last bit: the profile's recipe, to its end. Prints what became of it, and returns
    the folder, None where nothing was kept. trainer: after training. splits: the
    tickets.
    """
    from helpers.finetune.metrics import describe_training
    from helpers.finetune.recipe import tidy_config

    if profile.name == "tiny" and _fits(SHIPPED / "tickets-lora", profile):
        print("other lessons start from the adapter that ships with the course")
        return None
    if changed := _changed(trainer, profile):
        print(f"not kept for other lessons: its {changed} is not the profile's")
        return None
    _, identity, path = _planned(profile, "tickets-lora", TICKETS, {}, splits)
    folder = RunFolder(path)
    with FileLock(f"{path}.lock"):
        if not folder.complete():
            base = fingerprint(trainer.model)  # of its weights without the adapter
            folder.begin(identity := identity | {"base": base})
            metrics = describe_training(trainer, identity, shown(TICKETS))

            def save(part: Path) -> None:
                trainer.model.save_pretrained(part)
                trainer.processing_class.save_pretrained(part)
                tidy_config(part / CONFIG, identity["model"])
                (part / "README.md").unlink(missing_ok=True)  # PEFT's, an empty form
                write_json(part / folder.metrics.name, metrics)

            folder.publish(save)
    print(f"kept for the lessons that start from an adapter: {shown(path)}")
    return path


def _changed(trainer, profile: Profile) -> str | None:
    """What of a training was not as the profile says, and changes its adapter."""
    args, lora = trainer.args, trainer.model.peft_config["default"]
    asked = {k: v for k, v in profile.training_config.items() if not WATCHES.match(k)}
    found = [key for key, value in asked.items() if getattr(args, key) != value]
    # PEFT has replaced the name of all layers by theirs.
    asked = {k: v for k, v in profile.peft_config.items() if k != "target_modules"}
    found += [key for key, value in asked.items() if getattr(lora, key) != value]
    if trainer.state.global_step < trainer.state.max_steps:
        found.append("number of updates")
    return found[0] if found else None


def _trained(profile: Profile, name: str, data: Path, changed: dict) -> Path:
    """The adapter that this run trains; a complete run is not repeated."""
    from helpers.finetune import recipe
    from helpers.formatting import load_splits

    if profile.name == "small" and profile.model == profile.open_model:
        fetch_small_model()  # the folder's name depends on its files
    settings, _, path = _planned(profile, name, data, changed, load_splits(data))
    # Lessons side by side may want the same adapter: one trains it, the other waits.
    with FileLock(f"{path}.lock"):
        recipe.run(dataclasses.replace(settings, output=path))
    return path


def _planned(profile: Profile, name: str, data: Path, changed: dict, splits) -> tuple:
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


def _fits(folder: Path, profile: Profile) -> bool:
    """Whether a folder's adapter names the profile's model. Raises AdapterError."""
    base = _base(folder)
    # helpers.finetune names a folder outside of the course by its last part.
    names = (shown_model(profile.model), shown(profile.model))
    return _place(base) == _place(profile.model) or base in names


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
