"""helpers.finetune on two processes, started as torchrun starts them, but warm.

Usage: python -m tests.finetune.two_processes ARGUMENTS... of helpers.finetune. All that
`torchrun --nproc_per_node 2 -m helpers.finetune ARGUMENTS...` does happens, its parser
and its agent; only the two processes are forks of this one (tests/warm.py) in the place
of two that each begin with the imports.
"""

import runpy
import sys

from torch.distributed import run
from torch.distributed.launcher.api import elastic_launch


def forking(config, entrypoint):
    """What torchrun calls with `python` to start its processes."""
    assert entrypoint == sys.executable
    config.start_method = "fork"
    return elastic_launch(config, _become)


def _become(*command: str) -> None:
    """Is `python COMMAND...`, which torchrun would have started."""
    assert command[:3] == ("-u", "-m", "helpers.finetune"), command
    sys.argv[1:] = command[3:]
    try:
        runpy.run_module(command[2], run_name="__main__", alter_sys=True)
    except SystemExit as end:
        if end.code:
            raise


if __name__ == "__main__":
    run.elastic_launch = forking
    run.main(["--nproc_per_node", "2", "-m", "helpers.finetune", *sys.argv[1:]])
