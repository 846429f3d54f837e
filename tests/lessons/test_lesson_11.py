"""Lesson 11: how many processes, and whether they died, is not seen in the result."""

import pytest

STEM = "11_scale_out"


@pytest.fixture
def figures(course_run):
    return course_run.rows[STEM]["figures"]


@pytest.mark.slow
def test_two_processes_killed_once_are_one(figures):
    assert figures["processes"] == 2
    assert figures["largest_loss_gap"] < 1e-3
    one, two = figures["exact_match"]
    assert one == two > figures["base_exact_match"] + 0.3


@pytest.mark.slow
def test_a_process_holds_half(figures):
    assert figures["share_held"] == pytest.approx(0.5, abs=0.01)
