"""Lesson 09: every breakage does damage or says that it does not, and is named."""

import pytest

from tests.house import gates

STEM = "09_find_silent_failures"
PATH = gates.ROOT / "notebooks" / f"{STEM}.ipynb"
RUINED = {"shuffled-answers", "cut-answers", "pad-is-end", "no-end-token"}
RUINED |= {"prompt-trained", "half-precision", "rate-too-low", "rate-too-high"}
RUINED |= {"few-updates", "padding-side", "no-template", "zero-b", "wrong-alpha"}
RUINED |= {"lost-keys", "wrong-base"}
UNSEEN = {"double-bos", "accumulation", "merge-drift"}  # at this size
INNOCENT = {"leak", "cut-answers", "pad-is-end", "no-end-token", "half-precision"}


@pytest.mark.slow
def test_every_breakage_is_named_and_there_are_at_least_fourteen(figures):
    assert figures["found"] == len(figures["difference"]) >= 14
    assert figures["checks"] > 20


@pytest.mark.slow
def test_the_healthy_run_is_healthy_and_the_ruined_are_ruined(figures):
    assert figures["healthy_exact_match"] > 0.7
    lost = {n for n, gap in figures["difference"].items() if gap < -0.15}
    assert lost >= RUINED and not lost & UNSEEN
    assert figures["proven"] >= len(RUINED)


@pytest.mark.slow
def test_their_losses_are_innocent(figures):
    losses = figures["final_loss"]
    assert all(losses[name] <= figures["healthy_loss"] + 0.02 for name in INNOCENT)
    assert losses["half-precision"] == 0


@pytest.mark.slow
def test_a_leak_flatters(figures):
    assert figures["leaked_exact_match"] > figures["honest_exact_match"]


def test_the_smaller_templates_are_the_real_ones_without_their_end():
    """The lesson changes a template by its text, which another version may change."""
    source = {cell.id: cell.source for _, cell in gates.cells(PATH)}["end"]
    text = (gates.ROOT / "data/checkpoints/tiny-llama/chat_template.jinja").read_text()
    assert "'<|eot_id|>'" in text and ".replace(\"'<|eot_id|>'\", silent)" in source
