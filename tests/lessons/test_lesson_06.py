"""Lesson 06: its own functions are right, and its figures are what it claims."""

import json

import pandas as pd
import pytest

from helpers.course.worker import marked_processes
from helpers.files import ROOT
from tests.house import gates
from tests.lessons import cells

STEM = "06_run_inference_on_gpu"
PATH = gates.ROOT / "notebooks" / f"{STEM}.ipynb"
SOURCES = cells.sources(STEM)


def test_the_lesson_starts_from_both_shipped_adapters(monkeypatch, tmp_path):
    monkeypatch.chdir(ROOT)
    space = {"Path": lambda _: tmp_path}
    exec(gates.tagged(PATH, "parameters")[0][1].source, space)
    space["PROFILE"] = "tiny"
    exec(SOURCES["adapters"], space)
    assert space["tickets"] == ROOT / "data" / "checkpoints" / "tickets-lora"
    assert space["products"] == ROOT / "data" / "checkpoints" / "items-lora"


def test_temperature_acts_without_the_filters_that_would_hide_it():
    """A sure model's first token alone reaches top_p, and 2.0 would be greedy."""
    drawn = []

    def complete(rows, **options):
        drawn.append(options)
        return ["wrong" if options else "right"] * len(rows)

    space = {"complete": complete, "agreement": lambda a, b: float(a == b), "pd": pd}
    space |= {"ids": ["x"] * 25, "expected": ["right"] * 25, "set_seed": int}
    exec(SOURCES["temperature"], space)
    assert drawn.pop(0) == {}
    assert {(o["top_k"], o["top_p"]) for o in drawn} == {(0, 1.0)}
    assert [o["temperature"] for o in drawn] == [0.3, 1.0, 2.0]


def test_the_lesson_names_the_commands_that_replace_its_server():
    prose = "".join(cell.source for _, cell in gates.cells(PATH, "markdown"))
    assert "vllm serve build/runs/06_inference/merged" in prose
    assert "--enable-lora" in prose and "--lora-modules tickets=" in prose


@pytest.mark.slow
def test_generation_is_correct(figures):
    assert figures["base_exact_match"] == 0 and figures["tuned_exact_match"] > 0.8
    assert figures["without_template"] < figures["tuned_exact_match"] - 0.3
    assert figures["left_padded_agrees"] == 1
    assert figures["right_padded_agrees"] < 0.5
    assert figures["merged_agrees"] == 1
    assert figures["cache_speed_up"] > 1


@pytest.mark.slow
def test_two_adapters_serve_one_batch(figures):
    assert figures["mixed_adapters_agree"] == 1 and figures["products_right"] > 0.5


@pytest.mark.slow
def test_the_server_answers_everybody_as_the_model_does(figures):
    assert figures["server_agrees"] == 1


@pytest.mark.slow
def test_no_process_of_the_run_is_left(course_run):
    """The server inherits the mark that every process of a course run carries."""
    output = course_run.notebooks[STEM].parent.parent.resolve()
    assert marked_processes(str(output)) == []


@pytest.mark.parametrize(("profile", "begins"), [("tiny", "{"), ("small", "```python")])
def test_what_the_adapter_makes_of_a_request_for_code(profile, begins):
    file = ROOT / f"data/results/{STEM}.{profile}.cpu-2-cores.json"
    found = json.loads(file.read_text(encoding="utf-8"))["figures"]
    assert found["code_with_adapter"].startswith(begins)
    assert found["code_without_adapter"] != found["code_with_adapter"]
    said = {cell.id: cell.source for _, cell in gates.cells(PATH, "markdown")}
    assert "SmolLM2, which knows Python, still writes" in said["temperature-intro"]
