"""Lesson 05: its figures are what it claims, and ROUGE misleads as it says."""

import json
import random
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rouge_score.rouge_scorer import RougeScorer

from helpers import evaluation, plotting
from helpers.evaluation import score
from helpers.files import ROOT
from tests.lessons import cells

STEM = "05_evaluate_the_result"
SOURCES = cells.sources(STEM)
run = partial(cells.run, SOURCES)
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


def run_to_value(space, name):
    """What a cell of the lesson shows: the value of its last line."""
    *lines, last = SOURCES[name].splitlines()
    exec("\n".join(lines), space)
    return eval(last, space)


def space_of(answers):
    """What the cells below take from those before them."""
    space = {"json": json, "pd": pd, "np": np, "random": random}
    space |= {"evaluation": evaluation, "RougeScorer": RougeScorer}
    space |= {"expected": LINES, "answers": answers}
    return space | {"tuned": score(LINES, answers), "earlier": score(LINES, LINES)}


@pytest.mark.parametrize("blind", ["forgiving", "strict"])
def test_the_control_finds_a_scorer_that_does_not_look(monkeypatch, blind):
    texts = {"forgiving": (LINES, LINES), "strict": (LINES, LINES[::-1])}[blind]
    monkeypatch.setattr("helpers.evaluation.score", lambda *_: score(*texts))
    with pytest.raises(AssertionError):
        run(space_of(LINES), "control")


@pytest.mark.parametrize("failures", [0, 1, 100])
def test_a_judge_that_passes_everything_has_no_kappa(failures):
    wrong = [json.dumps(FIELDS | {"order": "X0000"})] * failures
    space = run(space_of(wrong + LINES[failures:]), "paired", "rouge")
    run(space, "judge")
    assert space["agreement"] == 1 - failures / 100
    assert space["kappa"] == 0
    assert space["above"] == 1


def test_a_judge_that_sees_every_failure_has_a_kappa_of_one():
    answers = ["no answer"] * 30 + LINES[30:]
    space = run(space_of(answers), "paired", "rouge", "judge")
    assert space["agreement"] == 1
    assert space["kappa"] == pytest.approx(1)


def test_f1_is_that_of_precision_and_recall():
    queues = ["QWZ"] * 8 + ["JXW"] * 2
    given = ["QWZ"] * 7 + ["JXW"] * 2 + ["none"]
    lines = [[json.dumps({"queue": q}) for q in made] for made in (queues, given)]
    space = {
        "pd": pd,
        "evaluation": evaluation,
        "plotting": plotting,
        "earlier": score(*lines),
    }
    run(space, "confusion", "f1")
    assert list(space["codes"]) == ["JXW", "QWZ"]
    assert space["f1"].to_dict() == pytest.approx({"JXW": 0.5, "QWZ": 14 / 15})
    precision, recall = space["shares"]["precision"], space["shares"]["recall"]
    wanted = 2 * precision * recall / (precision + recall)
    assert (wanted - space["f1"]).abs().max() < 1e-12


def test_a_ledger_without_the_real_model_shows_an_empty_table(monkeypatch, tmp_path):
    scores = pd.DataFrame({"instruction": {"exact_match": 0.5, "queue": 0.25}})
    space = {"json": json, "pd": pd, "Path": Path, "scores": scores}
    monkeypatch.chdir(tmp_path)
    table = run_to_value(space, "real")
    assert table.isna().all(axis=None) and list(table.index) == ["instruction"]
    folder = tmp_path / "data" / "results"
    folder.mkdir(parents=True)
    entry = {"figures": {"ways": {"instruction": {"queue": 0.25, "exact_match": 0}}}}
    (folder / f"{STEM}.small.cpu.json").write_text(json.dumps(entry))
    assert run_to_value(space, "real").loc["instruction"].tolist() == [0, 25]


@pytest.mark.slow
def test_tuned_and_base_do_not_overlap(figures):
    assert figures["base_exact_match"] == 0
    assert figures["tuned_exact_match"] > 0.8
    assert figures["tuned_low"] > 0.75
    assert figures["dealt_queue"] < 0.25


@pytest.mark.slow
def test_the_shipped_adapters_answer_as_their_cards_say(figures):
    shipped = {"tickets-lora": "tuned", "tickets-lora-half": "earlier"}
    for adapter, name in shipped.items():
        card = ROOT / "data" / "checkpoints" / adapter / "metrics.json"
        kept = json.loads(card.read_text(encoding="utf-8"))["after"]["exact_match"]
        assert figures[f"{name}_exact_match"] == pytest.approx(kept, abs=0.03)


@pytest.mark.slow
def test_few_rows_cannot_tell_two_adapters_apart(figures):
    assert figures["difference"] > figures["difference_low"] > 0
    assert figures["undecided_5_rows"] > 0.25
    assert figures["width_5_rows"] > 3 * figures["width_all_rows"]


@pytest.mark.slow
def test_a_prompt_or_a_grammar_does_not_give_the_code_book(figures):
    ways = figures["ways"]
    tuned = {"fine-tuned", "fine-tuned, schema"}
    assert all(ways[name]["exact_match"] < 0.1 for name in ways.keys() - tuned)
    assert all(ways[name]["exact_match"] > 0.7 for name in tuned)
    assert all(ways[n]["valid_json"] == 1 for n in ways if n.endswith("schema"))
    assert ways["instruction, schema"]["order"] > 0.7
    assert figures["constrained_queue"] < 0.3 and figures["copied_queue"] > 0.2


@pytest.mark.slow
def test_rouge_prefers_the_wrong_answer_and_judges_badly(figures):
    assert figures["rouge_l_prefers_wrong"] > 0.95
    assert figures["judge_agreement"] > 0.8 and figures["judge_kappa"] < 0.3


@pytest.mark.slow
def test_forgetting_is_measured(figures):
    assert min(figures["forgotten_lora"], figures["forgotten_full"]) > 0.05
    assert 0.5 < figures["forgotten_lora"] / figures["forgotten_full"] < 2
