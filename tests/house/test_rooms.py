"""The plan of the house: what lives where, and what may import what.

The plan itself is the table in CONTRIBUTING.md, read here: a row a place, from top to
bottom, `| place | holds |`. A place may import those below it.
"""

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from helpers.files import ROOT
from tests.house import gates
from tests.warm import Program

HELPERS = ROOT / "helpers"
# Of Python, without the recipes: a bound to be raised knowingly only.
MOST_LINES, MOST_PLACES, MOST_LINES_A_MODULE = 15750, 20, 250
ROW = re.compile(r"^\| (`[^|]+`) \| [^|]+ \|$", re.MULTILINE)


def plan() -> list[list[str]]:
    """The places of CONTRIBUTING's table, a list a row, from top to bottom."""
    page = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    table = page.partition("| place | holds |")[2].partition("\n\n")[0]
    rows = [re.findall(r"`([\w.]+?)/?`", cell) for cell in ROW.findall(table)]
    return [[name.removesuffix(".yaml") for name in row] for row in rows]


FLOOR = {name: floor for floor, row in enumerate(plan()) for name in row}


def imports(source: str) -> set[str]:
    """The modules below `helpers` that a Python text imports, dotted."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            inside = {n for n in names if is_module(n)}
            found |= inside or {node.module}
    return {name for name in found if name.startswith("helpers.")}


def is_module(name: str) -> bool:
    """Whether a dotted name is a module or package of this repository."""
    path = ROOT.joinpath(*name.split("."))
    return path.with_suffix(".py").is_file() or (path / "__init__.py").is_file()


def sources() -> dict[str, str]:
    """{place in the repository: Python text} of all that may import helpers."""
    found = {}
    for path in gates.project_files(".py", ".ipynb"):
        name = path.relative_to(ROOT).as_posix()
        if name.startswith("tests/"):
            continue
        if path.suffix == ".py":
            found[name] = path.read_text(encoding="utf-8")
        else:
            cells = gates.cells(path, "code")
            found[name] = "\n".join(gates.python(cell.source) for _, cell in cells)
    return found


def trespasses(name: str, source: str) -> list[str]:
    """What a file imports from behind another package's door."""
    own = ".".join(Path(name).parts[:2])  # "helpers.models" for a module in it
    behind = [n for n in imports(source) if n.count(".") > 1]
    return [n for n in behind if n.rpartition(".")[0] != own]


def climbs(name: str, source: str) -> list[str]:
    """What a module of helpers imports from above the floor it is on."""
    own = Path(name).parts[1].removesuffix(".py")
    places = {found.split(".")[1] for found in imports(source)} - {own}
    return [place for place in places if FLOOR[place] <= FLOOR[own]]


def circles(graph: dict[str, set[str]]) -> list[str]:
    """The modules that import themselves, directly or through others."""
    reach = {name: set(found) for name, found in graph.items()}
    for middle in graph:
        for found in reach.values():
            if middle in found:
                found |= reach[middle]
    return sorted(name for name, found in reach.items() if name in found)


def test_the_plan_names_every_place_once():
    there = {p.stem for p in HELPERS.iterdir() if p.name[0] not in "_."}
    assert there == set(FLOOR)
    assert sum(len(row) for row in plan()) == len(FLOOR)
    assert len(there) <= MOST_PLACES


def test_no_file_reaches_past_a_door():
    assert {n: t for n, s in sources().items() if (t := trespasses(n, s))} == {}


def test_helpers_import_downwards_only():
    mine = {n: s for n, s in sources().items() if n.startswith("helpers/")}
    mine.pop("helpers/__init__.py")
    assert {n: t for n, s in mine.items() if (t := climbs(n, s))} == {}


def test_helpers_import_neither_data_nor_tests_nor_translations():
    wrong = re.compile(r"^\s*(?:from|import) (data|tests|translations)\b", re.M)
    mine = {n: s for n, s in sources().items() if n.startswith("helpers/")}
    assert [n for n, source in mine.items() if wrong.search(source)] == []


def test_there_is_no_circle_of_imports():
    graph = {}
    for name, source in sources().items():
        if name.startswith("helpers/"):
            module = name.removesuffix(".py").removesuffix("/__init__")
            graph[module.replace("/", ".")] = imports(source)
    assert circles(graph) == []


def test_no_lesson_and_no_helper_knows_the_recipes():
    lessons = {n: s for n, s in sources().items() if n.endswith(".ipynb")}
    assert [n for n, source in lessons.items() if "data.recipes" in source] == []


def test_a_broken_plan_is_seen():
    reach = "from helpers.models.loading import load_model"
    assert trespasses("helpers/memory/x.py", reach) == ["helpers.models.loading"]
    assert trespasses("helpers/models/x.py", reach) == []
    assert trespasses("notebooks/x.ipynb", "from helpers.models import a") == []
    up = "def f():\n    from helpers import course\n"
    assert climbs("helpers/memory/x.py", up) == ["course"]
    assert climbs("helpers/exercises/x.py", up) == []
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == ["a", "b", "c"]


def test_helpers_stay_small():
    sizes = {
        path.relative_to(ROOT).as_posix(): len(path.read_text("utf-8").splitlines())
        for path in HELPERS.rglob("*.py")
    }
    assert sum(sizes.values()) < MOST_LINES
    assert {n: size for n, size in sizes.items() if size > MOST_LINES_A_MODULE} == {}


PACKAGES = sorted(path.parent.name for path in HELPERS.glob("*/__init__.py"))


@pytest.fixture(scope="module")
def doors(tmp_path_factory):
    """{package: {name: type}}, each looked up in a fresh process.

    Here another test may have filled a package.
    """
    packages = [f"helpers.{name}" for name in PACKAGES]
    folder = tmp_path_factory.mktemp("doors")
    done = Program(folder, "tests.house.door", *packages).wait()
    assert done.returncode == 0, done.stderr
    return dict(zip(PACKAGES, map(json.loads, done.stdout.splitlines()), strict=True))


@pytest.mark.parametrize("package", PACKAGES)
def test_every_name_on_a_door_is_there(package, doors):
    names = doors[package]
    assert names and [n for n, kind in names.items() if kind == "module"] == []


def test_doors_and_configuration_are_cheap():
    """None of them brings in torch, nor what a reader of pages does without."""
    names = [f"helpers.{name}" for name in (*PACKAGES, "config", "files")]
    code = f"import sys, {', '.join([*names, 'helpers.environment'])}\n"
    code += "print({'torch', 'pandas', 'transformers', 'matplotlib'} & {*sys.modules})"
    env = os.environ | {"EAGER_IMPORT": ""}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=env, capture_output=True, text=True
    )
    assert done.stdout.strip() == "set()", done.stderr
