"""The table by card: measured, reckoned or reported, and the committed one is true."""

import json
import shutil

import pytest
import yaml

from helpers.course import ledger
from helpers.course.cards import LISTED, card_rows
from helpers.course.lessons import CARDS
from helpers.files import ROOT
from tests.house import gates

ROWS = json.loads((ledger.RESULTS / ledger.BY_CARD).read_text(encoding="utf-8"))
LESSON = ROOT / "notebooks" / "00_start_here.ipynb"
SETTINGS = ledger.RESULTS / "small_settings.cpu-2-cores.json"
TABLE = yaml.safe_load(LISTED.read_text(encoding="utf-8"))


def test_the_committed_table_is_what_the_ledger_and_the_helpers_say():
    assert card_rows(ledger.RESULTS) == ROWS, "make pages"


def test_another_figure_of_the_ledger_would_be_seen(tmp_path):
    for path in ledger.RESULTS.glob("*small*.json"):
        shutil.copy(path, tmp_path)
    [file] = tmp_path.glob("00_start_here.small.*.json")
    entry = json.loads(file.read_text(encoding="utf-8"))
    entry["figures"]["training_seconds"] *= 2
    file.write_text(json.dumps(entry), encoding="utf-8")
    [first, *rest] = card_rows(tmp_path)
    assert first["million_minutes"] == pytest.approx(
        2 * ROWS[0]["million_minutes"], 0.01
    )
    assert rest == ROWS[1:] and first["how"] == "measured"


def test_every_card_is_there_with_both_models_a_price_and_its_source():
    reckoned = [row for row in ROWS if row["how"] == "reckoned"]
    assert [r["machine"] for r in reckoned] == [n for n in TABLE["cards"] for _ in "ab"]
    assert {card.name for card in CARDS.values()} < TABLE["cards"].keys()
    for row in reckoned:
        card = TABLE["cards"][row["machine"]]
        gib = card["peaks"][0] if "peaks" in card else CARDS[card["profile"]].gib
        assert row["gib"] < gib and row["dollars_an_hour"] == card["dollars"]
        assert card["listed_by"] in TABLE["prices"]
    assert all(run["by"] in TABLE["sources"] for run in TABLE["reported"])
    assert {row["how"].split()[0] for row in ROWS} == {
        "measured",
        "reckoned",
        "reported",
    }


def test_money_is_time_at_a_price():
    for row in ROWS[1:]:
        hours = row["million_minutes"] / 60
        assert row["million_dollars"] == pytest.approx(
            hours * row["dollars_an_hour"], abs=0.02
        )
    assert ROWS[0]["dollars_an_hour"] is ROWS[0]["million_dollars"] is None


def test_what_is_reckoned_is_of_the_size_that_others_report():
    """3.8 billion parameters on an A100 at our share of its peak, 3.2 by torchtune."""
    mine = {(r["machine"], r["method"], r["how"][:8]): r for r in reversed(ROWS)}
    ours, theirs = (mine["A100", "lora", how] for how in ("reckoned", "reported"))
    assert 1 < ours["million_minutes"] / theirs["million_minutes"] < 2


def test_lesson_00_says_of_data_what_was_measured():
    [text] = [c.source for _, c in gates.cells(LESSON) if c.id == "cards-after"]
    settings = json.loads(SETTINGS.read_text(encoding="utf-8"))["rows"][0]
    [file] = ledger.RESULTS.glob("00_start_here.small.*.json")
    exact = json.loads(file.read_text(encoding="utf-8"))["figures"]["tuned_exact_match"]
    assert f"{settings['exact_match']:.0%}".replace("%", " %") in text
    assert f"{settings['rows_read']:,} messages" in text
    assert f"{100 * exact:.0f} % of test messages after {ROWS[0]['messages']:,}" in text
    for address in (*TABLE["prices"].values(), *TABLE["sources"].values()):
        assert address in text
    rent = [row["million_dollars"] for row in ROWS[1:]]
    assert 4 * max(rent) < 2  # "under two dollars"
