"""Where the course lies, and files that appear whole or not at all."""

import contextlib
import hashlib
import json
import os
import shutil
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TICKETS, CHECKPOINTS = ROOT / "data" / "tickets", ROOT / "data" / "checkpoints"
SUMS = "SHA256SUMS"


@contextlib.contextmanager
def whole(path, mode: str = "w"):
    """A stream to write; the file takes its place when the block ends without error.

    A kill leaves the old file, the new one, or none, and maybe PATH.part. mode: "w" for
    text in UTF-8 with line feeds, or "wb". Raises OSError.
    """
    path = Path(path)
    part = path.with_name(f"{path.name}.part")
    text = {} if "b" in mode else {"encoding": "utf-8", "newline": "\n"}
    with part.open(mode, **text) as stream:
        yield stream
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(part, path)


def write_text(path, text: str) -> None:
    """Writes a text file that appears whole or not at all. Raises OSError."""
    with whole(path) as stream:
        stream.write(text)


def write_json(path, value, indent: int = 1) -> None:
    """As `write_text`, a value as JSON; makes the folder where there is none."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps(value, indent=indent) + "\n")


def sha256(path) -> str:
    """The SHA-256 of a file, in hexadecimal digits."""
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def seal(folder: Path) -> None:
    """Writes SHA256SUMS over the files of a folder, and lets everybody read them."""
    lines = []
    for file in sorted(f for f in folder.iterdir() if f.name != SUMS):
        lines.append(f"{sha256(file)}  {file.name}\n")
    write_text(folder / SUMS, "".join(lines))
    for file in folder.iterdir():
        file.chmod(0o644)  # safetensors writes files that only their owner can read


def put_in_place(part: Path) -> Path:
    """Moves FOLDER.part to FOLDER, returns that; a kill leaves old, new or none.

    The old one waits as FOLDER.old; where a kill left it, the next sealed folder takes
    it away, if it is sealed too. Raises OSError where another one is in the way.
    """
    folder, old = part.with_suffix(""), part.with_suffix(".old")
    if all((f / SUMS).exists() for f in (part, old)):
        shutil.rmtree(old)
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()
    if not folder.exists():
        os.replace(part, folder)
        return folder
    if old.exists():
        raise FileExistsError(f"{old} is in the way and is not sealed: move it away")
    os.replace(folder, old)
    os.replace(part, folder)
    shutil.rmtree(old, ignore_errors=True)
    return folder


def shown_model(model) -> str:
    """As `shown`, a folder outside of the course as "local:NAME".

    Its name alone may be that of another model on the Hub, such as gpt2.
    """
    inside = not Path(model).is_absolute() or Path(model).is_relative_to(ROOT)
    return shown(model) if inside else f"local:{Path(model).name}"


def shown(path) -> str:
    """A path or Hub id as others know it: relative to the course, or its last part."""
    path = Path(path)
    if path.is_absolute() and path.is_relative_to(ROOT):
        return path.relative_to(ROOT).as_posix()
    return path.name if path.is_absolute() else path.as_posix()
