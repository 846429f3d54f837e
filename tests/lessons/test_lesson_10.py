"""Lesson 10: its marks, pairs and checks can fail, and its figures are its claims."""

import json
import os
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from datasets import Dataset

from helpers import evaluation
from helpers.files import ROOT
from tests.lessons import cells

STEM = "10_align_with_preferences"
SOURCES = cells.sources(STEM)
WANTED = {"queue": "QWZ", "priority": "VM", "order": "G4521", "item": "lamp"}
WANTED |= {"from": "Vera"}


@pytest.fixture(scope="module")
def imported():
    """What the lesson imports."""
    return run({"os": SimpleNamespace(environ=dict(os.environ))}, "imports")


def run(space, *names):
    """Executes cells of the lesson in a copy of the space."""
    return cells.run(SOURCES, dict(space), *names)


def definition(space, cell, name):
    """A function that a cell defines among other things."""
    source = SOURCES[cell].split(f"def {name}(")[1]
    body = [f"def {name}({source.splitlines()[0]}"]
    for line in source.splitlines()[1:]:
        if line and not line.startswith(" "):
            break
        body.append(line)
    space = dict(space)
    exec("\n".join(body), space)
    return space[name]


@pytest.mark.parametrize(
    ("answer", "mark"),
    [
        (json.dumps(WANTED), 1),
        (json.dumps(WANTED | {"queue": "BTX"}), 0.8),
        (json.dumps({"order": "G4521"}), 0.2),
        ("{}", 0),
        ("[]", 0),
        ("QWZ", 0),
        ("", 0),
    ],
)
def test_marks_are_shares_of_right_fields(imported, answer, mark):
    marks = definition(imported, "marks", "marks")
    assert marks(json.dumps(WANTED), answer) == pytest.approx(mark)
    rewarded = definition(imported | {"marks": marks}, "reward", "reward")
    said = [[{"role": "assistant", "content": answer}]]
    assert rewarded(said, [json.dumps(WANTED)]) == [float(mark == 1)]


def test_the_loose_reward_likes_a_short_answer_as_well(imported):
    loose = definition(imported, "hack", "loose")
    assert loose(json.dumps(WANTED), '{"order": "G4521"}') == 1
    assert loose(json.dumps(WANTED), "{}") == 0


def test_only_wrong_answers_become_pairs(imported):
    rows = Dataset.from_list(
        [
            {"prompt": [{"role": "user", "content": text}], "completion": say("right")}
            for text in ("one", "two")
        ]
    )
    pairs = run(imported, "pairs-of")["pairs_of"](rows, ["right", "wrong"])
    assert pairs.to_list() == [
        {"prompt": rows[1]["prompt"], "chosen": say("right"), "rejected": say("wrong")}
    ]


def say(text):
    return [{"role": "assistant", "content": text}]


class Uniform(torch.nn.Module):
    """A model to which each of eight tokens is as likely."""

    def forward(self, input_ids, attention_mask):
        return SimpleNamespace(logits=torch.zeros(*input_ids.shape, 8))


def batch():
    """A pair: two tokens chosen, three rejected."""
    mask = torch.tensor([[0, 0, 1, 1, 0], [0, 0, 1, 1, 1]])
    ids = torch.ones_like(mask)
    refs = {"ref_chosen_logps": torch.tensor([-3.0])}
    refs |= {"ref_rejected_logps": torch.tensor([-5.0])}
    return {"input_ids": ids, "attention_mask": ids, "completion_mask": mask} | refs


def test_log_probabilities_are_sums_over_the_answers_tokens(imported):
    space = run(imported, "log-probs")
    sums = space["log_probs"](Uniform(), batch())
    torch.testing.assert_close(sums, -np.log(8) * torch.tensor([[2.0], [3.0]]))
    assert space["reference_of"](batch()).tolist() == [[-3.0], [-5.0]]


@pytest.mark.parametrize("beta", [0.1, 0.2])
def test_the_loss_by_hand_finds_another_beta(imported, beta):
    margin = (-2 * np.log(8) + 3) - (-3 * np.log(8) + 5)
    theirs = torch.tensor(np.log1p(np.exp(-0.1 * margin)))
    trainer = SimpleNamespace(model=Uniform(), compute_loss=lambda *_: theirs)
    trainer.get_eval_dataloader = lambda: [batch()]
    space = imported | {"trainer": trainer, "dpo_config": {"beta": beta}}
    space |= {"ON_TINY": True}
    if beta == 0.1:
        run(space, "log-probs", "by-hand")
    else:
        with pytest.raises(AssertionError):
            run(space, "log-probs", "by-hand")


@pytest.mark.parametrize("right", [0, 2, 8])
def test_a_group_of_equal_marks_has_no_advantage(imported, right):
    texts = [json.dumps(WANTED)] * right + ["{}"] * (8 - right)
    rows = Dataset.from_list([{"completion": say(json.dumps(WANTED))}] * 2)
    space = imported | {"draw": lambda *_, **__: texts, "mined": rows, "sft": None}
    space["marks"] = definition(imported, "marks", "marks")
    space["reward"] = definition(space, "reward", "reward")
    advantage = run(space | {"pd": pd, "evaluation": evaluation}, "group")["advantage"]
    assert advantage.mean() == pytest.approx(0)
    assert (advantage == 0).all() == (right in (0, 8))


@pytest.mark.slow
def test_dpo_raises_the_margin_of_held_out_pairs_and_shuffled_pairs_do_not(figures):
    assert figures["margin_low"]["DPO"] > max(0, figures["margin"]["shuffled"])
    assert figures["moves"]["DPO"][1] < figures["moves"]["DPO"][0] < 0  # both fall
    assert figures["loss_gap"] < 1e-4 and figures["reference_gap"] < 2e-3


@pytest.mark.slow
def test_a_constant_reward_moves_nothing_and_marks_do(figures):
    assert figures["constant_moved"] < 1e-6 < figures["kl"]


def test_the_table_of_settings_says_what_the_prose_says():
    file = ROOT / "data/results/preferences.tiny.cpu-2-cores.json"
    rows = json.loads(file.read_text(encoding="utf-8"))["rows"]
    tried = [row for row in rows if row["method"] == "dpo"]
    found = {(r["pairs"], r["loss"], r["rate"]): r for r in tried}
    low, mid, high = (found["drawn", "DPO", rate] for rate in (0.2, 0.4, 0.8))
    page = (ROOT / f"notebooks/{STEM}.ipynb").read_text(encoding="utf-8")
    asked = "scored on {rows} validation messages".format(**mid)
    assert f"{asked}, of which the start has {100 * mid['start']:.0f} % right" in page
    assert low["margin"] < mid["margin"] < high["margin"]
    assert 0 > low["chosen"] > mid["chosen"] > high["chosen"] > high["rejected"]
    assert mid["difference_low"] < 0 < mid["difference_high"]  # no proven cost
    mixed, sft = found["drawn", "DPO + SFT", 0.8], found["drawn", "SFT", 0.4]
    assert high["exact_match"] < 0.3 < 0.7 < mixed["exact_match"]
    assert mixed["margin"] > 0.9 * high["margin"]
    assert sft["low"] < 0 < min(sft["chosen"], sft["rejected"])
    greedy = found["greedy", "DPO", 0.4]
    assert greedy["trained"] < mid["trained"] / 2
    assert greedy["low"] < 0 < greedy["high"]
    assert max(greedy["chosen"], greedy["rejected"]) < 0


@pytest.mark.parametrize("rate", [0.2, 0.4])
def test_grpo_raised_the_reward_of_drawn_answers_look_by_look(rate):
    file = ROOT / "data/results/preferences.tiny.cpu-2-cores.json"
    rows = json.loads(file.read_text(encoding="utf-8"))["rows"]
    looks = [r for r in rows if r["method"] == "grpo" and r["rate"] == rate]
    assert [look["update"] for look in looks] == list(range(0, 121, 20))
    for drawn in (look["drawn"] for look in looks[1:]):
        reach = drawn["difference"] - drawn["difference_low"]
        # Two answers a message, counted as two: at worst they are worth one.
        assert drawn["difference"] > 2**0.5 * reach
    assert looks[-1]["drawn"]["difference"] > 2 * looks[1]["drawn"]["difference"]
    gains = [look["greedy"] for look in looks[1:]]
    assert any(gain["difference_low"] <= 0 for gain in gains)  # not reliably
    assert any(gain["difference_low"] > 0 for gain in gains)


def test_grpo_with_marks_by_a_coin_raises_nothing():
    """The control of those updates: other marks alone, the same number and rate."""
    file = ROOT / "data/results/preferences_control.tiny.cpu-2-cores.json"
    looks = json.loads(file.read_text(encoding="utf-8"))["rows"]
    assert [look["update"] for look in looks] == list(range(0, 121, 20))
    assert {look["rate"] for look in looks} == {0.4}
    assert all(look["drawn"]["difference_low"] < 0 for look in looks[1:])
    assert looks[-1]["drawn"]["difference_high"] < 0 < looks[-1]["kl"]


def test_what_is_said_of_the_real_model_stands_in_the_ledger():
    file = ROOT / "data/results/10_align_with_preferences.small.cpu-2-cores.json"
    figures = json.loads(file.read_text(encoding="utf-8"))["figures"]
    assert figures["margin_low"]["DPO"] < figures["margin"]["DPO"] < 0.5
    start, after = figures["start_exact_match"], figures["rewarded_exact_match"]
    page = (ROOT / f"notebooks/{STEM}.ipynb").read_text(encoding="utf-8")
    assert f"exact match from {100 * start:.0f} to {100 * after:.0f} %" in page
