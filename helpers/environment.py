"""What a run stands on: device and package versions; on Colab also what is missing."""

import platform
import re
import subprocess
import sys
from importlib import metadata

from helpers.config import ROOT, probe_device

SHOWN = ("torch", "transformers", "peft", "trl", "datasets", "bitsandbytes")
# Colab has its own builds of these two, tied to its driver: replacing them in a running
# session breaks it.
NEVER_INSTALLED = ("torch", "numpy")


def report(profile):
    """Return {what: text}: why this profile, the device, Python, the main packages."""
    device = probe_device()
    rows = {
        "profile": profile.why,
        "device": device.name,
        "Python": platform.python_version(),
    }
    if device.kind == "cuda":
        rows["GPU memory"] = f"{device.free_gib:.1f} of {device.total_gib:.1f} GiB free"
    return rows | {name: version(name) or "not installed" for name in SHOWN}


def missing_requirements(path=ROOT / "requirements.txt"):
    """Return the pins whose package is not installed in any version.

    torch and numpy are never among them.
    """
    lines = path.read_text(encoding="utf-8").splitlines()
    pins = [line.split("#")[0].strip() for line in lines]
    names = {pin: re.split(r"[\[=<>!~; ]", pin)[0] for pin in pins if pin}
    return [
        pin
        for pin, name in names.items()
        if name not in NEVER_INSTALLED and version(name) is None
    ]


def install_missing():
    """Install with pip what `missing_requirements` names; run nothing if it is empty.

    Raises subprocess.CalledProcessError where pip fails; pip has said why by then.
    """
    if missing := missing_requirements():
        pip = [sys.executable, "-m", "pip", "install", "--quiet"]
        subprocess.run([*pip, *missing], check=True)


def version(name):
    """Return the installed version of a distribution, None where it is absent."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
