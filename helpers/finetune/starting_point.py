"""The adapters a lesson starts from: shipped, trained once, or the reader's own."""

import json
from pathlib import Path

from helpers import UserError
from helpers.config import Profile
from helpers.files import ROOT, write_text

CONFIG = "adapter_config.json"
TICKETS = ROOT / "data" / "tickets"
TRAINED = ROOT / "build" / "adapters"


class AdapterError(UserError):
    """An adapter that cannot be used. One line: what is wrong, where, the remedy."""


def adapter_folder(
    profile: Profile, folder: str, shipped: str, data: Path = TICKETS, **training_config
) -> Path:
    """The folder of an adapter that belongs to the profile's model.

    folder: the reader's own, or "auto": on `tiny` the one of the name `shipped` that
        comes with the course; on another profile one that `helpers.finetune` trains on
        the data, once, and keeps below build/adapters. training_config: what that run
        changes.
    Raises AdapterError for a folder without an adapter or with one of another base.
    """
    if folder != "auto":
        path = Path(folder)
    elif profile.name == "tiny":
        path = ROOT / "data" / "checkpoints" / shipped
    else:
        path = TRAINED / profile.name / shipped
        _train(profile, path, data, training_config)
    _check_base(path, profile)
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


def _check_base(folder: Path, profile: Profile) -> None:
    """Raises AdapterError unless a folder's adapter names the profile's model."""
    try:
        named = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        base = named["base_model_name_or_path"]
    except (OSError, ValueError, KeyError, TypeError):
        what = f"no readable {CONFIG} in {folder}"
        remedy = "give a folder that save_pretrained or helpers.finetune wrote"
        raise AdapterError(f"{what}: {remedy}") from None
    if _place(base) != _place(profile.model):
        what = f"the adapter in {folder} was trained on {base!r}"
        remedy = f"the profile {profile.name!r} loads {profile.model!r}: change one"
        raise AdapterError(f"{what}, and {remedy}")


def _place(model: str) -> str:
    """A folder below the course as an absolute path; a Hub id as it is."""
    local = ROOT / str(model)  # an absolute path stays what it is
    return str(local.resolve()) if local.is_dir() else str(model)


def _train(profile: Profile, output: Path, data: Path, training_config: dict) -> None:
    """Trains an adapter; a complete run is not repeated."""
    from helpers.finetune import recipe
    from helpers.finetune.settings import Settings

    few = {"validation_rows": 50, "test_rows": 50, "resume": True}
    overrides = {"training_config": training_config}
    recipe.run(Settings(data, output, profile.name, overrides=overrides, **few))
