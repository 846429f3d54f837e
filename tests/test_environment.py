"""What a lesson says of the machine it runs on, and what it installs on Colab."""

import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import pytest

from helpers import UserError, environment
from helpers.config import Device
from helpers.files import ROOT
from tests.house.test_house import imported_packages
from tests.wheels import make_wheel

PINS = """\
# a comment of its own line
torch==2.13.0       # never
numpy==2.4.6        # never
peft==0.21.2        # a reason
trl[extra]==1.16.0  # another
pyyaml==6.0.3

# Notebooks
jupyterlab==4.6.6   # an editor
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
def run(monkeypatch):
    """Stands in for subprocess.run: no command is run, each ends with code 0."""
    run = Mock(return_value=SimpleNamespace(returncode=0))
    monkeypatch.setattr(subprocess, "run", run)
    return run


@pytest.mark.parametrize("windows", [True, False])
def test_the_end_of_the_process_that_started_this_one_is_seen(monkeypatch, windows):
    """Windows keeps the id of a dead parent; what tells is whether it still runs."""
    monkeypatch.setattr(environment, "WINDOWS", windows)
    call = [sys.executable, "-c", "input()"]
    with subprocess.Popen(call, stdin=subprocess.PIPE) as process:
        ended, own = map(environment.parent_ends, (process.pid, os.getppid()))
        assert ended() is not windows and not own()
        process.communicate()
    assert ended() and not own()
    assert environment.parent_ends(process.pid)()


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


TWO = "GPU-aaa, 3000\nGPU-bbb, 15000\n"  # nvidia-smi: id and free MiB


@pytest.mark.parametrize(
    ("found", "variables", "shown"),
    [
        (TWO, {}, "GPU-bbb"),  # the one with the most room
        ("GPU-aaa, 10\nGPU-bbb, 10\n", {}, "GPU-aaa"),
        ("GPU-aaa, 3000\n", {}, None),
        ("", {}, None),
        ("No devices were found\n", {}, None),
        (TWO, {"CUDA_VISIBLE_DEVICES": "1,0"}, "1"),
        (TWO, {"CUDA_VISIBLE_DEVICES": "0"}, "0"),
        (TWO, {"CUDA_VISIBLE_DEVICES": ""}, ""),  # the user wants none
        (TWO, {"LOCAL_RANK": "1"}, None),  # torchrun gives each process its own
    ],
)
def test_a_process_is_shown_one_gpu(monkeypatch, run, capsys, found, variables, shown):
    for name in ("CUDA_VISIBLE_DEVICES", "LOCAL_RANK"):
        monkeypatch.setenv(name, "")  # so that it is put back
        monkeypatch.delenv(name)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    run.return_value.stdout = found
    before = variables.get("CUDA_VISIBLE_DEVICES")
    environment.use_one_gpu()
    assert os.environ.get("CUDA_VISIBLE_DEVICES") == shown
    line = f"2 GPUs found: this process uses one of them, {shown}.\n"
    assert capsys.readouterr().out == ("" if shown == before else line)
    environment.use_one_gpu()
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    "error", [FileNotFoundError(), subprocess.TimeoutExpired("nvidia-smi", 60)]
)
def test_without_a_driver_nothing_is_chosen(monkeypatch, run, capsys, error):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    run.side_effect = error
    environment.use_one_gpu()
    assert "CUDA_VISIBLE_DEVICES" not in os.environ
    assert capsys.readouterr().out == ""


@pytest.mark.skipif(sys.platform == "win32", reason="the driver's tool is a script")
def test_the_choice_is_made_before_torch_counts_gpus(tmp_path):
    """In a process of its own, with a driver's tool that names two cards."""
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho GPU-aaa, 3000\necho GPU-bbb, 15000\n")
    tool.chmod(0o755)
    code = (
        "import os, sys; from helpers.environment import use_one_gpu; use_one_gpu()\n"
        "print('torch' in sys.modules, os.environ['CUDA_VISIBLE_DEVICES'])\n"
    )
    variables = {"PATH": str(tmp_path), "HOME": str(tmp_path)}
    command = [sys.executable, "-c", code]
    done = subprocess.run(
        command, cwd=ROOT, env=variables, capture_output=True, text=True, check=True
    )
    line = "2 GPUs found: this process uses one of them, GPU-bbb.\n"
    assert done.stdout == f"{line}False GPU-bbb\n"


def test_requirements_of_a_lesson_end_where_the_tools_begin(requirements):
    pins = {"peft": "peft==0.21.2", "trl": "trl[extra]==1.16.0"}
    pins |= {"pyyaml": "pyyaml==6.0.3"}
    assert environment.read_requirements(requirements) == pins


def test_requirements_of_a_lesson_are_all_that_lessons_import():
    """What a front end of notebooks brings along is not among them, nor its tools."""
    brought = {"IPython", "ipykernel", "ipywidgets", "psutil", "nbformat", "papermill"}
    paths = [*(ROOT / "notebooks").glob("*.ipynb"), *(ROOT / "helpers").rglob("*.py")]
    imported = set().union(*map(imported_packages, paths)) - brought - {"helpers"}
    provides = metadata.packages_distributions()
    needed = {d for name in imported for d in provides.get(name, [])}
    needed = {name.lower().replace("_", "-") for name in needed}
    pins = environment.read_requirements()
    assert needed - {"torch", "numpy"} <= pins.keys()
    assert not {"jupyterlab", "pytest", "sphinx"} & pins.keys()


def test_missing_is_what_is_absent_or_too_old(installed):
    installed |= {"peft": "0.1", "transformers": "5.15.0", "trl": "99.0"}
    names = ("peft", "trl", "loralib", "transformers")
    missing = [name for name in names if environment.is_missing(name)]
    assert missing == ["loralib", "transformers"]
    installed["transformers"] = "5.16.0"
    assert not environment.is_missing("transformers")


def test_torch_and_numpy_stay_and_no_other_goes_past_its_pin(installed, requirements):
    installed |= {"torch": "2.11.0+cu128", "numpy": "2.1.3"}
    installed |= {"peft": "0.20.0", "pyyaml": "7.0"}  # older and newer than the pin
    pins = environment.read_requirements(requirements)
    limits = ["torch==2.11.0+cu128", "numpy==2.1.3", "peft<=0.21.2"]
    assert environment.constraints(pins) == limits


def test_only_what_is_missing_is_installed(installed, run, capsys):
    pins = environment.read_requirements()
    installed |= dict.fromkeys(pins.keys() - {"trl", "loralib"}, "99.0")
    environment.install_missing()
    run.assert_called_once()
    *pip, limits, trl, loralib = run.call_args.args[0]
    assert pip == [sys.executable, "-m", "pip", "install", "--quiet", "-c"]
    assert [trl, loralib] == [pins["trl"], pins["loralib"]]
    assert not Path(limits).exists()
    assert capsys.readouterr().out == f"Installing {trl} {loralib}\n"


def test_nothing_is_run_when_nothing_is_missing(run, capsys):
    environment.install_missing()
    assert not run.called and capsys.readouterr().out == ""


def test_a_failed_installation_is_an_error_in_one_line(installed, run):
    run.return_value.returncode = 1
    with pytest.raises(UserError, match="pip could not install them"):
        environment.install_missing()


@pytest.mark.parametrize("loaded", [True, False])
def test_a_package_that_changed_while_loaded_asks_for_a_restart(
    monkeypatch, installed, run, loaded, capsys
):
    installed |= dict.fromkeys(environment.read_requirements(), "99.0")
    installed |= {"datasets": "4.0.0"}
    del installed["trl"]

    def pip(command):
        installed.update(trl="1.16.0", datasets="5.2.0")
        return SimpleNamespace(returncode=0)

    run.side_effect = pip
    if loaded:
        monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace())
        with pytest.raises(UserError, match="an older datasets is loaded .*Restart"):
            environment.install_missing()
    else:
        monkeypatch.delitem(sys.modules, "datasets", raising=False)
        environment.install_missing()
    assert "datasets 4.0.0 became 5.2.0" in capsys.readouterr().out


@pytest.mark.parametrize("limited", [True, False])
def test_pip_leaves_numpy_alone_because_of_the_constraints(tmp_path, limited):
    """A missing package that asks for another numpy; without constraints it gets it."""
    make_wheel(tmp_path, "numpy", "99.0")
    make_wheel(tmp_path, "greedy", "1.0", needs="numpy>=99")
    limits = tmp_path / "limits.txt"
    limits.write_text("\n".join(environment.constraints({})) if limited else "")
    pip = [sys.executable, "-m", "pip", "install", "--dry-run", "--no-index"]
    pip += ["--find-links", str(tmp_path), "-c", str(limits), "greedy"]
    done = subprocess.run(pip, capture_output=True, text=True)
    assert ("Would install greedy-1.0 numpy-99.0" in done.stdout) == (not limited)
    assert (done.returncode == 0) == (not limited)
    assert ("ResolutionImpossible" in done.stderr) == limited
