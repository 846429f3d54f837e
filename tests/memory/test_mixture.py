"""A mixture of experts: its published size, its adapters, its memory measured."""

import pytest
import torch
import transformers
from peft import LoraConfig, get_peft_model
from torch.utils.flop_counter import FlopCounterMode

from helpers import UserError
from helpers.memory.measured import measured_bytes
from helpers.memory.prediction import predict
from helpers.models import MIXTURES, active_parameters, meta_model
from tests.benchmarks.living import autocast, measured_activations
from tests.benchmarks.memory import adapted, checkpoint, peak, random_model, trained

NAME = "Qwen3-30B-A3B"
RANK = 8
ATTENTION = ["q_proj", "k_proj", "v_proj", "o_proj"]
SMALL = MIXTURES[NAME] | {"vocab_size": 320, "hidden_size": 64, "head_dim": 32}
SMALL |= {"num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2}
SMALL |= {"moe_intermediate_size": 48, "num_experts": 8, "num_experts_per_tok": 2}
SMALL |= {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}


def small(**changes):
    return transformers.AutoConfig.for_model(**SMALL | changes)


def mixture(config, method, dtype, checkpointing=False):
    """A random one, for "lora" with adapters on its attention."""
    model = random_model(config, "full", dtype)
    if method == "lora":
        asked = LoraConfig(r=RANK, target_modules=ATTENTION, task_type="CAUSAL_LM")
        model = get_peft_model(model, asked)
        for weight in trained(model):
            weight.data = weight.data.float()
    if checkpointing:
        checkpoint(model)
    return model.train()


def test_the_whole_and_the_active_size_are_the_published_ones():
    """Its model card: 30.5B in total, 3.3B activated, 29.9B without embeddings."""
    model = meta_model(NAME)
    whole, active = model.num_parameters(), active_parameters(model)
    assert f"{whole / 1e9:.1f}" == "30.5" and int(active / 1e8) == 33
    ends = [model.get_input_embeddings(), model.get_output_embeddings()]
    assert f"{(whole - sum(end.weight.numel() for end in ends)) / 1e9:.1f}" == "29.9"
    dense = meta_model("Qwen3-8B")
    assert active_parameters(dense) == dense.num_parameters()


def test_a_token_computes_with_the_active_weights():
    """2 FLOP a weight; neither the embedding nor attention's products count."""
    model = random_model(small(), "full", "float32")
    model.set_experts_implementation("eager")
    ids = torch.randint(3, 300, (1, 8))
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(input_ids=ids, use_cache=False)
    used = active_parameters(model) - model.get_input_embeddings().weight.numel()
    assert counter.get_total_flops() / ids.numel() == pytest.approx(2 * used, rel=0.02)
    assert 2 * used < 0.9 * 2 * model.num_parameters()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("method", ["full", "lora"])
def test_bytes_of_experts_are_exact(method, dtype):
    model = mixture(small(), method, dtype)
    optimizer = torch.optim.AdamW(trained(model))
    ids = torch.randint(3, 300, (4, 64))  # so many that every expert is chosen
    with autocast(ids.device, model.get_input_embeddings().weight.dtype):
        model(input_ids=ids, labels=ids, use_cache=False).loss.backward()
    optimizer.step()
    parts = predict(small(), method, 4, 64, rank=RANK, dtype=dtype).parts
    found = measured_bytes(model, optimizer)
    assert found == {part: parts[part] for part in found}


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("method", ["full", "lora"])
@pytest.mark.parametrize("checkpointing", [False, True], ids=["all", "checkpointed"])
def test_memory_of_experts(method, dtype, checkpointing):
    """Activations to the byte, a whole step within 10 %; another choice is seen."""
    config = small(hidden_size=128, moe_intermediate_size=96)
    model = mixture(config, method, dtype, checkpointing)
    asked = {"rank": RANK, "dtype": dtype, "checkpointing": checkpointing}
    asked |= {"chunked_loss": False}
    ids = torch.randint(3, 300, (3, 48))
    found = measured_activations(model, {"input_ids": ids})
    one = predict(config, method, 3, 48, **asked)
    config.num_experts_per_tok += 1
    more = predict(config, method, 3, 48, **asked)
    assert one.parts["activations"] == found < 0.95 * more.parts["activations"]
    assert one.total == pytest.approx(peak(model, ids), rel=0.1)


def test_4_bit_loading_leaves_experts_in_16_bit():
    """So QLoRA hardly shrinks this model, where it shrinks a dense one to a third."""
    shares = {}
    for name in (NAME, "Llama-3.1-8B"):
        lora, qlora = (predict(name, m, 1, 512).parts for m in ("lora", "qlora"))
        shares[name] = qlora["weights"] / lora["weights"]
    assert shares[NAME] > 0.95 and shares["Llama-3.1-8B"] < 0.4
    said = predict(NAME, "qlora", 1, 512).assumptions
    assert "experts frozen in bfloat16" in said


def test_all_linear_would_train_the_experts_too():
    """PEFT's "all-linear" is not what is predicted: it takes a billion more weights."""
    with torch.device("meta"):
        model = adapted(meta_model(NAME), "lora", 16)
    count = model.get_nb_trainable_parameters()[0]
    assert count > 30 * predict(NAME, "lora", 1, 64).parts["adapter"] / 4


@pytest.mark.parametrize(
    "where", [{"mlp_only_layers": [0]}, {"decoder_sparse_step": 2}]
)
def test_a_mixture_with_plain_layers_is_refused(where):
    config = small()
    predict(config, "lora", 1, 8)
    for name, value in where.items():
        setattr(config, name, value)
    with pytest.raises(UserError, match="layers without experts"):
        predict(config, "lora", 1, 8)


@pytest.mark.parametrize("quantized", [{"load_in_4bit": True}, {"quant_method": "fp8"}])
@pytest.mark.parametrize("method", ["full", "lora", "qlora"])
def test_a_quantised_base_is_not_counted_as_another(method, quantized):
    config = small()
    plain = predict(config, method, 1, 8).parts
    config.quantization_config = quantized
    if method == "qlora" and "load_in_4bit" in quantized:
        assert predict(config, method, 1, 8).parts == plain
        return
    with pytest.raises(UserError, match=f"{method} cannot be predicted"):
        predict(config, method, 1, 8)


def test_a_base_rounded_on_loading_is_asked_of_for_every_method():
    """Lesson 04 asks whether LoRA fits while it holds the base in 4 bit."""
    config = small()
    plain = predict(config, "lora", 1, 8).parts
    config.quantization_config = transformers.BitsAndBytesConfig(load_in_4bit=True)
    assert predict(config, "lora", 1, 8).parts == plain
