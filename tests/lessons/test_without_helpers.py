"""The page that does lesson 03 without helpers: its script runs, its table is whole."""

import json
import re
import shutil
import subprocess
import sys

import pytest

from helpers.files import ROOT
from tests.house import gates

PAGE = ROOT / "notebooks" / "without_helpers.md"
TEXT = PAGE.read_text(encoding="utf-8")
SCRIPT = re.search(r"^```python\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)[1]
LESSON = ROOT / "notebooks" / "03_finetune_with_lora.ipynb"
IMPORT = re.compile(r"^from helpers(\.\w+)? import ([\w, ]+)$", re.MULTILINE)
CHECKPOINTS = ROOT / "data" / "checkpoints"


def imported(source: str) -> set[str]:
    """The helpers that a lesson imports, as its table names them: place.name."""
    found = [(place[1:], names.split(", ")) for place, names in IMPORT.findall(source)]
    pairs = {(place, name) for place, names in found for name in names}
    modules = {name for place, name in pairs if not place}
    used = {(m, n) for m in modules for n in re.findall(rf"\b{m}\.(\w+)\(", source)}
    return {f"{place}.{name}" for place, name in pairs | used if place}


def test_every_helper_of_the_lesson_has_its_row():
    source = "\n".join(cell.source for _, cell in gates.cells(LESSON, "code"))
    source = re.sub(r"import \(\n(.*?),?\n\)", _one_line, source, flags=re.DOTALL)
    assert len(imported(source)) > 10
    assert sorted(n for n in imported(source) if f"`{n}`" not in TEXT) == []
    rows = re.findall(r"^\| (`\w+\..*?) \|", TEXT, re.MULTILINE)
    named = {name for row in rows for name in re.findall(r"`(\w+\.\w+)`", row)}
    doors = [name for name in named if not _is_there(*name.split("."))]
    assert named and doors == []


def _one_line(found: re.Match) -> str:
    return "import " + ", ".join(found[1].replace(",", " ").split())


def _is_there(place: str, name: str) -> bool:
    package = __import__(f"helpers.{place}", fromlist=[name])
    return name in dir(package)


def test_an_import_without_a_row_is_seen():
    source = "from helpers import plotting\nplotting.new()\n"
    source += "from helpers.models import free, frozen"
    assert imported(source) == {"plotting.new", "models.free", "models.frozen"}


def test_the_script_is_short_and_knows_no_helper():
    lines = [line for line in SCRIPT.splitlines() if line.strip()]
    assert 60 <= len(lines) <= 90 and max(map(len, lines)) <= gates.MAX_COLUMNS
    assert "helpers" not in SCRIPT and "trust_remote_code" not in SCRIPT


def with_constants(**values) -> str:
    """The script with other values at its head."""
    script = SCRIPT
    for name, value in values.items():
        script, count = re.subn(rf"(?m)^{name} = .*$", f"{name} = {value!r}", script)
        assert count == 1, f"the script has no constant {name}"
    return script


def some_tickets(folder):
    """A folder with the first rows of each split, which it writes."""
    folder.mkdir()
    for name, rows in {"train": 160, "validation": 8, "test": 60}.items():
        file = f"{name}.jsonl"
        lines = (ROOT / "data" / "tickets" / file).read_text("utf-8").splitlines(True)
        (folder / file).write_text("".join(lines[:rows]), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """(folder of the adapter, names that the script bound, what it printed)."""
    import contextlib
    import io

    import datasets

    folder = tmp_path_factory.mktemp("without_helpers")
    script = with_constants(
        MODEL=str(CHECKPOINTS / "tiny-phi3"),
        DATA=str(some_tickets(folder / "data")),
        OUTPUT=str(folder / "adapter"),
        RATE=2.5e-3,
        UPDATES=4,
        TEST_ROWS=4,
    )
    names, printed = {"__name__": "__main__"}, io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(printed):
        patch.setattr(datasets.config, "HF_DATASETS_CACHE", str(folder / "cache"))
        exec(compile(script, "lora.py", "exec"), names)
    return folder / "adapter", names, printed.getvalue()


@pytest.mark.slow
def test_the_script_runs_to_its_end(run):
    folder, names, printed = run
    assert printed.startswith("base: 0.0% exact match\n")
    assert re.search(r"^tuned: \d+\.\d% exact match$", printed, re.MULTILINE)
    files = {path.name for path in folder.iterdir()}
    assert {"adapter_model.safetensors", "tokenizer.json"} <= files
    assert json.loads((folder / "adapter_config.json").read_text())["r"] == 16


@pytest.mark.slow
def test_what_is_saved_is_the_best_checkpoint(run):
    folder, names, _ = run
    state = names["trainer"].state
    losses = {e["step"]: e["eval_loss"] for e in state.log_history if "eval_loss" in e}
    best = min(losses, key=losses.get)
    assert len(losses) == 4 and max(losses.values()) > min(losses.values())
    checkpoint = folder / "checkpoints" / f"checkpoint-{best}"
    saved = [f / "adapter_model.safetensors" for f in (folder, checkpoint)]
    assert saved[0].read_bytes() == saved[1].read_bytes()


@pytest.mark.slow
def test_it_reads_and_scores_as_the_helpers_do(run):
    from peft import PeftModel

    from helpers.evaluation import evaluate
    from helpers.formatting import load_splits

    folder, names, _ = run
    splits = load_splits(folder.parent / "data")
    for name, rows in names["data"].items():
        assert rows.to_list() == splits[name].to_list()
    rows = splits["test"].select(range(20))
    half = CHECKPOINTS / "tickets-lora-half"  # some of its answers are wrong
    model = PeftModel.from_pretrained(names["load"](), half).eval()
    report = evaluate(model, names["tokenizer"], rows)
    assert 0 < report.exact_match < 1
    assert names["exact_match"](model, rows) == report.exact_match


ALONE = {
    "formatting": "from helpers.formatting import load_splits, check_file;"
    "print(len(load_splits('DATA')['test']), check_file('DATA/test.jsonl').read)",
    "evaluation/intervals.py": "from intervals import bootstrap_interval;"
    "print(bootstrap_interval([0, 1] * 50))",
}


@pytest.mark.parametrize("part", ALONE)
def test_what_stands_on_its_own_does(tmp_path, part):
    source = ROOT / "helpers" / part
    if source.is_dir():
        shutil.copytree(source, tmp_path / "helpers" / part)
        shutil.copy(ROOT / "helpers" / "__init__.py", tmp_path / "helpers")
    else:
        shutil.copy(source, tmp_path)
    code = ALONE[part].replace("DATA", str(ROOT / "data" / "tickets"))
    call = [sys.executable, "-c", code]
    done = subprocess.run(call, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert f"`helpers/{part}" in TEXT and done.stdout.strip()
