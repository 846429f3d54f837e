"""Whole layers that are trained beside LoRA, and losses that are no numbers."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from helpers.config import load_profile
from helpers.finetune import RunError, Settings
from helpers.finetune.metrics import check_finite, in_mixed_precision, measure
from helpers.finetune.recipe import make_trainer
from helpers.formatting import load_splits
from tests.finetune import small_run

pytestmark = pytest.mark.slow


@pytest.fixture
def trainer_of(tmp_path):
    """A trainer in bfloat16 on some tickets, two updates long."""
    splits = load_splits(small_run.write_splits(tmp_path))

    def make(**peft_config):
        profile = load_profile("tiny", "data/checkpoints/tiny-llama")
        steps = {"max_steps": 2, "eval_steps": 2, "save_steps": 2, "warmup_steps": 0}
        steps |= {"bf16": True, "output_dir": str(tmp_path / "out")}
        profile = replace(
            profile,
            dtype="bfloat16",
            training_config=profile.training_config | steps,
            peft_config=profile.peft_config | peft_config,
        )
        trainer, _ = make_trainer(Settings(tmp_path, tmp_path / "out"), profile, splits)
        return trainer, splits

    return make


@pytest.mark.parametrize("whole", ["lm_head", "embed_tokens"])
def test_a_whole_layer_is_trained_beside_a_base_in_16_bit(trainer_of, whole):
    """In fp32, by which that base multiplies under autocast alone."""
    trainer, splits = trainer_of(modules_to_save=[whole])
    kinds = {n: w.dtype for n, w in trainer.model.named_parameters() if w.requires_grad}
    assert set(kinds.values()) == {torch.float32}
    [name] = [n for n in kinds if "lora_" not in n]
    before, found = trainer.model.get_parameter(name).clone(), []
    found.append(measure(trainer, splits, "validation")["validation_loss"])
    trainer.train()
    assert "exact_match" in trainer.state.log_history[-2]["scores"]
    found.append(measure(trainer, splits, "validation")["validation_loss"])
    assert found[1] < found[0]
    assert not torch.equal(before, trainer.model.get_parameter(name))


def test_lora_alone_is_scored_in_the_precision_of_its_weights(trainer_of):
    trainer, _ = trainer_of()
    with in_mixed_precision(trainer):
        assert not torch.is_autocast_enabled("cpu")


def test_a_base_that_computes_no_numbers_is_refused_before_training(trainer_of):
    trainer, splits = trainer_of()
    head = trainer.model.get_output_embeddings()
    head.weight = nn.Parameter(head.weight * float("nan"), requires_grad=False)
    says = "the validation loss is nan, the weights are torch.bfloat16"
    with pytest.raises(RunError, match=says):
        measure(trainer, splits, "validation")
    head.weight = nn.Parameter(torch.full_like(head.weight, 1e4), requires_grad=False)
    head.weight[2:] *= -1
    assert measure(trainer, splits, "validation")["validation_loss"] > 1_000
    with pytest.raises(RunError, match="the validation loss is inf"):
        check_finite(float("inf"), trainer.model)
    check_finite(3.0, trainer.model)
