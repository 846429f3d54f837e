"""A kernel that starts warm, for JupyterLab's kernel.json; see warm.py.

Usage: python tests/warm_kernel.py ARGUMENTS OF ipykernel_launcher. This process waits
for it, hands on an interruption, and ends it by ending.
"""

import os
import signal
import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).parents[1])

from tests.warm import Process  # noqa: E402


def main() -> int:
    """The kernel's exit code."""
    # A kernel ends with the process that this variable names as its parent.
    env = {k: v for k, v in os.environ.items() if k != "JPY_PARENT_PID"}
    kernel = Process(["ipykernel_launcher", *sys.argv[1:]], (0, 1, 2), env)
    signal.signal(signal.SIGINT, lambda number, frame: kernel.send_signal(number))
    return kernel.wait()


if __name__ == "__main__":
    sys.exit(main())
