"""Checks on rows and answers: on data that has the fault, and on data that has not."""

import json
import random
from functools import partial

import pytest

from helpers.formatting import load_splits
from helpers.preflight import check
from helpers.preflight.__main__ import main as preflight
from helpers.preflight.data import CHANCE, answers_fit
from tests.preflight.made import found, levels, pairs, splits

NAMES = ("too-few-rows", "empty-answers", "constant-answers", "shuffled-answers")
look = partial(check, only=NAMES)


def test_nothing_is_found_in_good_rows():
    report = look(splits=splits(pairs(150)))
    assert report.findings == [] and set(report.checked) == set(NAMES)
    assert report.checked["constant-answers"] == "150 rows, 150 answers"


def test_few_rows_are_seen():
    report = look(splits=splits(pairs(49), pairs(20, 100), pairs(19, 200)))
    assert [f.where for f in report.findings] == ["train", "test"]
    assert {f.level for f in report.findings} == {"warns"}
    assert report.checked["too-few-rows"] == "train 49, validation 20, test 19"


def test_answers_that_hold_nothing_are_named():
    rows = pairs(60)
    for place, nothing in ((7, "  "), (9, "N/A"), (11, "#REF!")):
        rows[place] = (rows[place][0], nothing)
    one = found(look(splits=splits(rows)), "empty-answers")
    assert (one.level, one.where) == ("warns", "train.jsonl:8")
    assert one.what.startswith("3 answers are '#REF!', '', 'N/A': train.jsonl:8, train")
    rows = [(question, "nan") for question, _ in rows]  # they may be a label, too
    report = look(splits=splits(rows))
    assert levels(report) == {"empty-answers": "warns", "constant-answers": "ruins"}
    held_out = [(question, "undefined") for question, _ in pairs(20, 100)]
    assert "empty-answers" in look(splits=splits(test=held_out)).codes


@pytest.mark.parametrize(("others", "level"), [(0, "ruins"), (2, "warns"), (4, None)])
def test_one_answer_for_all(others, level):
    rows = [(q, a if n < others else "Yes.") for n, (q, a) in enumerate(pairs(60))]
    report = look(splits=splits(rows))
    levels = [f.level for f in report.findings if f.code == "constant-answers"]
    assert levels == ([level] if level else [])
    if level:
        what = found(report, "constant-answers").what
        assert what == f"{60 - others} of 60 answers are 'Yes.'"


def shuffled(rows, seed):
    answers = [answer for _, answer in rows]
    random.Random(seed).shuffle(answers)
    return [(q, a) for (q, _), a in zip(rows, answers, strict=True)]


def labels(count):
    """Questions whose answer is a word that does not stand in them."""
    return [
        (q, "electric" if "oven" in q or "fan" in q else "no") for q, _ in pairs(count)
    ]


def written_together(count):
    """Chinese, which has no spaces: one mark tells which queue a message goes to."""
    draw = random.Random(0)
    signs = "灯椅电话平板烤箱桌钟风扇水壶书鞋帽杯地毯沙发"
    found = []
    for n in range(count):
        said, kind = "".join(draw.choices(signs, k=9)), "坏丢"[n % 2]
        found.append((f"{said}{kind}了", {"坏": "修理", "丢": "物流"}[kind]))
    return found


@pytest.mark.parametrize("make", [pairs, labels, written_together])
def test_shuffled_answers_are_seen(make):
    rows = make(300)
    assert "shuffled-answers" not in look(splits=splits(rows)).codes
    for seed in range(3):
        report = look(splits=splits(shuffled(rows, seed)))
        assert levels(report) == {"shuffled-answers": "warns"}


def test_the_tickets_fit_and_shuffled_ones_do_not():
    tickets = load_splits("data/tickets")["train"].select(range(500))
    asked = [row["prompt"][-1]["content"] for row in tickets]
    said = [row["completion"][0]["content"] for row in tickets]
    assert answers_fit(asked, said) > 10 * CHANCE
    assert answers_fit(asked, said[1:] + said[:1]) < CHANCE


def test_prompts_that_differ_in_the_systems_message_alone_are_not_judged():
    said = [answer for _, answer in pairs(100)]
    assert answers_fit(["Go on."] * 100, said) == float("inf")


def test_few_or_equal_answers_are_not_held_to_be_shuffled():
    report = look(splits=splits(shuffled(pairs(99), 0)))
    assert report.checked["shuffled-answers"] == "too few rows to tell"
    assert answers_fit([q for q, _ in pairs(100)], ["Yes."] * 100) == float("inf")


def test_what_reading_refused_is_a_finding():
    one = found(check(refused=["a.csv:3: no answer, expected one"]), "unread-rows")
    assert (one.where, one.what) == ("a.csv:3", "no answer, expected one")
    assert one.level == "ruins"
    assert check(refused=[]).findings == []


def test_rows_refused_for_too_many_reasons_are_counted(tmp_path, capsys):
    path = tmp_path / "a.jsonl"
    path.write_text("".join(f'{{"{n}": 1}}\n' for n in range(3_000)))
    assert preflight(["--data", str(path), "--profile", "tiny", "--json"]) == 1
    *_, last = json.loads(capsys.readouterr().out)["findings"]
    what = "2,980 of 3,000 refused lines have other errors, which are not shown"
    assert (last["code"], last["where"], last["what"]) == (
        "unread-rows",
        str(path),
        what,
    )
