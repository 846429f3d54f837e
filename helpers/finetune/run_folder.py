"""A run's folder: what it belongs to, what is kept in it, and how files come into it.

run.json         settings, data digest and base fingerprint, written first
checkpoints/     while training: before-SPLIT.json, checkpoint-N, TensorBoard logs
adapter_*, tokenizer*, README.md
metrics.json     written last: the run is complete
"""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from helpers.files import write_json
from helpers.finetune.checkpoints import finished, last_checkpoint, numbered, step_of
from helpers.finetune.errors import RunError


class RunFolder:
    """The folder of one run, by its path; it need not exist yet."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.run, self.metrics = self.path / "run.json", self.path / "metrics.json"
        self.checkpoints = self.path / "checkpoints"

    def check_free(self, resume: bool) -> None:
        """Raises RunError where the folder cannot take this run."""
        path = self.path
        if path.exists() and not path.is_dir():
            raise RunError(f"{path} is a file: give a folder as --output")
        if self.run.exists():
            if not resume:
                what = f"{path} holds a run already"
                raise RunError(f"{what}: add --resume, or give another --output")
        elif path.exists() and not all(map(self._unused, path.iterdir())):
            what = f"{path} is not empty and holds no {self.run.name}"
            raise RunError(f"{what}: give a new folder as --output")

    def _unused(self, entry: Path) -> bool:
        """Whether a kill before anything was kept may leave this entry of the folder.

        The trainer makes `checkpoints` before run.json is written.
        """
        empty = entry == self.checkpoints and entry.is_dir() and not [*entry.iterdir()]
        return empty or entry.suffix == ".part"

    def check_same(self, identity: dict) -> None:
        """Raises RunError unless the folder's run has all that the identity names."""
        if not self.run.exists():
            return
        try:
            kept = json.loads(self.run.read_text(encoding="utf-8"))
        except ValueError:
            raise RunError(f"{self.run} is damaged: give another --output") from None
        kept = _flat({key: kept.get(key) for key in identity})
        here = _flat(json.loads(json.dumps(identity)))  # a tuple is stored as a list
        for key in [*here, *kept]:
            if kept.get(key) != here.get(key):
                raise RunError(
                    f"--resume requires the run of {self.path}: its {key} is "
                    f"{_short(kept.get(key))}, here it is {_short(here.get(key))}: use "
                    "the same settings, or another --output"
                )

    def check_kept(self, patience: int | None) -> None:
        """Raises RunError for a complete run that training would replace by another."""
        newest = self.newest_whole() if self.complete() else None
        if self.complete() and not (newest and finished(newest, patience)):
            what = f"the last checkpoint of {self.path} is gone or damaged"
            why = "training it again might not give the adapter that is there"
            raise RunError(f"{what}, and {why}: give another --output")

    def begin(self, identity: dict) -> None:
        """Writes what the run is, once."""
        if not self.run.exists():
            write_json(self.run, identity)

    def complete(self) -> dict:
        """What metrics.json says of a run that has ended, {} before."""
        if not self.metrics.exists():
            return {}
        return json.loads(self.metrics.read_text(encoding="utf-8"))

    def newest_whole(self) -> Path | None:
        """The checkpoint to resume from; newer ones are not whole, and removed."""
        newest = last_checkpoint(self.checkpoints)
        if int(os.environ.get("RANK", 0)) == 0:
            for path in numbered(self.checkpoints):
                if newest is None or step_of(path) > step_of(newest):
                    shutil.rmtree(path)
        return newest

    def kept(self, name: str, measure: Callable[[], dict]) -> dict:
        """What measure() gave in the run's first session, kept as checkpoints/NAME."""
        file = self.checkpoints / name
        if not file.exists():
            write_json(file, measure())
        return json.loads(file.read_text(encoding="utf-8"))

    def publish(self, save: Callable[[Path], None]) -> None:
        """Moves what save(part) writes to the folder, each file whole, metrics last."""
        part = self.path / "final.part"
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        last = self.metrics.name
        try:
            save(part)
            mode = (part / last).stat().st_mode  # safetensors lets nobody else read
            for file in sorted(part.iterdir(), key=lambda f: (f.name == last, f.name)):
                file.chmod(mode)
                os.replace(file, self.path / file.name)
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
