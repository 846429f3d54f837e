"""The checkpoints of a training run: which one is whole, and can be resumed from."""

import json
import re
from pathlib import Path

from helpers.models import read_whole


def last_checkpoint(folder) -> Path | None:
    """The newest whole training checkpoint of a run folder, None where there is none.

    A killed run may leave its newest folder half written: transformers' Trainer writes
    weights, optimizer, schedule and random state first, trainer_state.json last. Give
    the result to `trainer.train(resume_from_checkpoint=...)`, which takes None too.
    """
    steps = {
        int(match[1]): path
        for path in Path(folder).glob("checkpoint-*")
        if (match := re.fullmatch(r"checkpoint-(\d+)", path.name))
    }
    newest_first = sorted(steps, reverse=True)
    return next((steps[s] for s in newest_first if _is_whole(steps[s], s)), None)


def _is_whole(folder: Path, step: int) -> bool:
    """Whether a training checkpoint of that step can be resumed from."""
    saved = [
        *folder.glob("*.json"),
        *folder.glob("*.safetensors"),
        *folder.glob("*.pt"),
    ]
    try:
        for file in (*saved, *folder.glob("*.pth")):
            read_whole(file)
        state = json.loads((folder / "trainer_state.json").read_text(encoding="utf-8"))
    except Exception:  # whatever is wrong with a file, the checkpoint is not whole
        return False
    needed = ("adapter_model.safetensors", "optimizer.pt", "scheduler.pt")
    return state["global_step"] == step and all((folder / n).exists() for n in needed)
