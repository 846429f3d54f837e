"""The mechanism of the exercises, on exercises made up for the purpose."""

import sys
import types
from fractions import Fraction

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, Phi3Config

from helpers.config import load_profile
from helpers.exercises import checking, lesson_03
from helpers.exercises.checking import Exercise, Number, check, close, numeric
from tests.house import gates

TICK = "✓ Exercise 99.1: Well done.\n"


@pytest.fixture
def lesson(monkeypatch):
    """Put exercise 99.1 in place, of these properties."""

    def put(expected="a number", right=lambda a: close(a, 16, within=0), **more):
        make = Exercise if callable(right) else numeric
        texts = {"praise": "Well done.", "hint": "Think again."}
        exercise = make(expected, right=right, **texts, **more)
        module = types.ModuleType("helpers.exercises.lesson_99")
        module.EXERCISES = {"99.1": exercise}
        monkeypatch.setitem(sys.modules, module.__name__, module)

    return put


@pytest.fixture
def say(capsys):
    def say(*args, **values):
        assert check(*args, **values) is None
        return capsys.readouterr().out

    return say


def test_dots_are_not_answered_yet(lesson, say):
    lesson()
    assert say("99.1", ...) == "Exercise 99.1: not answered yet.\n"


RIGHT = [16, 16.0, np.int64(16), np.float32(16), np.array(16), Fraction(16)]
RIGHT += [torch.tensor(16), torch.tensor(16.0, requires_grad=True)]


@pytest.mark.parametrize("answer", RIGHT, ids=repr)
def test_a_right_number_of_any_kind_gets_the_tick(lesson, say, answer):
    lesson()
    assert say("99.1", answer) == TICK


NO_NUMBERS = [True, np.True_, "16", None, [16], 16j, np.array([16]), torch.ones(1) * 16]


@pytest.mark.parametrize("answer", NO_NUMBERS, ids=repr)
def test_what_is_no_number_is_told_what_was_expected(lesson, say, answer):
    lesson()
    got = type(answer).__name__
    assert say("99.1", answer) == f"Exercise 99.1: expected a number; got {got}.\n"


def test_numbers_compare_within_the_tolerance():
    assert close(1.05, 1, within=0.1) and not close(1.15, 1, within=0.1)
    assert not close(float("nan"), 1, within=1) and not close(1, float("inf"), 1)
    with pytest.raises(TypeError):
        close(True, 1, within=0)


def test_the_first_mistake_made_is_told_and_else_the_general_hint(lesson, say):
    mistakes = {"Too small.": lambda a: a < 16, "Far too small.": lambda a: a < 4}
    lesson("a number", lambda a: a == 16, mistakes=mistakes)
    assert say("99.1", 2) == "Exercise 99.1: Too small.\n"
    assert say("99.1", 20) == "Exercise 99.1: Think again.\n"


def test_values_of_the_notebook_reach_every_predicate(lesson, say):
    double = {"Twice too many.": lambda a, rows: a == 2 * rows}
    lesson("a number of rows", lambda a, rows: a == rows, mistakes=double)
    assert say("99.1", 7, rows=7) == TICK
    assert say("99.1", 14, rows=7) == "Exercise 99.1: Twice too many.\n"


def test_a_predicate_that_fails_never_shows_a_traceback(lesson, say):
    other = {"It is called x.": lambda a: a == {"y": 1}}
    lesson("a dictionary with the key x", lambda a: a["x"] == 1, mistakes=other)
    assert say("99.1", {"x": 1}) == TICK
    assert say("99.1", {"y": 1}) == "Exercise 99.1: It is called x.\n"
    said = "expected a dictionary with the key x; checking it: KeyError 'x'"
    assert say("99.1", {"z": 1}) == f"Exercise 99.1: {said}.\n"


def test_behaviour_of_a_function_is_checked_and_its_failure_told(lesson, say):
    lesson("a function of one number", lambda a: a(3) == 9)
    assert say("99.1", lambda x: x**2) == TICK
    assert say("99.1", lambda x: x + 1) == "Exercise 99.1: Think again.\n"
    assert "ZeroDivisionError" in say("99.1", lambda x: x / 0)
    assert say("99.1", 9).endswith("expected a function of one number; got int.\n")


def test_a_list_may_be_any_collection_but_no_text(lesson, say):
    lesson("a list of module names", lambda a: sorted(a) == ["k", "q"])
    for answer in (["q", "k"], ("k", "q"), {"k", "q"}):
        assert say("99.1", answer) == TICK
    assert say("99.1", "qk").endswith("expected a list of module names; got str.\n")


def test_mistakes_of_a_numeric_exercise_are_told_by_their_numbers(lesson, say):
    mistakes = {
        "Half.": 0.1,
        "Counted.": (40, 80),
        "Exactly none.": Number(0, within=0),
        "Negative.": lambda a: a < 0,
    }
    lesson("a number", right=0.2, within=0.01, mistakes=mistakes, percent="In percent.")
    assert say("99.1", 0.195) == say("99.1", 0.205) == TICK
    for answer, told in (
        *(
            (0.105, "Half."),
            (40, "Counted."),
            (80.005, "Counted."),
            (0, "Exactly none."),
        ),
        *((-7, "Negative."), (19.5, "In percent."), (20.9, "In percent.")),
        *((0.215, "Think again."), (0.005, "Think again."), (21.5, "Think again.")),
    ):
        assert say("99.1", answer) == f"Exercise 99.1: {told}\n"


def test_a_number_may_depend_on_the_notebook_and_its_tolerance_on_the_number():
    half = Number(lambda rows: (rows / 2, -rows), within=lambda value: abs(value) / 100)
    assert half.numbers(rows=200) == [100, -200]
    assert half(100.9, rows=200) and half(-201.9, rows=200)
    assert not half(101.1, rows=200) and not half(-202.1, rows=200)


def test_a_rule_is_compared_on_a_copy_of_every_case():
    doubles = checking.acts_like(lambda row: [2 * x for x in row], [([1],), ([0, 3],)])
    assert not doubles(lambda row: [2]) and not doubles(lambda row: [0, 6])
    for _ in range(2):  # the answer may use its rows up
        assert doubles(lambda row: [2 * row.pop(0) for _ in list(row)])


@pytest.mark.parametrize("name", ["99.2", "98.1", "3.1", "03", "../x.1", None, 3.1])
def test_the_name_of_no_exercise_is_an_error_of_one_line(lesson, name):
    lesson()
    with pytest.raises(ValueError, match="exercise") as raised:
        check(name, 1)
    assert "\n" not in str(raised.value) and repr(name) in str(raised.value)


def test_a_form_that_nobody_checks_is_refused():
    with pytest.raises(ValueError, match="begins with one of a number, "):
        Exercise("some number", bool, "", "")


# The figures that questions state must be those of the course.


def test_00_states_the_figures_of_its_data():
    config = load_profile("tiny").training_config
    batch = config["per_device_train_batch_size"]
    assert batch * config["gradient_accumulation_steps"] == 4
    train = gates.ROOT / "data/tickets/train.jsonl"
    assert len(train.read_text(encoding="utf-8").splitlines()) == 2000


def test_03_states_the_figures_of_its_profile():
    config = load_profile("gpu-16gb").training_config
    keys = "per_device_train_batch_size gradient_accumulation_steps max_steps"
    assert [config[key] for key in keys.split()] == [4, 4, -1]


def test_03_counts_as_peft_does():
    from peft import LoraConfig, get_peft_model

    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(Phi3Config())
        targets = ["qkv_proj", "o_proj"]
        config = LoraConfig(r=8, task_type="CAUSAL_LM", target_modules=targets)
        model = get_peft_model(model, config)
    assert model.get_nb_trainable_parameters()[0] == lesson_03.ATTENTION


def test_00_scores_as_the_course_does():
    from helpers.evaluation.scoring import score

    right = checking.find("00.2").right

    def answer(expected, given):
        return sum(score([expected], [given]).rows[0]["fields"].values())

    assert right(answer)
