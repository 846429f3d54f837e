"""Lesson 11: how many processes, and whether they died, is not seen in the result."""

import json

import pytest

from helpers.files import ROOT

STEM = "11_scale_out"


@pytest.fixture
def served():
    """The ledger's rows of a question, by what they differ in."""
    file = ROOT / "data" / "results" / "scale_serving.tiny.cpu-2-cores.json"
    rows = json.loads(file.read_text(encoding="utf-8"))["rows"]
    return lambda question, by: {
        row[by]: row for row in rows if row["question"] == question
    }


def test_a_server_takes_two_broken_adapters_and_one_harms_the_others(served):
    loads = served("load", "wrong")
    taken = {wrong for wrong, row in loads.items() if row["status"] == 200}
    missed = {wrong for wrong, row in loads.items() if row["found_before"] is None}
    harm = {wrong for wrong, row in loads.items() if row["same_after"] < 1}
    bad = "values are not numbers"
    assert taken == {"nothing", "half of the layers missing", bad}
    assert (missed, harm) == ({"nothing", "rank 64"}, {bad})
    assert (
        len(loads) == 8 and loads["nothing"]["same"] == 1 and loads[bad]["says"] == ""
    )
    assert {row["others_same"] for row in loads.values()} == {1}


def test_a_death_costs_those_who_do_not_ask_again(served):
    """Without a loss `saved == lost`, which the lesson asserts, says nothing."""
    deaths = served("replicas", "again")
    assert deaths["nobody"]["lost"] > 0 < deaths["the client"]["asked_again_by_client"]
    assert all("Error code: 500" in how for how in deaths["nobody"]["how"])
    assert {row["same"] for row in deaths.values()} == {1}


def test_vllm_gains_by_what_arrives_together(served):
    [row] = served("throughput", "requests").values()
    rates = row["answers_per_second"]
    order = ["vllm", "process", "vllm at once", "process, by adapter"]
    assert sorted(rates, key=rates.get) == order


@pytest.mark.slow
def test_two_processes_killed_once_are_one(figures):
    assert figures["processes"] == 2
    assert figures["largest_loss_gap"] < 1e-3
    one, two = figures["exact_match"]
    assert one == two > figures["base_exact_match"] + 0.3


@pytest.mark.slow
def test_a_process_holds_half(figures):
    assert figures["share_held"] == pytest.approx(0.5, abs=0.01)
