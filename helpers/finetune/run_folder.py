"""A run's folder: what it belongs to, what is kept in it, and how files come into it.

run.json         settings, data digest and base fingerprint, written first
checkpoints/     while training: before.json, checkpoint-N, TensorBoard logs
adapter_*, tokenizer*, README.md
metrics.json     written last: the run is complete
"""

import hashlib
import json
import os
import shutil
from pathlib import Path

from helpers.finetune.checkpoints import last_checkpoint
from helpers.finetune.errors import RunError

RUN, METRICS, WORK, PART = "run.json", "metrics.json", "checkpoints", "final.part"


def write_json(path: Path, value) -> None:
    """Writes a JSON file that appears whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    with part.open("w", encoding="utf-8", newline="\n") as stream:
        stream.write(json.dumps(value, indent=1) + "\n")
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(part, path)


def digest(splits) -> str:
    """The sha256 of every example of a DatasetDict, in hex."""
    found = hashlib.sha256()
    for name, rows in splits.items():
        found.update(f"{name} {len(rows)}\n".encode())
        for row in rows:
            found.update(json.dumps(row, sort_keys=True).encode())
    return found.hexdigest()


def check_free(folder: Path, resume: bool) -> None:
    """Raises RunError where a folder cannot take this run.

    A new run needs a folder that is absent or empty; a resumed one may find its own.
    """
    if folder.exists() and not folder.is_dir():
        raise RunError(f"{folder} is a file: give a folder as --output")
    if (folder / RUN).exists():
        if not resume:
            what = f"{folder} holds a run already"
            raise RunError(f"{what}: add --resume, or give another --output")
    elif folder.exists() and any(p.suffix != ".part" for p in folder.iterdir()):
        what = f"{folder} is not empty and holds no {RUN}"
        raise RunError(f"{what}: give a new folder as --output")


def check_same(folder: Path, identity: dict) -> None:
    """Raises RunError unless the folder's run has these settings, data and base.

    A key that `identity` lacks is not compared.
    """
    if not (folder / RUN).exists():
        return
    try:
        kept = json.loads((folder / RUN).read_text(encoding="utf-8"))
    except ValueError:
        raise RunError(f"{folder / RUN} is damaged: give another --output") from None
    kept = _flat({key: kept.get(key) for key in identity})
    here = _flat(json.loads(json.dumps(identity)))  # a tuple is stored as a list
    for key in [*here, *kept]:
        if kept.get(key) != here.get(key):
            raise RunError(
                f"--resume requires the run of {folder}: its {key} is "
                f"{_short(kept.get(key))}, here it is {_short(here.get(key))}: use the "
                "same settings, or another --output"
            )


def is_complete(folder: Path) -> bool:
    """Whether a run has ended and its files are in place."""
    return (folder / METRICS).exists()


def newest_whole(folder: Path) -> Path | None:
    """The checkpoint to resume from; newer folders, which are not whole, are removed.

    Of several processes only the first one removes.
    """
    work = folder / WORK
    newest = last_checkpoint(work)
    if int(os.environ.get("RANK", 0)) == 0:
        for path in work.glob("checkpoint-*"):
            step = int(path.name.partition("-")[2])
            if newest is None or step > int(newest.name.partition("-")[2]):
                shutil.rmtree(path)
    return newest


def trainer_state(checkpoint: Path):
    """The transformers.TrainerState that a checkpoint holds."""
    from transformers import TrainerState

    return TrainerState.load_from_json(str(checkpoint / "trainer_state.json"))


def finished(checkpoint: Path, patience: int | None) -> bool:
    """Whether a checkpoint is that of a training's last update.

    Resumed from there, transformers' Trainer would make one update more.
    """
    state = trainer_state(checkpoint)
    if state.global_step >= state.max_steps:
        return True
    if patience is None:
        return False
    kept = state.stateful_callbacks["EarlyStoppingCallback"]["attributes"]
    return kept["early_stopping_patience_counter"] >= patience


def publish(folder: Path, save) -> None:
    """Moves what save(part) writes into the folder, each file whole, metrics last.

    part: an empty folder beside the files' final place, on the same disk.
    """
    part = folder / PART
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        save(part)
        mode = (part / METRICS).stat().st_mode  # safetensors lets nobody else read
        for file in sorted(part.iterdir(), key=lambda f: (f.name == METRICS, f.name)):
            file.chmod(mode)
            os.replace(file, folder / file.name)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _flat(value, name: str = "") -> dict:
    """{"a.b": leaf} of nested dictionaries."""
    if not isinstance(value, dict):
        return {name: value}
    parts = (_flat(v, f"{name}.{k}".lstrip(".")) for k, v in value.items())
    return {key: leaf for part in parts for key, leaf in part.items()}


def _short(value) -> str:
    """A value, cut to fit the line."""
    text = json.dumps(value)
    return text if len(text) <= 50 else text[:16] + "..."
