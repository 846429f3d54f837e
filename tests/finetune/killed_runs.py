"""Kills training runs again and again; see test_finetune_resume.py.

Usage: killed_runs.py KILLS ARGUMENTS..., the arguments being those of `python -m
helpers.finetune`. Every attempt is a fork of this process, so that none pays for the
imports. The first run is left to end, and timed. The others are killed after a random
part of that time, and the next attempt goes on with --resume. A run that ends is put
aside as OUTPUT.K and another begins; the last one is left to end. After every kill the
folder is checked. Prints one line of JSON: the updates that were saved at each kill.
"""

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

from safetensors import safe_open

from helpers.finetune import last_checkpoint
from helpers.finetune.__main__ import main as finetune
from helpers.models import quiet


def main(kills: int, arguments: list[str]) -> None:
    quiet()
    # Imported here, and not in every fork.
    import trl.trainer.sft_trainer  # noqa: F401

    import helpers.finetune.callbacks
    import helpers.finetune.recipe  # noqa: F401

    output, steps = Path(arguments[arguments.index("--output") + 1]), []
    chance, ended, start = random.Random(0), 0, time.monotonic()
    assert forked(arguments)() == 0
    seconds = time.monotonic() - start
    output.rename(f"{output}.0")
    while len(steps) < kills:
        if killed_after(chance.uniform(0, seconds), [*arguments, "--resume"]):
            check(output)
            newest = last_checkpoint(output / "checkpoints")
            steps.append(int(newest.name.partition("-")[2]) if newest else 0)
        else:
            ended += 1
            output.rename(f"{output}.{ended}")
    assert forked([*arguments, "--resume"])() == 0
    print(json.dumps(steps))


def forked(arguments):
    """Start the command in a fork; return a function that waits for its exit code."""
    child = os.fork()
    if child == 0:
        quiet_streams()
        os._exit(finetune(arguments))

    def wait():
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

    wait.child = child
    return wait


def killed_after(seconds, arguments):
    """Whether a run was still going on after so many seconds; it is dead then."""
    wait = forked(arguments)
    time.sleep(seconds)
    os.kill(wait.child, signal.SIGKILL)  # a zombie, where it has ended already
    code = wait()
    assert code in (0, -signal.SIGKILL), code
    return code != 0


def quiet_streams():
    """Send what a fork prints to nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)


def check(output):
    """What the folder holds beside its work in progress is whole."""
    for path in output.glob("*") if output.exists() else ():
        if path.suffix == ".json":
            json.loads(path.read_text(encoding="utf-8"))
        elif path.suffix == ".safetensors":
            with safe_open(path, framework="pt") as file:
                assert list(file.keys())
        elif path.name == "README.md":
            assert "Licence:" in path.read_text(encoding="utf-8")
    work = output / "checkpoints"
    kept = work / "before.json"
    if kept.exists():
        json.loads(kept.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
