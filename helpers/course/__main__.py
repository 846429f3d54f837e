"""`python -m helpers.course`."""

import sys

from helpers import run_command
from helpers.course.command import main

if __name__ == "__main__":
    sys.exit(run_command("course", main))
