"""What a lesson imports: one folder a concept, one door each.

A folder's `__init__` names what it offers; nothing outside reaches past it. Imports run
one way, from top to bottom of the table in CONTRIBUTING.md.
"""

import argparse
import logging
import os
import sys

# bitsandbytes asks, as of an error, for a package that would download code.
logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)

# The environment variable that marks a run of the course, without a reader before it.
HEADLESS = "LORA_COURSE_RUN"


class UserError(ValueError):
    """A mistake of the user, or of the machine: what is wrong, and the remedy.

    Every error class of the course that is meant to be read is one of these; a command
    prints it as one line and ends with exit code 2.
    """


def one_line(error: Exception, most: int | None = None) -> str:
    """What an error says, in one line, of so many characters at most."""
    return " ".join(str(error).split())[:most]


class Parser(argparse.ArgumentParser):
    """An ArgumentParser: UserError for a bad flag, its description as it stands."""

    def __init__(self, *args, **options) -> None:
        form = {"formatter_class": argparse.RawDescriptionHelpFormatter}
        super().__init__(*args, **form | options)

    def error(self, message: str):
        raise UserError(message)


def is_headless() -> bool:
    """Whether the course runs by itself: widgets are static pictures, bars are gone."""
    return HEADLESS in os.environ


def run_command(name: str, command, argv=None) -> int:
    """The exit code of command(argv): what it returns, 0 for None, 2 for a UserError.

    name: stands before the error's line on stderr.
    """
    try:
        return command(argv) or 0
    except UserError as error:
        bars = sys.modules.get("tqdm")  # a progress bar may still stand on the line
        write = bars.tqdm.write if bars else print
        write(f"{name}: {one_line(error)}", file=sys.stderr)
        return 2
