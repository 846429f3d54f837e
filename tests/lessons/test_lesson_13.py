"""Lesson 13: what loralib does, and the check of a load that it writes."""

import loralib
import pytest
from torch import nn

from tests.lessons import cells

STEM = "13_use_loralib"


@pytest.fixture(scope="module")
def load_lora():
    """The function as the notebook has it."""
    return cells.run(cells.sources(STEM), {}, "check")["load_lora"]


def model():
    return nn.Sequential(loralib.Linear(4, 4, r=2), loralib.Linear(4, 4, r=2))


def test_the_right_file_is_loaded(load_lora):
    source, target = model(), model()
    nn.init.normal_(source[1].lora_B)
    load_lora(target, loralib.lora_state_dict(source))
    assert target[1].lora_B.equal(source[1].lora_B)


SPOILT = {
    "typo": lambda state: {k.replace("1.lora_B", "1.lora_b"): state[k] for k in state},
    "prefix": lambda state: {f"module.{k}": w for k, w in state.items()},
    "too few": lambda state: {k: w for k, w in state.items() if k[0] == "0"},
    "too many": lambda state: state | {"2.lora_A": state["0.lora_A"]},
}


@pytest.mark.parametrize("spoil", SPOILT.values(), ids=SPOILT)
def test_a_file_that_does_not_fit_is_refused(load_lora, spoil):
    state = spoil(loralib.lora_state_dict(model()))
    with pytest.raises(ValueError, match="did not all arrive") as raised:
        load_lora(model(), state)
    assert "\n" not in str(raised.value)


@pytest.mark.slow
def test_a_checkpoint_of_lora_weights_restores_the_model(figures):
    assert figures["last_loss"] < 0.6 * figures["first_loss"]
    assert figures["restore_difference"] < 1e-5 and figures["cure_gap"] < 1e-5


@pytest.mark.slow
def test_a_hidden_typo_does_damage_and_is_caught(figures):
    assert figures["typo_difference"] > 0.01 and figures["typos_caught"] == 2
    assert figures["prefix_difference"] == 0 and figures["drift"] > 0.1


@pytest.mark.slow
def test_the_bugs_that_it_warns_of_are_there(figures):
    assert figures["quirks"]["scaling, default alpha"] == "0.0625"
    assert figures["quirks"]["MergedLinear"] == "AttributeError"
