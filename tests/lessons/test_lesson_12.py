"""Lesson 12: its scorer and its checks can fail, and its figures are what it claims."""

import contextlib
import io
import json
import re
import shutil
from functools import partial
from pathlib import Path
from statistics import mean

import pandas as pd
import pytest

from helpers import evaluation
from helpers.config import load_profile
from helpers.files import ROOT
from helpers.finetune import Settings
from helpers.finetune import run as finetune
from helpers.formatting import load_splits, parse_map
from helpers.models import load_tokenizer
from helpers.preflight import check
from tests.finetune import small_run
from tests.house import gates
from tests.lessons import cells

STEM = "12_finetune_your_own_data"
run = partial(cells.run, cells.sources(STEM))
REPLY = (
    "subject: repair, within ten days\nDear Vera, thank you for your message. "
    "We will see to the lamp. The number is G4521. "
    "Kind regards, your shop team"
)


@pytest.mark.parametrize(
    ("changed", "missed"),
    [
        ((), set()),
        (("Dear Vera", "Hello Vera"), set()),
        (("We will see to the lamp", "We do our best"), set()),
        (("Vera", "Vere"), {"name"}),
        (("G4521", "G4512"), {"order"}),
        (("The number is G4521.", ""), {"order"}),
        (("The number", "Not F1111, the number"), {"order"}),  # invented
        (("ten days", "a month"), {"promise"}),
        (("ten days", "ten days or a week"), {"promise"}),
        (("your shop team", "your shop team, Vera"), {"ending"}),
    ],
)
def test_the_rubric_misses_what_it_should(changed, missed):
    rubric = run({"re": re}, "rubric")["rubric"]
    marks = rubric(REPLY, REPLY.replace(*changed) if changed else REPLY)
    assert {name for name, met in marks.items() if not met} - {"all"} == missed
    assert marks["all"] is (not missed)
    assert not any(rubric(REPLY, "").values())


def test_a_blind_scorer_fails_its_test():
    rows = [REPLY, REPLY.replace("Vera", "Luc"), REPLY.replace("ten days", "a week")]
    mails = {"train": [{"completion": [{"content": text}]} for text in rows]}
    space = run({"re": re, "evaluation": evaluation, "mails": mails}, "rubric")
    run(space, "scorer")
    for blind in (lambda *_: {"all": True, "promise": True}, lambda *_: {"all": False}):
        with pytest.raises(AssertionError):
            run(space | {"rubric": blind}, "scorer")


def card_of(folder, share):
    """A folder whose metrics.json says one share and whose card another."""
    marks = dict.fromkeys(["exact_match", "name", "order", "promise", "ending"], 0.5)
    stored = {when: marks | {"all": 0.25} for when in ("before", "after")}
    (folder / "metrics.json").write_text(json.dumps(stored))
    rows = [f"| {n.replace('_', ' ')} | 50.0% | 50.0% | 1% to 2% |" for n in marks]
    rows.append(f"| all | 25.0% | {share}% | 1% to 2% |")
    text = "## Results\n\n" + "\n".join(rows) + "\n\n## Training\n"
    (folder / "README.md").write_text(text)
    return {"re": re, "json": json, "folder": folder}


def test_a_card_with_another_figure_is_found(tmp_path):
    space = run(card_of(tmp_path, "25.0"), "rubric", "card")
    assert len(space["table"]) == 6
    with pytest.raises(AssertionError, match="all"):
        run(card_of(tmp_path, "26.0"), "rubric", "card")


def prose():
    """{id: text} of the lesson's Markdown cells."""
    path = ROOT / "notebooks" / f"{STEM}.ipynb"
    return {cell.id: cell.source for _, cell in gates.cells(path, "markdown")}


def test_the_real_model_did_what_the_prose_says():
    file = ROOT / f"data/results/{STEM}.small.cpu-2-cores.json"
    found = json.loads(file.read_text(encoding="utf-8"))["figures"]
    share, moved = found["tuned_all"], found["merge_difference"]
    assert f"{100 * share:.0f} % of these mails" in prose()["test-after"]
    assert f"by up to {moved:.1f}, and some words" in prose()["reply-failures-after"]
    assert found["reply_exact_match"] == 0


def curve(profile):
    """{rows: shares of three seeds, in percent} of the ledger."""
    file = ROOT / f"data/results/own_curve.{profile}.cpu-2-cores.json"
    seeds, shares = {}, {}
    for row in json.loads(file.read_text(encoding="utf-8"))["rows"]:
        seeds.setdefault(row["rows"], set()).add(row["seed"])
        shares.setdefault(row["rows"], []).append(100 * row["exact_match"])
    assert seeds == dict.fromkeys([25, 50, 100, 200, 597], {0, 1, 2})
    return shares


def test_the_tiny_curve_is_what_the_prose_says():
    shares, said = curve("tiny"), prose()["curve-after"]
    few, some, more, all_of_them = (mean(shares[n]) for n in (25, 100, 200, 597))
    what = f"{few:.0f} % right with 25 rows, {some:.0f} % with 100, {more:.0f} % with"
    assert f"{what} 200 and {all_of_them:.0f} % with all" in said
    apart = max(shares[200]) - min(shares[200])
    assert more - some < apart and all_of_them - more < apart  # flat


def test_the_real_curve_is_what_the_prose_says():
    shares, said = curve("small"), prose()["curve-after"]
    few, some, more, all_of_them = (mean(shares[n]) for n in (25, 100, 200, 597))
    what = f"from {few:.0f} % through {some:.0f} % and {more:.0f} % to"
    assert f"{what} {all_of_them:.0f} %" in said
    for rows, name in ((200, "with 200 rows"), (597, "with all")):
        low, high = min(shares[rows]), max(shares[rows])
        assert f"between {low:.0f} and {high:.0f} % {name}" in said
    assert max(shares[200]) < min(shares[597])  # labels pay


@pytest.mark.slow
def test_a_split_by_row_flatters(figures):
    assert figures["copier_by_row"] > figures["copier_by_customer"] + 0.2


@pytest.mark.slow
def test_more_rows_help_and_dealt_answers_do_not(figures):
    few, all_of_them = figures["exact_match_25_rows"], figures["tuned_exact_match"]
    assert all_of_them > few and all_of_them > figures["copier_by_customer"] + 0.1
    assert figures["control_exact_match"] < figures["chance"] + 0.1


@pytest.mark.slow
def test_the_replies_are_learnt_though_none_is_the_expected_text(figures):
    assert figures["tuned_all_low"] > figures["base_all"]
    assert figures["tuned_all"] > 0.5 > 0.3 > figures["reply_exact_match"]


@pytest.mark.slow
def test_a_file_of_ones_own_is_looked_at_trained_on_tested_and_merged(tmp_path, capsys):
    profile, asked = load_profile("tiny"), []
    profile.training_config["max_length"] = 20  # as if LENGTH came later
    space = {
        **{"pd": pd, "json": json, "io": io, "shutil": shutil, "Path": Path},
        **{"contextlib": contextlib, "Settings": Settings, "finetune": finetune},
        **{"check": check, "load_splits": load_splits, "parse_map": parse_map},
        **{"profile": profile, "PROFILE": "tiny", "MODEL": None, "run": tmp_path},
        **{"given": {"tokenizer": load_tokenizer(profile), "profile": profile}},
        **{"LONG": 5, "LENGTH": None, "FINISHED": False, "how": {"rows": 4}},
        "DATA": str(small_run.write_prices(tmp_path, 60)),
        "MAP": "prompt=prompt,completion=completion",
        **{"GROUP": None, "summary": str},
        "merge_adapter": lambda *folders, **how: asked.append((folders, how)),
    }
    with pytest.raises(AssertionError):
        run(space, "learn", "own")
    assert "cut-answers" in capsys.readouterr().out
    trained = run(space | {"LENGTH": 128}, "own", "finished")
    assert "FINISHED is False" in capsys.readouterr().out and not asked
    assert trained["own"]["scored"] == "validation"
    ended = run(trained | {"FINISHED": True}, "finished")
    assert (ended["own"]["scored"], ended["own"]["steps"]) == ("test", 5)
    [(folders, how)] = asked
    assert folders == (tmp_path / "mine", tmp_path / "mine-merged")
    assert how == {"rows": 4, "data": space["DATA"], "map": space["MAP"]}
