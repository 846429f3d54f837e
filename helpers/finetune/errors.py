"""What ends a training run early, in words: a user's mistake, a full disk, a signal."""

import contextlib
import errno
import re
import signal
from collections.abc import Iterator
from pathlib import Path

from helpers import UserError

NO_WAY = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR}
NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
# torch and safetensors report a failed write as errors of their own.
NO_ROOM_TEXT = re.compile(r"os error (27|28|122)\b|PytorchStreamWriter|unexpected pos")
NO_MEMORY_TEXT = re.compile(r"out of memory|can't allocate memory|bad_alloc")
# Triton's, of its first use: no compiler, or gcc finds no Python.h.
NO_COMPILER_TEXT = re.compile(r"C compiler|\b(cuda_utils|main)\.c\b|Python\.h")
LESS_MEMORY = (
    "use --qlora, or in a --config file a lower per_device_train_batch_size or "
    "max_length, or activation_checkpointing: true"
)


class RunError(UserError):
    """A run that cannot start or go on. One line: the rule, the value, the remedy."""


class Stopped(BaseException):
    """A signal ended the run. str(error) says how to go on; exit code 128 + signal.

    Like KeyboardInterrupt no Exception, so that no library takes it for an error.
    """

    def __init__(self, number: int, output: Path, step: int | None = None) -> None:
        saved = f"saved at step {step}" if step is not None else "outside of training"
        name, where = signal.Signals(number).name, f"--output {output} --resume"
        super().__init__(f"stopped by {name}, {saved}: go on with {where}")
        self.exit_code = 128 + number


@contextlib.contextmanager
def explained(folder) -> Iterator[None]:
    """Turns a full disk and too little memory into a RunError; passes on the rest.

    folder: the RunFolder; a checkpoint that was left half written is removed first.
    """
    try:
        yield
    except Exception as error:
        if (line := _explanation(error, folder.path)) is None:
            raise
        folder.newest_whole()
        raise RunError(line) from error


def _explanation(error: Exception, output: Path) -> str | None:
    """One line on an error of the machine, None for any other."""
    said = str(error)
    number = getattr(error, "errno", None)
    if number in NO_ROOM or NO_ROOM_TEXT.search(said):
        return f"no room left to write in {output}: free some, then add --resume"
    if isinstance(error, OSError) and number in NO_WAY:
        return f"{output} cannot be written ({error.strerror}): give another --output"
    if isinstance(error, MemoryError) or NO_MEMORY_TEXT.search(said):
        line = (said or type(error).__name__).splitlines()[0][:120]
        return f"too little memory ({line}): {LESS_MEMORY}"
    if NO_COMPILER_TEXT.search(said):
        what = "TRL's loss on a GPU is compiled here, and that failed"
        way = "install a C compiler and Python's headers (gcc, python3-dev)"
        return f"{what} ({' '.join(said.split())[:120]}): {way}"
    if isinstance(error, ImportError) or "to be installed" in said:
        why = " ".join(said.split())[:200]
        return f"a setting asks for a package that is not here ({why}): install it"
    return None
