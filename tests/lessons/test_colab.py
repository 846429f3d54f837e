"""Colab, simulated: the set-up cell beside other versions of everything but torch.

A fresh virtual environment gets the versions that Colab had in August 2026
(github.com/googlecolab/backend-info, pip-freeze.txt); torch, numpy and what nobody asks
for by name are lent to it from the environment of the tests. There lesson 00, alone in
a folder, clones the course over file:// and runs.
"""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import nbformat
import papermill
import pytest

from helpers.course.figures import read_figures
from tests.house import gates
from tests.wheels import make_wheel

# What the lesson replaces before it is imported: wheels with nothing in them do.
REPLACED = ("transformers", "tokenizers", "datasets", "pyarrow", "huggingface-hub")
# ABSENT are not on Colab either.
COLAB = """
transformers==5.15.0 tokenizers==0.22.2 peft==0.20.0 accelerate==1.14.0 datasets==4.0.0
pyarrow==18.1.0 huggingface-hub==1.27.0 safetensors==0.8.0 pandas==2.2.3 tqdm==4.67.3
matplotlib==3.10.0 ipython==7.34.0 ipykernel==6.17.1 PyYAML==6.0.3 psutil==5.9.5
tensorboard==2.20.0 fastapi==0.141.1 uvicorn==0.52.3 openai==2.54.0 packaging==26.3
lazy-loader==0.4
""".split()
ABSENT = {"trl", "loralib", "bitsandbytes", "gguf", "rouge-score", "llguidance"}
ABSENT |= {"rensa", "detect-secrets", "python-stdnum", "babel"}
WIDGETS = ["ipywidgets==7.7.1", "ipython-genutils==0.2.0"]
LENT = {"torch", "numpy", "pip", "markdown-it-py"}
SLIDER = """\
from matplotlib.figure import Figure
from helpers.widgets import slider

slider(lambda rank: Figure(), [1, 2], start=1, label="rank")
"""
VERSIONS = """\
import json
from importlib import metadata, util
found = {d.name.lower().replace("_", "-"): d.version for d in metadata.distributions()}
print(json.dumps([*(util.find_spec(n).origin for n in ("torch", "numpy")), found]))
"""
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        os.name == "nt", reason="Colab is Linux; links need a privilege"
    ),
]


@dataclass
class Session:
    """A lesson's run on the simulated Colab.

    before, after: [torch's file, numpy's file, {distribution: version}].
    notebook: path of the executed lesson; course: the clone it made.
    """

    python: Path
    before: list
    after: list
    notebook: Path
    course: Path


def run(*command, **how):
    """Run a command, fail the test with what it said, return its output."""
    done = subprocess.run(command, capture_output=True, text=True, **how)
    if done.returncode:
        pytest.fail(f"{command}:\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")
    return done.stdout


def versions(python):
    return json.loads(run(python, "-c", VERSIONS))


def lend(folder):
    """Link packages into a folder, metadata and all: all but those with a version here.

    pip would fetch the rest in the versions that it found for this environment.
    """
    pinned = {*gates.read_pins((gates.ROOT / "requirements.txt").read_text("utf-8"))}
    pinned |= {name.partition("==")[0].lower() for name in (*COLAB, *WIDGETS)}
    folder.mkdir()
    for distribution in metadata.distributions():
        if distribution.name.lower().replace("_", "-") in pinned - LENT:
            continue
        for top in {file.parts[0] for file in distribution.files} - {".."}:
            link = folder / top
            if not link.exists():  # the nvidia packages share a folder
                link.symlink_to(distribution.locate_file(top))


def environment(folder):
    """Make the virtual environment; return its Python. Skips without PyPI."""
    probe = [sys.executable, "-m", "pip", "download", "--no-deps", "--retries", "0"]
    probe += ["--quiet", "--dest", str(folder / "probe"), "loralib==0.1.2"]
    if subprocess.run(probe, capture_output=True).returncode:
        pytest.skip("PyPI cannot be reached, and Colab's packages come from there")
    lend(folder / "lent")
    run(sys.executable, "-m", "venv", "--without-pip", str(folder / "venv"))
    python = folder / "venv" / "bin" / "python"
    (site,) = (folder / "venv" / "lib").glob("python*/site-packages")
    (site / "lent.pth").write_text(f"{folder / 'lent'}\n", encoding="utf-8")
    pip = [python, "-m", "pip", "install", "--quiet", "--no-compile"]
    old = [pin for pin in COLAB if pin.partition("==")[0] in REPLACED]
    empty = [make_wheel(folder, *pin.split("==")) for pin in old]
    # The widgets ask for a whole server of notebooks.
    run(*pip, "--no-deps", *empty, *WIDGETS)
    run(*pip, *COLAB)
    return python


def published(folder):
    """Make a repository of the files of today; return its address."""
    for file in gates.project_files():
        target = folder / file.relative_to(gates.ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, target)
    who = ["-c", "user.name=test", "-c", "user.email=test@localhost"]
    run("git", "init", "--quiet", cwd=folder)
    for fast in ("core.compression", "pack.window"):
        run("git", "config", fast, "0", cwd=folder)
    run("git", "add", "--all", cwd=folder)
    run("git", *who, "commit", "--quiet", "--message", "the course", cwd=folder)
    return folder.as_uri()


def kernel(folder, python):
    """Write a kernel of that Python in which google.colab is imported, as on Colab."""
    argv = [str(python), "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    spec = {"argv": argv, "display_name": "Colab", "language": "python"}
    write(folder / "jupyter/kernels/colab/kernel.json", json.dumps(spec))
    write(folder / "fake/google/colab/__init__.py", "")
    start = f"import sys\nsys.path.append({str(folder / 'fake')!r})\n"
    start += "import google.colab\n"
    write(folder / "ipython/profile_default/startup/colab.py", start)


def write(path, text):
    path.parent.mkdir(parents=True)
    path.write_text(text, encoding="utf-8")


@pytest.fixture(scope="module")
def session(tmp_path_factory):
    """Lesson 00 with fewer updates and test rows, and a slider at its end."""
    folder = tmp_path_factory.mktemp("colab")
    python = environment(folder)
    before = versions(python)
    kernel(folder, python)
    lesson = gates.read(gates.ROOT / "notebooks" / "00_start_here.ipynb")
    lesson.cells.append(nbformat.v4.new_code_cell(SLIDER, id="slider"))
    (folder / "content").mkdir()
    notebook = folder / "content" / "00_start_here.ipynb"
    nbformat.write(lesson, notebook)
    few = {"PROFILE": "tiny", "TRAINING_STEPS": 80, "TEST_ROWS": 40}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PIP_NO_COMPILE", "1")  # a third of the time of pip
        patch.delenv("MPLBACKEND", raising=False)
        patch.setenv("JUPYTER_PATH", str(folder / "jupyter"))
        patch.setenv("IPYTHONDIR", str(folder / "ipython"))
        patch.setenv("COURSE_REPOSITORY", published(folder / "source"))
        how = {"kernel_name": "colab", "cwd": folder / "content", "progress_bar": False}
        papermill.execute_notebook(notebook, notebook, few, **how)
    course = folder / "content" / "lora-course"
    return Session(python, before, versions(python), notebook, course)


def outputs(session, name):
    """Return the outputs of a cell of the executed lesson."""
    cells = {cell.id: cell for cell in gates.read(session.notebook).cells}
    return cells[name].outputs


def test_what_is_missing_or_too_old_is_installed_and_no_more(session):
    before, after = session.before[2], session.after[2]
    changed = {name for name, old in before.items() if after.get(name) != old}
    pins = gates.read_pins((gates.ROOT / "requirements.txt").read_text("utf-8"))
    for name in (*ABSENT, "transformers"):
        assert after[name] == pins[name]
    # trl 1.16 asks for datasets from 4.7, and that for pyarrow; the rest is Hub's.
    asked = {"transformers", "tokenizers", "datasets", "pyarrow", "huggingface-hub"}
    assert asked <= changed and changed & pins.keys() <= asked
    assert all(after[name] == pins[name] for name in changed & pins.keys())
    new = after.keys() - before.keys()
    assert new & pins.keys() == ABSENT


def test_one_line_says_what_is_installed(session):
    said = "".join(o.text for o in outputs(session, "setup") if o.name == "stdout")
    (line,) = (li for li in said.splitlines() if li.startswith("Installing "))
    names = {pin.partition("==")[0] for pin in line.split()[1:]}
    assert names == {"transformers", *ABSENT}


def test_torch_and_numpy_are_the_very_same(session):
    assert session.after[:2] == session.before[:2]
    for name in ("torch", "numpy"):
        assert session.after[2][name] == metadata.version(name)
        (own,) = session.python.parents[1].glob("lib/python*/site-packages")
        assert not list(own.glob(f"{name}*"))


def test_the_lesson_runs_to_its_end_and_learns(session):
    lesson = read_figures(session.notebook)
    assert lesson["base_exact_match"] == 0
    assert lesson["tuned_exact_match"] > 0.6
    (table,) = outputs(session, "environment")
    assert session.after[2]["peft"] == "0.20.0" and "0.20.0" in str(table.data)


def test_a_slider_is_shown_with_the_ipywidgets_of_colab(session):
    (shown,) = outputs(session, "slider")
    assert session.after[2]["ipywidgets"] == "7.7.1"
    assert "application/vnd.jupyter.widget-view+json" in shown.data


def test_a_second_lesson_installs_nothing(session):
    again = "from helpers.environment import install_missing; install_missing()"
    assert run(session.python, "-c", again, cwd=session.course) == ""
    assert versions(session.python) == session.after
