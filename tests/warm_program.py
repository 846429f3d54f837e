"""A program that starts warm where a command has to be given; see warm.py.

Usage: python tests/warm_program.py MODULE ARGUMENTS... is `python -m MODULE
ARGUMENTS...`: a kernel in JupyterLab's kernel.json, a test process of pytest-xdist.
This process waits for it, hands on an interruption, and ends it by ending.
"""

import os
import signal
import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).parents[1])

from tests.warm import Process  # noqa: E402


def main() -> int:
    """The program's exit code."""
    # A kernel ends with the process that this variable names as its parent.
    env = {k: v for k, v in os.environ.items() if k != "JPY_PARENT_PID"}
    program = Process(sys.argv[1:], (0, 1, 2), env)
    signal.signal(signal.SIGINT, lambda number, frame: program.send_signal(number))
    return program.wait()


if __name__ == "__main__":
    sys.exit(main())
