"""Runs a server, and ends it with the process that wanted it.

    python -m helpers.serving PARENT COMMAND ...

PARENT: the id of that process, whose child this one is. Should it be killed, the whole
process group of this one is. What a server started may outlive it (vLLM's engine does,
with gigabytes): it is asked to end where the server has.
"""

import os
import signal
import subprocess
import sys
import time

from helpers.environment import parent_ends
from helpers.serving.process import LOOK_SECONDS, end_tree


def main() -> None:
    """Runs the command; ends with its exit code, or with the parent."""
    parent, *command = sys.argv[1:]
    orphaned = parent_ends(int(parent))
    server = subprocess.Popen(command)
    while server.poll() is None:
        if orphaned():
            if hasattr(os, "killpg"):  # Windows has no groups
                os.killpg(0, signal.SIGKILL)
            end_tree(server.pid)
        time.sleep(LOOK_SECONDS)
    if hasattr(os, "killpg"):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        os.killpg(0, signal.SIGTERM)
    sys.exit(server.returncode)


if __name__ == "__main__":
    main()
