"""The checkpoints of a training run: which one is whole, and can be resumed from."""

import json
import re
from pathlib import Path

from transformers import TrainerState

from helpers.models import read_whole


def last_checkpoint(folder: str | Path) -> Path | None:
    """The newest whole training checkpoint of a run folder, None where there is none.

    A killed run may leave its newest folder half written: transformers' Trainer writes
    weights, optimizer, schedule and random state first, trainer_state.json last. Give
    the result to `trainer.train(resume_from_checkpoint=...)`, which takes None too.
    """
    newest_first = sorted(numbered(folder), key=step_of, reverse=True)
    return next(filter(_is_whole, newest_first), None)


def numbered(folder: str | Path) -> list[Path]:
    """The checkpoints of a run folder, whole or not; no copy of another name."""
    found = Path(folder).glob("checkpoint-*")
    return [path for path in found if re.fullmatch(r"checkpoint-\d+", path.name)]


def step_of(checkpoint: Path) -> int:
    """The update after which a checkpoint was saved."""
    return int(checkpoint.name.partition("-")[2])


def trainer_state(checkpoint: Path) -> TrainerState:
    """What the Trainer knew when it saved a checkpoint."""
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


def _is_whole(checkpoint: Path) -> bool:
    """Whether a training checkpoint can be resumed from."""
    needed = ("adapter_model.safetensors", "scheduler.pt")
    try:
        for suffix in ("json", "safetensors", "pt", "pth", "bin"):
            for file in checkpoint.glob(f"**/*.{suffix}"):
                read_whole(file)
        text = (checkpoint / "trainer_state.json").read_text(encoding="utf-8")
        step = json.loads(text)["global_step"]
    except FileNotFoundError:
        return False
    except (OSError, MemoryError):  # of this moment: says nothing of the checkpoint
        raise
    except Exception:  # whatever is wrong with a file, the checkpoint is not whole
        return False
    here = step == step_of(checkpoint)
    # Of one process or whole copies, of FSDP, of DeepSpeed.
    optimizers = ("optimizer.pt", "optimizer.bin", "global_step*/*optim_states.pt")
    found = any(any(checkpoint.glob(name)) for name in optimizers)
    return here and found and all((checkpoint / name).exists() for name in needed)
