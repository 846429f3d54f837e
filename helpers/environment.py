"""What a run stands on: device and package versions; on Colab also what is missing."""

import importlib
import os
import platform
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

from helpers import UserError
from helpers.config import Profile, probe_device
from helpers.files import ROOT

WINDOWS = os.name == "nt"
SHOWN = ("torch", "transformers", "peft", "trl", "datasets", "bitsandbytes")
# Colab has its own builds of these two, tied to its driver: replacing them in a running
# session breaks it.
NEVER_INSTALLED = ("torch", "numpy")
# The heading in requirements.txt below which stands what edits, runs and tests lessons.
# Colab is an editor itself, and another one beside it would change its kernel.
NOT_FOR_COLAB = "# Notebooks"
# Colab had an older transformers than lessons need: activation_checkpointing of
# training_config came with 5.16. What is older than this counts as missing.
OLDEST = {"transformers": "5.16.0"}
# For a process that trains: glibc keeps what an update frees, and the next one need not
# ask for it again, page by page. Others than glibc do not read them.
KEEP_MEMORY = {
    "MALLOC_MMAP_THRESHOLD_": str(2**28),
    "MALLOC_TRIM_THRESHOLD_": str(2**29),
    "MALLOC_TOP_PAD_": str(2**26),
}


def use_one_gpu() -> None:
    """Shows this process one GPU where it would see several; says so in one line.

    transformers' Trainer splits batches over all it sees (nn.DataParallel), which TRL
    refuses. Takes the first of CUDA_VISIBLE_DEVICES, else the one with the most free
    memory. Call it before CUDA is first used; one of several processes that share the
    work (LOCAL_RANK) has a card of its own already.
    """
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    cards = named.split(",") if named is not None else _found_gpus()
    if "LOCAL_RANK" in os.environ or len(cards) < 2:
        return
    card = os.environ["CUDA_VISIBLE_DEVICES"] = cards[0].strip()
    print(f"{len(cards)} GPUs found: this process uses one of them, {card}.")


def parent_ends(parent: int) -> Callable[[], bool]:
    """A test for whether the process with this id, which started this one, has ended.

    Elsewhere a child gets another parent then. On Windows it keeps the id, and the
    `python.exe` of a virtual environment stands between the two (cpython#83086).
    """
    if not WINDOWS:
        return lambda: os.getppid() != parent
    import psutil

    try:
        process = psutil.Process(parent)
    except psutil.NoSuchProcess:
        return lambda: True
    return lambda: not process.is_running()


def _found_gpus() -> list[str]:
    """The ids of the GPUs that the driver sees, the one with the most room first."""
    query = "--query-gpu=uuid,memory.free --format=csv,noheader,nounits"
    try:
        done = subprocess.run(
            ["nvidia-smi", *query.split()], capture_output=True, text=True, timeout=60
        )
        rows = [line.split(",") for line in done.stdout.splitlines()]
        rows = sorted(rows, key=lambda row: -float(row[1]))  # stable: else their order
    except (OSError, subprocess.TimeoutExpired, IndexError, ValueError):
        return []  # no NVIDIA driver, or one that cannot answer
    return [uuid for uuid, _ in rows]


def versions() -> dict[str, str | None]:
    """{package: version} of the main packages, None for one that is absent."""
    return {name: version(name) for name in SHOWN}


def report(profile: Profile) -> dict[str, str]:
    """{what: text}: why this profile, the device, Python, the main packages."""
    device = probe_device()
    rows = {
        "profile": profile.why,
        "device": device.name,
        "Python": platform.python_version(),
    }
    if device.kind == "cuda":
        rows["GPU memory"] = f"{device.free_gib:.1f} of {device.total_gib:.1f} GiB free"
    return rows | {name: now or "not installed" for name, now in versions().items()}


def read_requirements(path: Path = ROOT / "requirements.txt") -> dict[str, str]:
    """{package: pin} of what a lesson imports, without torch and numpy."""
    text = path.read_text(encoding="utf-8").partition(f"\n{NOT_FOR_COLAB}\n")[0]
    pins = [line.split("#")[0].strip() for line in text.splitlines()]
    names = {re.split(r"[\[=<>!~; ]", pin)[0]: pin for pin in pins if pin}
    return {name: pin for name, pin in names.items() if name not in NEVER_INSTALLED}


def install_missing() -> None:
    """Installs with pip the packages of a lesson that are absent, or too old for it.

    torch and numpy stay as they are. Another package changes only where a missing one
    needs it newer, and then to our pin at most. Prints what is installed and changed.
    Raises UserError where pip fails (it has said why by then), or where the session
    has loaded a package that changed.
    """
    pins = read_requirements()
    before = {name: version(name) for name in pins}
    missing = [pin for name, pin in pins.items() if is_missing(name)]
    if not missing:
        return
    print("Installing", *missing, flush=True)
    with tempfile.TemporaryDirectory() as folder:
        limits = Path(folder) / "limits.txt"
        limits.write_text("\n".join(constraints(pins)), encoding="utf-8")
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "-c", str(limits)]
        if subprocess.run([*pip, *missing]).returncode:
            raise UserError("pip could not install them; it says why above")
    importlib.invalidate_caches()
    changed = [name for name, old in before.items() if old and old != version(name)]
    for name in changed:
        print(f"{name} {before[name]} became {version(name)}")
    if loaded := [name for name in changed if name.replace("-", "_") in sys.modules]:
        how = "choose Runtime > Restart session, then run this cell again"
        raise UserError(f"an older {', '.join(loaded)} is loaded already: {how}")


def is_missing(name: str) -> bool:
    """Whether a package is absent, or older than lessons need it."""
    there = version(name)
    return there is None or _numbers(there) < _numbers(OLDEST.get(name, "0"))


def constraints(pins: dict[str, str]) -> list[str]:
    """pip's constraints: torch and numpy as they are, no other past its pin.

    A package that is newer than its pin has no constraint: it would be an older one.
    """
    kept = [f"{name}=={version(name)}" for name in NEVER_INSTALLED if version(name)]
    for name, pin in pins.items():
        limit, there = pin.partition("==")[2], version(name)
        if there and _numbers(there) <= _numbers(limit):
            kept.append(f"{name}<={limit}")
    return kept


def _numbers(text: str) -> list[int]:
    """The numbers of a version, to compare: "2.13.0+cpu" gives [2, 13, 0]."""
    return [int(part) for part in re.findall(r"\d+", text.partition("+")[0])]


def version(name: str) -> str | None:
    """The installed version of a distribution, None where it is absent."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
