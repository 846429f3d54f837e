"""What a lesson says of the machine it runs on, and what it installs on Colab."""

import subprocess
import sys
from importlib import metadata
from types import SimpleNamespace

import gates
import pytest
from gates import ROOT

from helpers import environment
from helpers.config import Device

PINS = """\
# a comment of its own line
torch==2.13.0       # never
numpy==2.4.6        # never
peft==0.21.2        # a reason
trl[extra]==1.16.0  # another
pyyaml==6.0.3
"""
PROFILE = SimpleNamespace(why="profile tiny, because you asked for it")


@pytest.fixture
def installed(monkeypatch):
    """A machine whose installed packages the test sets: {name: version}."""
    packages = {}

    def version(name):
        if name not in packages:
            raise metadata.PackageNotFoundError(name)
        return packages[name]

    monkeypatch.setattr(metadata, "version", version)
    return packages


@pytest.fixture
def commands(monkeypatch):
    """The commands that would have been run; none is."""
    seen = []
    monkeypatch.setattr(subprocess, "run", lambda command, **how: seen.append(command))
    return seen


@pytest.fixture
def requirements(tmp_path):
    path = tmp_path / "requirements.txt"
    path.write_text(PINS, encoding="utf-8")
    return path


def test_report_names_profile_device_and_versions(monkeypatch):
    device = Device("cpu", "a CPU with 2 cores")
    monkeypatch.setattr(environment, "probe_device", lambda: device)
    rows = environment.report(PROFILE)
    assert rows["profile"] == PROFILE.why
    assert rows["device"] == "a CPU with 2 cores"
    assert rows["Python"] == ".".join(map(str, sys.version_info[:3]))
    assert {name: rows[name] for name in environment.SHOWN} == {
        name: metadata.version(name) for name in environment.SHOWN
    }
    assert "GPU memory" not in rows


def test_report_gives_the_memory_of_a_gpu(monkeypatch):
    gpu = Device("cuda", "Tesla T4", (7, 5), total_gib=14.56, free_gib=14.25)
    monkeypatch.setattr(environment, "probe_device", lambda: gpu)
    rows = environment.report(PROFILE)
    assert rows["device"] == "Tesla T4"
    assert rows["GPU memory"] == "14.2 of 14.6 GiB free"


def test_report_says_what_is_not_installed(installed):
    rows = environment.report(PROFILE)
    assert {rows[name] for name in environment.SHOWN} == {"not installed"}


def test_missing_are_absent_packages_with_their_pins(installed, requirements):
    installed["peft"] = "0.21.2"
    missing = environment.missing_requirements(requirements)
    assert missing == ["trl[extra]==1.16.0", "pyyaml==6.0.3"]


def test_another_version_is_not_missing(installed, requirements):
    installed |= {"peft": "0.1", "trl": "99.0", "pyyaml": "5.0"}
    assert environment.missing_requirements(requirements) == []


def test_torch_and_numpy_are_never_missing(installed):
    names = gates.read_pins((ROOT / "requirements.txt").read_text(encoding="utf-8"))
    assert {"torch", "numpy"} <= names.keys()
    missing = {pin.partition("==")[0] for pin in environment.missing_requirements()}
    assert missing == names.keys() - {"torch", "numpy"}


def test_only_what_is_missing_is_installed(monkeypatch, commands):
    pins = ["trl[extra]==1.16.0", "pyyaml==6.0.3"]
    monkeypatch.setattr(environment, "missing_requirements", lambda: pins)
    environment.install_missing()
    assert commands == [[sys.executable, "-m", "pip", "install", "--quiet", *pins]]


def test_nothing_is_run_when_nothing_is_missing(commands):
    assert environment.missing_requirements() == []
    environment.install_missing()
    assert commands == []


def test_a_failed_installation_is_an_error(monkeypatch):
    monkeypatch.setattr(environment, "missing_requirements", lambda: ["no-such==1"])
    failing = [sys.executable, "-c", "raise SystemExit(1)"]
    run = subprocess.run
    monkeypatch.setattr(subprocess, "run", lambda command, **how: run(failing, **how))
    with pytest.raises(subprocess.CalledProcessError):
        environment.install_missing()
