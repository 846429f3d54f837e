"""A scorer of the reader's own, in `score`, `evaluate` and what compares reports."""

import numpy as np
import pytest

from helpers.evaluation import before_after, evaluate, hits, paired_difference, score
from tests.models.tiny_model import WORDS, build_model, build_tokenizer

EXPECTED = ["Dear Vera, ten days.", "Dear Luc, a week."]
ANSWERS = ["Hello Vera, in ten days!", "Dear Luc, a month."]


def rubric(expected, answer):
    when = expected.split(", ")[1].strip(".")
    return {"polite": answer.startswith("Dear"), "when": when in answer}


def half(expected, answer):
    return 0.5


def test_its_criteria_take_the_place_of_the_fields():
    report = score(EXPECTED, ANSWERS, scorer=rubric)
    assert report.field_accuracy == {"polite": 0.5, "when": 0.5}
    assert report.intervals.keys() == {"exact_match", "polite", "when"}
    assert report.exact_match == 0 and report.valid_json is None
    assert report.metrics() == {"exact_match": 0, "polite": 0.5, "when": 0.5}
    assert "valid_json" not in before_after(tuned=report).index
    assert list(hits(report, "when")) == [1, 0]


def test_json_answers_are_not_scored_by_field_where_there_is_a_scorer():
    lines = ['{"queue": "QWZ"}']
    assert score(lines, lines).field_accuracy == {"queue": 1}
    assert score(lines, lines, scorer=half).field_accuracy == {"score": 0.5}


def test_first_rows_and_pairs_keep_the_scorer():
    one, other = (score(EXPECTED, a, scorer=rubric) for a in (EXPECTED, ANSWERS))
    assert other.first(1).field_accuracy == {"polite": 0, "when": 1}
    assert paired_difference(one, other, "when").value == 0.5


def test_what_it_names_for_some_rows_is_wrong_for_the_others():
    def first(expected, answer):
        return {"polite": 1} if answer.startswith("Dear") else {}

    report = score(EXPECTED, ANSWERS, scorer=first)
    assert report.field_accuracy == {"polite": 0.5}
    assert list(hits(report, "polite")) == [0, 1]
    with pytest.raises(KeyError, match="kind"):
        hits(report, "kind")
    for unknown in ("valid_json", "stopped"):
        with pytest.raises(KeyError, match=unknown):
            hits(report, unknown)


def test_a_number_of_numpy_is_one():
    report = score(EXPECTED, ANSWERS, scorer=lambda e, a: np.bool_(e[:4] == a[:4]))
    assert report.field_accuracy == {"score": 0.5}


@pytest.mark.parametrize(
    "given",
    [
        *(2, -0.1, None, "yes", float("nan"), {"score": None}),
        *({"exact_match": 1}, {"validation_loss": 0.5}, {1: 0.5}, {None: 1}),
    ],
)
def test_what_it_may_not_return(given):
    with pytest.raises(ValueError, match=r"from 0 to 1, by names of their own: got "):
        score(EXPECTED, ANSWERS, scorer=lambda *_: given)


def test_evaluate_asks_it():
    asked = []

    def note(expected, answer):
        asked.append((expected, answer))
        return 1.0

    messages = [{"role": "user", "content": WORDS[0]}]
    messages += [{"role": "assistant", "content": "an answer"}]
    row = {"messages": messages}
    report = evaluate(build_model(), build_tokenizer(), [row], 4, scorer=note)
    assert asked == [("an answer", report.rows[0]["answer"])]
    assert report.field_accuracy == {"score": 1.0}
