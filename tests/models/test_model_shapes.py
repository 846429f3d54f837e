"""Models as shapes: the written-out configurations are those of the real models."""

import pytest
import torch
import transformers
from peft import LoraConfig, get_peft_model

from helpers.models import shapes as model_shapes

# What the index files beside the real weights count, parameters in all.
TOTALS = {
    "Phi-3-mini": 3_821_079_552,
    "Llama-3.1-8B": 8_030_261_248,
    "Llama-3.1-70B": 70_553_706_496,
    "Qwen3-8B": 8_190_735_360,
}


@pytest.mark.parametrize("name", model_shapes.CONFIGS)
def test_the_whole_model_has_its_published_size(name):
    model = model_shapes.meta_model(name)
    assert model.num_parameters() == TOTALS[name]
    assert {w.device.type for w in model.parameters()} == {"meta"}


def test_phi_3_mini_is_what_transformers_takes_as_default():
    default = transformers.Phi3Config().to_dict()
    for key in ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers"):
        assert model_shapes.CONFIGS["Phi-3-mini"][key] == default[key]


@pytest.mark.parametrize(
    ("name", "rank", "count"),
    [
        ("Phi-3-mini", 8, 12_582_912),
        ("Phi-3-mini", 16, 25_165_824),
        ("Llama-3.1-8B", 16, 41_943_040),
        ("Llama-3.1-8B", 64, 167_772_160),
    ],
)
def test_the_formula_counts_what_peft_trains(name, rank, count):
    model = model_shapes.meta_model(name)
    shapes = model_shapes.linear_shapes(model)
    assert rank * sum(d_in + d_out for d_in, d_out in shapes.values()) == count
    config = LoraConfig(r=rank, target_modules="all-linear", task_type="CAUSAL_LM")
    with torch.device("meta"):
        model = get_peft_model(model, config)
    assert model.get_nb_trainable_parameters()[0] == count


def test_the_head_is_no_layer_to_adapt():
    shapes = model_shapes.linear_shapes(model_shapes.meta_model("Phi-3-mini"))
    assert len(shapes) == 32 * 4 and "lm_head" not in shapes
    assert shapes["model.layers.0.self_attn.qkv_proj"] == (3072, 9216)


def test_a_model_of_another_kind_is_refused_in_one_line():
    """As Qwen3-VL, which transformers makes by another class."""
    config = transformers.AutoConfig.for_model("qwen3_vl")
    with pytest.raises(
        model_shapes.ModelError, match="qwen3_vl is not made as a causal"
    ) as caught:
        model_shapes.skeleton(config)
    assert "\n" not in str(caught.value)


def test_a_model_that_is_not_written_out_is_refused_in_one_line():
    with pytest.raises(ValueError, match="'Phi-9'.*use Phi-3-mini, Llama") as error:
        model_shapes.meta_model("Phi-9")
    assert "\n" not in str(error.value)
