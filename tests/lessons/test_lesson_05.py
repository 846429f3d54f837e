"""Lesson 05: its figures are what it claims, and ROUGE misleads as it says."""

import json

import pandas as pd
import pytest
import torch
from rouge_score.rouge_scorer import RougeScorer

from helpers.evaluation import score
from tests.house import gates

STEM = "05_evaluate_the_result"
PATH = gates.ROOT / "notebooks" / f"{STEM}.ipynb"
FIELDS = {"queue": "QWZ", "priority": "VM", "order": "G4521", "item": "tablet"}
FIELDS |= {"from": "Vera"}


def rouge(answer, kind):
    scored = RougeScorer([kind]).score(json.dumps(FIELDS), json.dumps(answer))
    return scored[kind].fmeasure


def test_rouge_l_ranks_a_wrong_number_above_another_key_order():
    wrong = FIELDS | {"order": "X0000"}
    paraphrase = dict(reversed(FIELDS.items()))
    assert paraphrase == FIELDS != wrong
    assert rouge(wrong, "rougeL") == pytest.approx(0.9)
    assert rouge(paraphrase, "rougeL") < 0.3


def test_rouge_1_does_not_and_the_lesson_does_not_say_so():
    assert rouge(dict(reversed(FIELDS.items())), "rouge1") == 1
    assert rouge(FIELDS | {"order": "X0000"}, "rouge1") == pytest.approx(0.9)


def test_rouge_is_blind_to_white_space_and_punctuation():
    scorer = RougeScorer(["rougeL"])
    spaced = json.dumps(FIELDS, indent=4)
    assert scorer.score(json.dumps(FIELDS), spaced)["rougeL"].fmeasure == 1


LINES = [json.dumps(FIELDS | {"order": f"G{n}"}) for n in range(100)]


def run(space, *names):
    """Executes cells of the lesson."""
    sources = {cell.id: cell.source for _, cell in gates.cells(PATH)}
    for name in names:
        exec(sources[name], space)
    return space


def test_a_model_that_fails_nowhere_is_compared_all_the_same():
    space = {"json": json, "pd": pd, "expected": LINES, "score": score}
    space |= {"earlier": score(LINES, LINES[::-1]), "tuned": score(LINES, LINES)}
    run(space, "rouge", "rouge-models")
    assert list(space["both"]["exact match"])[:2] == [0, 1]
    assert space["both"].loc["tuned, failures only"].isna().all()
    assert space["of_failures"] is None


@pytest.mark.parametrize("blind", ["forgiving", "strict"])
def test_the_control_finds_a_scorer_that_does_not_look(monkeypatch, blind):
    texts = {"forgiving": (LINES, LINES), "strict": (LINES, LINES[::-1])}[blind]
    monkeypatch.setattr("helpers.evaluation.score", lambda *_: score(*texts))
    space = {"tuned": score(LINES, LINES), "test": LINES, "torch": torch}
    with pytest.raises(AssertionError):
        run(space, "control")


@pytest.fixture
def figures(course_run):
    return course_run.rows[STEM]["figures"]


@pytest.mark.slow
def test_tuned_and_base_do_not_overlap(figures):
    assert figures["base_exact_match"] == 0
    assert figures["tuned_exact_match"] > 0.8
    assert figures["tuned_low"] > 0.75
    assert figures["dealt_queue"] < 0.25


@pytest.mark.slow
def test_few_rows_cannot_tell_two_adapters_apart(figures):
    assert figures["difference"] > figures["difference_low"] > 0
    assert figures["undecided_5_rows"] > 0.25
    assert figures["width_5_rows"] > 3 * figures["width_all_rows"]


@pytest.mark.slow
def test_a_prompt_elicits_the_format_and_not_the_code_book(figures):
    assert figures["begun_valid_json"] > 0.7 and figures["begun_queue"] < 0.25
    assert figures["best_prompt_exact_match"] < 0.1
    assert figures["copied_queue"] > 0.2


@pytest.mark.slow
def test_rouge_prefers_the_wrong_answer(figures):
    assert figures["rouge_l_prefers_wrong"] > 0.95
    assert figures["rouge_l_of_failures"] > 0.7


@pytest.mark.slow
def test_forgetting_is_measured(figures):
    assert min(figures["forgotten_lora"], figures["forgotten_full"]) > 0.05
    assert 0.5 < figures["forgotten_lora"] / figures["forgotten_full"] < 2
