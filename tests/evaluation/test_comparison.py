"""Paired differences and confusion against independent answers."""

import json

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model

from helpers.evaluation.comparison import (
    OTHER,
    confusion,
    difference_by_rows,
    hits,
    on_each,
    paired_difference,
)
from helpers.evaluation.intervals import bootstrap_interval
from helpers.evaluation.scoring import score
from tests.models.tiny_model import build_model

ANSWER = json.dumps({"queue": "QWZ", "order": "G4521"})
WRONG = json.dumps({"queue": "QWZ", "order": "G4512"})


def report(pattern):
    """A report whose rows are right where the pattern says so."""
    return score([ANSWER] * len(pattern), [ANSWER if p else WRONG for p in pattern])


def patterns(count=200, seed=0):
    """Two runs of hits, 0.9 and 0.75, the second mostly wrong where the first is."""
    rng = np.random.default_rng(seed)
    first = rng.random(count) < 0.9
    return first, first & (rng.random(count) < 0.83)


def by_resampling_rows(differences, seed=0):
    """The interval by the definition: draw rows with replacement, take the mean."""
    rng = np.random.default_rng(seed)
    picks = rng.integers(len(differences), size=(4000, len(differences)))
    return np.quantile(np.asarray(differences)[picks].mean(axis=1), [0.025, 0.975])


def test_base_and_every_adapter_are_asked_and_the_last_stays_chosen():
    base = build_model()
    model = get_peft_model(base, LoraConfig(target_modules=["q_proj"]), "one")
    model.add_adapter("two", LoraConfig(target_modules=["q_proj"]))
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.constant_(weight, 1.0 if ".one." in name else 2.0)
    ids = torch.arange(8)[None]

    def measure(model, scale, shift=0):
        return scale * model(ids).logits.sum().item() + shift

    found = on_each(model, measure, 2, shift=1)
    assert list(found) == ["base", "one", "two"]
    assert len(set(found.values())) == 3
    assert measure(model, 2, 1) == found["two"]
    with model.disable_adapter():
        assert measure(model, 2, 1) == found["base"]


def test_hits_of_each_metric():
    made = score([ANSWER] * 3, [ANSWER, WRONG, "?"], stopped=[True, True, False])
    assert hits(made).tolist() == [1, 0, 0]
    assert hits(made, "order").tolist() == [1, 0, 0]
    assert (
        hits(made, "queue").tolist() == hits(made, "valid_json").tolist() == [1, 1, 0]
    )
    assert hits(made, "stopped").tolist() == [1, 1, 0]
    with pytest.raises(KeyError):
        hits(made, "colour")


def test_a_field_is_compared_on_the_rows_that_are_to_have_it():
    expected = ['{"a": 1}', '{"a": 1, "b": 2}', '{"a": 1, "b": 3}']
    one, other = (score(expected, [*expected[:2], last]) for last in (expected[2], "?"))
    assert hits(one, "b").tolist() == [1, 1] and hits(other, "b").tolist() == [1, 0]
    assert paired_difference(one, other, "b").value == 0.5


def test_the_interval_is_that_of_resampled_rows():
    first, second = patterns()
    found = paired_difference(report(first), report(second))
    differences = first.astype(int) - second.astype(int)
    assert found.value == pytest.approx(differences.mean())
    assert found[1:] == pytest.approx(by_resampling_rows(differences), abs=0.006)
    assert not found.includes_zero
    again = paired_difference(report(second), report(first))
    assert again.value == -found.value and again.low < again.high < 0


def test_pairing_is_narrower_than_two_intervals_apart():
    first, second = patterns()
    paired = paired_difference(report(first), report(second))
    widths = [np.subtract(*bootstrap_interval(p)[::-1]) for p in (first, second)]
    apart = np.hypot(*widths)  # what independent samples would have
    assert paired.high - paired.low < 0.9 * apart


def test_a_report_does_not_differ_from_itself():
    first, _ = patterns()
    same = paired_difference(report(first), report(first))
    assert same == (0, 0, 0) and same.includes_zero


def test_the_interval_holds_the_truth_as_often_as_it_says():
    """Of 200 samples of 100 rows, about 95 % of the intervals hold the true 0.153."""
    truth, held = 0.9 * 0.17, 0
    for seed in range(200):
        found = paired_difference(*map(report, patterns(100, seed)))
        held += found.low <= truth <= found.high
    assert 0.90 <= held / 200 <= 0.99


def test_reports_of_other_rows_are_refused():
    with pytest.raises(ValueError, match="same rows in the same order"):
        paired_difference(report([1, 0]), report([1, 0, 1]))
    other = score(['{"queue": "JXW"}'] * 2, [ANSWER] * 2)
    with pytest.raises(ValueError, match="same rows in the same order"):
        paired_difference(report([1, 0]), other)


def test_few_rows_decide_less():
    first, second = map(report, patterns(400))
    table = difference_by_rows(first, second, [10, 50, 400])
    assert list(table.index) == [10, 50, 400]
    widths = table["width"]
    assert widths[10] > 1.5 * widths[50] > 1.5 * widths[400]
    assert table["undecided"][10] > 0.3 > table["undecided"][50]
    assert table["undecided"][400] == 0
    whole = paired_difference(first, second)
    assert widths[400] == pytest.approx(whole.high - whole.low, abs=0.01)


def test_pairs_decide_where_single_intervals_overlap():
    first, second = map(report, patterns(400))
    table = difference_by_rows(first, second, [5, 50, 100, 400])
    assert (table["undecided"] <= table["overlap"]).all()
    assert table["undecided"][100] < table["overlap"][100] / 2
    same = difference_by_rows(first, first, [50])
    assert same.loc[50].tolist() == [0, 1, 1]


@pytest.mark.parametrize("count", [0, 3])
def test_more_rows_than_there_are_is_refused(count):
    with pytest.raises(ValueError, match=f"counts from 1 to 2: got {count}"):
        difference_by_rows(report([1, 0]), report([1, 1]), [1, count])


def test_confusion_counts_every_row_once():
    queues = ["QWZ", "QWZ", "JXW", "JXW", "JXW", "DQK"]
    answers = [{"queue": q} for q in ("QWZ", "JXW", "JXW", "XXX", ["JXW"])]
    made = score(
        [json.dumps({"queue": queue}) for queue in queues],
        [*map(json.dumps, answers), "no idea"],
    )
    table = confusion(made)
    assert list(table.index) == ["DQK", "JXW", "QWZ"]
    assert list(table.columns) == ["DQK", "JXW", "QWZ", OTHER]
    assert table.to_numpy().tolist() == [[0, 0, 0, 1], [0, 1, 0, 2], [0, 1, 1, 0]]
    assert table.to_numpy().sum() == made.n
    right = sum(table.loc[code, code] for code in table.index)
    assert right / made.n == made.field_accuracy["queue"]
    with pytest.raises(KeyError):
        confusion(made, "order")
    with pytest.raises(KeyError):
        confusion(score(["Dear Ada"], ["Dear Ada"]))


@pytest.mark.parametrize("codes", [[1, 2], [True, False], ["billing", "other"]])
def test_codes_of_any_kind_are_told_apart(codes):
    lines = [json.dumps({"queue": code}) for code in [*codes, codes[0]]]
    table = confusion(score(lines, [*lines[:2], '{"queue": "?"}']))
    counts = {code: table.loc[code].to_list() for code in codes}
    assert len(table.columns) == 3 and table.to_numpy().sum() == 3
    assert counts[codes[0]][-1] == 1 and counts[codes[1]][-1] == 0
    assert all(table.loc[code, code] == 1 for code in codes)
