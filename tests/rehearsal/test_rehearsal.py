"""Every lesson runs to its end on every GPU profile, and nothing of it never runs.

No GPU is here: `stage` says what is real. A lesson that fails, holds two copies of a
base, trains 16-bit weights, breaks a claim, or has a branch that no run took is named
with its cell. `make rehearsal` runs this tier.
"""

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nbformat
import pytest

from helpers.files import ROOT
from tests.rehearsal import branches, stage
from tests.rehearsal.play import lessons

pytestmark = [pytest.mark.slow, pytest.mark.rehearsal]

NOTEBOOKS = {path.stem: path for path in lessons([])}
CARDS = list(stage.DEVICES)
EVERYWHERE = [*CARDS, "tiny"]
# Lessons 01, 13 and 15 are the same on every profile: they take a tiny model.
# On tiny, which `make test` runs in full, lessons show their branches: 02 has none.
ONLY = {"01_build_lora_by_hand": ["tiny"], "13_use_loralib": ["tiny"]}
ONLY |= {"15_look_inside_memory": ["tiny"], "02_prepare_chat_data": CARDS}
SECONDS = 1800  # a run at most; a machine may be busy

FEW = "16 rows are few"
SHORT = "a run is two updates long"
NOISE = "a speed, on a CPU with other work"
# Claims that a rehearsal cannot meet: {(lesson, cell): why}.
CLAIMS = {
    ("03", "after-figure"): FEW,
    ("03", "overfit-test"): FEW,
    ("03", "controls"): SHORT,
    ("04", "after-check"): SHORT,
    ("05", "fewer-rows"): FEW,
    ("05", "full-claims"): SHORT,
    ("06", "cache-check"): NOISE,
    ("06", "server-many"): NOISE,
    ("16", "merged-speed"): NOISE,
    ("16", "prefill-table"): NOISE,
    ("16", "batch"): NOISE,
}
# Sides of branches that no rehearsal takes: {(lesson, "cell: test"): why}.
VLLM, GGUF = "the tier vllm runs it", "the tier llamacpp runs it"
NEVER = {
    ("06", "vllm-start: serving.vllm_command()"): VLLM,
    ("06", "vllm-ask: server.running"): VLLM,
    ("07", "gguf-export: LLAMACPP"): GGUF,
    ("07", "gguf-ids: LLAMACPP"): GGUF,
    ("07", "gguf-compare: LLAMACPP"): GGUF,
}


def rehearse(profile: str, report: Path, *arguments) -> dict:
    """What `play` reports; its output lies beside it."""
    env = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "0"}
    command = [sys.executable, "-m", "tests.rehearsal.play", profile, *arguments]
    with open(report.with_suffix(".txt"), "w", encoding="utf-8") as log:
        output = {"stdout": log, "stderr": subprocess.STDOUT}
        command += ["--report", report]
        subprocess.run(command, cwd=ROOT, env=env, timeout=SECONDS, **output)
    return json.loads(report.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def reports(tmp_path_factory):
    """{profile: {lesson: what happened}} of all lessons, two profiles at a time."""
    folder = tmp_path_factory.mktemp("rehearsal")

    def one(profile):
        chosen = [s[:2] for s in NOTEBOOKS if profile in ONLY.get(s, EVERYWHERE)]
        return rehearse(profile, folder / f"{profile}.json", *chosen)

    with ThreadPoolExecutor(min(2, os.cpu_count() or 1)) as pool:
        return dict(zip(EVERYWHERE, pool.map(one, EVERYWHERE), strict=True))


EVERY = pytest.mark.parametrize(
    ("profile", "lesson"),
    [
        pytest.param(profile, stem, id=f"{profile}-{stem[:2]}")
        for stem in NOTEBOOKS
        for profile in ONLY.get(stem, EVERYWHERE)
    ],
)


@EVERY
def test_a_lesson_runs_to_its_end(reports, profile, lesson):
    report = reports[profile][lesson]
    assert report["error"] is None, report["error"]
    assert report["faults"] == []


@EVERY
def test_its_claims_hold_but_for_those_that_cannot(reports, profile, lesson):
    claims = reports[profile][lesson]["claims"]
    assert [c for c in claims if (lesson[:2], c[0]) not in CLAIMS] == []


@EVERY
def test_a_base_is_loaded_where_no_other_copy_is(reports, profile, lesson):
    loads = reports[profile][lesson]["loads"]
    assert [load for load in loads if load["beside"]] == []
    assert loads or profile == "tiny", "a lesson on a card loads its model"


@pytest.mark.parametrize("lesson", NOTEBOOKS)
def test_every_branch_has_been_taken(reports, lesson):
    runs = [report[lesson]["sides"] for report in reports.values() if lesson in report]
    left = branches.never_taken(NOTEBOOKS[lesson], runs)
    assert {k: v for k, v in left.items() if (lesson[:2], k) not in NEVER} == {}


def test_nothing_is_excused_that_holds(reports):
    broken = {
        (lesson[:2], cell)
        for report in reports.values()
        for lesson, found in report.items()
        for cell, _ in found["claims"]
    }
    assert {place for place, why in CLAIMS.items() if why != NOISE} <= broken


def test_what_is_excused_is_still_there():
    cells = {
        (stem[:2], cell): source
        for stem, path in NOTEBOOKS.items()
        for cell, _, source in branches.code_cells(path)
    }
    assert [place for place in CLAIMS if "assert" not in cells.get(place, "")] == []
    known = {
        (stem[:2], f"{key.partition(':')[0]}: {text}")
        for stem, path in NOTEBOOKS.items()
        for key, (text, _) in branches.branches(path).items()
    }
    assert NEVER.keys() <= known


BROKEN = {
    "parameters": 'PROFILE = "auto"',
    "load": """
from peft import LoraConfig
from trl import SFTConfig, SFTTrainer
from helpers.config import load_profile
from helpers.formatting import load_splits
from helpers.models import free, load_model, load_tokenizer

profile, train = load_profile(PROFILE), load_splits("data/tickets")["train"]
model = load_model(profile)""",
    "second": "other = load_model(profile)",
    "freed": "free(model, other)\nmodel = load_model(profile, quantized=True)",
    "narrow": """
trainer = SFTTrainer(
    model=model,
    args=SFTConfig(**profile.training_config | {"eval_strategy": "no"}),
    train_dataset=train,
    processing_class=load_tokenizer(profile),
    peft_config=LoraConfig(**profile.peft_config),
)
trainer.train()""",
    "claim": 'assert profile.name == "tiny"',
    "end": "undefined",
    "after": "if undefined:\n    never = 1",
}


@pytest.fixture(scope="module")
def broken(tmp_path_factory):
    """The notebook of a lesson that does all wrong, and what a rehearsal says."""
    folder, v4 = tmp_path_factory.mktemp("broken"), nbformat.v4
    cells = [v4.new_code_cell(source, id=name) for name, source in BROKEN.items()]
    cells[0].metadata["tags"] = ["parameters"]
    notebook = folder / "00_broken.ipynb"
    nbformat.write(v4.new_notebook(cells=cells), notebook)
    report = folder / "report.json"
    return notebook, rehearse("gpu-16gb", report, "--notebooks", folder)[notebook.stem]


def test_a_lesson_that_does_all_wrong_is_seen_through(broken):
    notebook, report = broken
    assert report["error"].startswith("end: ") and "NameError" in report["error"]
    assert report["claims"] == [["claim", "profile.name == 'tiny'"]]
    assert report["faults"] == ["narrow: trains weights in torch.bfloat16"]
    assert [
        (load["cell"], load["form"], load["beside"]) for load in report["loads"]
    ] == [
        ("load", "whole", []),
        ("second", "whole", ["load (whole)"]),
        ("freed", "4-bit", []),
    ]
    left = branches.never_taken(notebook, [report["sides"]])
    assert left == {"after: undefined": [False, True]}
