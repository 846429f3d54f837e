"""What "all-linear" leaves out: experts, what Mamba reads itself, and PEFT's slips."""

from collections import Counter

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM

from helpers.models.inspection import (
    adapted_modules,
    bypassed,
    left_out,
    lora_settings,
    trainable_table,
    unadapted_modules,
)
from tests.models.families import SIZES

pytestmark = pytest.mark.filterwarnings("ignore:.*_pattern keys did not match any")

MAMBA_2 = {"mamba_n_heads": 2, "mamba_d_head": 64, "mamba_n_groups": 1}
MAMBA_2 |= {"mamba_d_state": 64, "mamba_chunk_size": 64}
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 64}
# Layouts beside those of families.yaml, and what of each reads its weights past LoRA.
PAST_LORA = {
    "falcon_h1": (MAMBA_2 | {"mamba_d_ssm": 128}, {"out_proj": 2}),
    "bamba": (MAMBA_2 | {"attn_layer_indices": [1]}, {"out_proj": 1}),
    "jamba": (
        {"attn_layer_period": 2, "attn_layer_offset": 1, "num_experts": 1},
        {"dt_proj": 1, "out_proj": 1},
    ),
    "qwen3_next": (
        {"layer_types": ["linear_attention", "full_attention"], "head_dim": 64}
        | {"shared_expert_intermediate_size": 64, **EXPERTS},
        {},
    ),
    "lfm2": ({"layer_types": ["conv", "full_attention"]}, {}),
}


def layout(model_type, changes, seed=0):
    """A random model of a layout, with 320 rows."""
    torch.manual_seed(seed)
    sizes = SIZES | {"vocab_size": 320} | changes
    config = AutoConfig.for_model(model_type, **sizes)
    return AutoModelForCausalLM.from_config(config)


def after_an_update(model, **changes):
    """The model with LoRA "all-linear" and its B after one step."""
    config = LoraConfig(r=4, target_modules="all-linear", **changes)
    model = get_peft_model(model, config).train()
    ids = torch.arange(4, 52).reshape(2, 24)
    model(input_ids=ids, labels=ids, use_cache=False).loss.backward()
    return model


def without_gradient(model):
    """How many layers of each type have a B that learnt nothing."""
    found = {n: p.grad for n, p in model.named_parameters() if "lora_B" in n}
    idle = [name for name, grad in found.items() if grad is None or not grad.any()]
    return Counter(name.split(".lora_B")[0].rpartition(".")[2] for name in idle)


@pytest.mark.parametrize("name", PAST_LORA)
def test_layers_that_are_read_past_lora_are_known(name):
    changes, past = PAST_LORA[name]
    model = layout(name, changes)
    found = bypassed(model)
    assert Counter(path.rpartition(".")[2] for path in found) == past
    tuned = after_an_update(model, exclude_modules=found)
    assert without_gradient(tuned) == {}
    missed = unadapted_modules(tuned)
    assert {kind: missed.get(kind, 0) for kind in past} == past


def test_towers_that_see_no_image_are_left_out():
    """Gemma 3 comes whole: text alone gives its vision tower no gradient."""
    torch.manual_seed(0)
    text = {**SIZES, "vocab_size": 320, "head_dim": 16}
    vision = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1}
    vision |= {"num_attention_heads": 2, "image_size": 28, "patch_size": 14}
    vision |= {"vision_use_head": False}
    sizes = {"text_config": text, "vision_config": vision, "mm_tokens_per_image": 4}
    config = AutoConfig.for_model("gemma3", **sizes)
    model = AutoModelForCausalLM.from_config(config)
    whole = {"r": 8, "target_modules": "all-linear"}
    settings = lora_settings(model, whole)
    left = settings["exclude_modules"]
    assert len(left) == 6 and all(".vision_tower." in name for name in left)
    tuned = after_an_update(model, exclude_modules=left)
    assert without_gradient(tuned) == {}
    assert {*unadapted_modules(tuned)} == {name.rpartition(".")[2] for name in left}
    assert {**unadapted_modules(tuned)}["q_proj"] == 1
    named = {"target_modules": ["q_proj"]}
    assert lora_settings(model, named) == named
    assert lora_settings(layout("llama", {}), whole) == whole


class Wrapped(nn.Module):
    """A linear layer inside a module of a family's own, as in the towers of Gemma 4."""

    def __init__(self, linear):
        super().__init__()
        self.linear = linear

    def forward(self, states):
        return self.linear(states).clamp(-9, 9)


def test_all_linear_reaches_a_wrapped_layer_and_its_name_does_not():
    """peft#3658: the wrapper's name is refused; "all-linear" goes by the class."""
    model = layout("llama", {})
    for layer in model.model.layers:
        layer.self_attn.q_proj = Wrapped(layer.self_attn.q_proj)
    named = LoraConfig(r=4, target_modules=["q_proj"])
    with pytest.raises(ValueError, match="(?s)Wrapped.*is not supported"):
        get_peft_model(model, named)
    tuned = after_an_update(model)
    assert without_gradient(tuned) == {} and left_out(tuned) == ""
    assert adapted_modules(tuned)["linear"] == SIZES["num_hidden_layers"]


def test_lora_on_such_a_layer_learns_nothing(monkeypatch):
    """On Jamba's dt_proj anywhere, on Mamba 2's out_proj with the fused kernel."""
    jamba = after_an_update(layout("jamba", PAST_LORA["jamba"][0]))
    assert without_gradient(jamba) == {"dt_proj": 1}
    bamba = PAST_LORA["bamba"][0]
    assert without_gradient(after_an_update(layout("bamba", bamba))) == {}

    def kernel(inputs, *_, outproj_weight, **__):  # as the real one reads the weight
        return nn.functional.linear(inputs[..., :128], outproj_weight)

    place = "transformers.models.bamba.modeling_bamba.mamba2_split_conv1d_scan_combined"
    monkeypatch.setattr(place, kernel)
    assert without_gradient(after_an_update(layout("bamba", bamba))) == {"out_proj": 1}


def test_experts_that_lora_leaves_out_are_said_with_their_number():
    changes = {"num_local_experts": 4, "num_experts_per_tok": 2, "head_dim": 64}
    tuned = after_an_update(layout("gpt_oss", changes))
    experts = 2 * 4 * (64 * 2 * 128 + 128 * 64)
    attention = 2 * (64 * 256 + 2 * 64 * 128 + 256 * 64)
    assert left_out(tuned) == (
        f"{experts:,} of {experts + attention:,} weights of linear layers and experts: "
        "down_proj (2), gate_up_proj (2)"
    )
    named = {"target_parameters": ["experts.gate_up_proj", "experts.down_proj"]}
    reached = after_an_update(layout("gpt_oss", changes), **named)
    assert left_out(reached) == ""
    assert adapted_modules(reached)["gate_up_proj"] == 2
    table = trainable_table(reached)
    assert set(table.index) == {*adapted_modules(reached), "total"}


def test_peft_drops_plain_layers_beside_experts():
    """A bound to be lowered: PEFT 0.21.2 takes their names for those of experts."""
    tuned = after_an_update(layout("qwen3_next", PAST_LORA["qwen3_next"][0]))
    shared = {"down_proj": 2, "gate_proj": 2, "up_proj": 2}
    assert unadapted_modules(tuned) == shared
    assert left_out(tuned).startswith(f"{2 * 3 * 64 * 64:,} of ")
