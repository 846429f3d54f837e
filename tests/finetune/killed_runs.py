"""A training run that is killed again and again; see test_finetune_resume.py."""

import json
import random
import signal
import time
from pathlib import Path

from safetensors import safe_open

from helpers.finetune import last_checkpoint
from tests.warm import Program


def killed(kills: int, arguments: list[str], said: Path) -> list[int]:
    """The updates that were saved at each kill of `python -m helpers.finetune`.

    The first run is left to end, and timed. The others are killed after a random part
    of that time, and the next attempt goes on with --resume. A run that ends is put
    aside as OUTPUT.K and another begins; the last one is left to end. After every kill
    the folder is checked. said: a folder for what they print.
    """
    output, steps = Path(arguments[arguments.index("--output") + 1]), []
    chance, ended = random.Random(0), 0

    def start(*more):
        return Program(said, "helpers.finetune", *arguments, *more)

    assert start("--help").wait().returncode == 0  # the process they all start from
    start_time = time.monotonic()
    assert start().wait().returncode == 0
    seconds = time.monotonic() - start_time
    output.rename(f"{output}.0")
    while len(steps) < kills:
        if killed_after(chance.uniform(0, seconds), start("--resume")):
            check(output)
            newest = last_checkpoint(output / "checkpoints")
            steps.append(int(newest.name.partition("-")[2]) if newest else 0)
        else:
            ended += 1
            output.rename(f"{output}.{ended}")
    assert start("--resume").wait().returncode == 0
    return steps


def killed_after(seconds: float, program: Program) -> bool:
    """Whether a run was still going on after so many seconds; it is dead then."""
    time.sleep(seconds)
    program.send(signal.SIGKILL)
    code = program.wait().returncode
    assert code in (0, -signal.SIGKILL), code
    return code != 0


def check(output: Path) -> None:
    """What the folder holds beside its work in progress is whole."""
    for path in output.glob("*") if output.exists() else ():
        if path.suffix == ".json":
            json.loads(path.read_text(encoding="utf-8"))
        elif path.suffix == ".safetensors":
            with safe_open(path, framework="pt") as file:
                assert list(file.keys())
        elif path.name == "README.md":
            assert "Licence:" in path.read_text(encoding="utf-8")
    for kept in (output / "checkpoints").glob("before-*.json"):
        json.loads(kept.read_text(encoding="utf-8"))
