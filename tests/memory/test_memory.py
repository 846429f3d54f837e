"""Predicted memory is measured memory: exact by part, within 10 % for a whole step."""

import dataclasses

import pytest
import torch
import transformers
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from transformers import masking_utils
from trl.kernels import chunked_logprob
from trl.trainer import utils as trl_utils

from helpers.config import load_profile
from helpers.files import ROOT
from helpers.memory import parts as formulas
from helpers.memory.measured import measured_bytes
from helpers.memory.prediction import predict
from helpers.models.loading import load_model
from helpers.models.shapes import CONFIGS
from tests.benchmarks import memory as benchmark_memory
from tests.benchmarks.living import Living, autocast, measured_activations
from tests.benchmarks.memory import adapted, peak, random_model, trained

RANK = 8
EXACT = ("weights", "adapter", "gradients", "optimizer")
SMALL = {"vocab_size": 320, "hidden_size": 64, "intermediate_size": 192}
SMALL |= {"num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 4}
SMALL |= {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
SMALL |= {"max_position_embeddings": 512}


def small(kind="llama", **changes):
    """The configuration of a small model."""
    return transformers.AutoConfig.for_model(kind, **(SMALL | changes))


QWEN3 = {"num_key_value_heads": 2, "head_dim": 32}  # 4 heads of 32 in a width of 64


def ids(batch, length, words=300):
    return torch.randint(3, words, (batch, length))


def measured(model, batch, length):
    """Bytes of the activations on token ids without padding."""
    return measured_activations(model, {"input_ids": ids(batch, length)})


def activations(config, method, batch, length, **choices):
    """The predicted ones."""
    return predict(config, method, batch, length, **choices).parts["activations"]


# The shipped checkpoints: every byte of weights, adapter, gradients and optimizer.


def load(name, dtype, quantized=False, double_quant=True):
    folder = f"data/checkpoints/{name}"
    profile = dataclasses.replace(load_profile("tiny", model=folder), dtype=dtype)
    profile.quantization_config["bnb_4bit_compute_dtype"] = dtype
    profile.quantization_config["bnb_4bit_use_double_quant"] = double_quant
    return load_model(profile, quantized), ROOT / folder


def after_a_step(model):
    """The measured bytes once gradients and optimizer states exist."""
    optimizer = torch.optim.AdamW(trained(model))
    batch = ids(2, 16)
    with autocast(batch.device, model.get_input_embeddings().weight.dtype):
        model(input_ids=batch, labels=batch, use_cache=False).loss.backward()
    optimizer.step()
    return measured_bytes(model, optimizer)


@pytest.mark.parametrize("name", ["tiny-llama", "tiny-phi3"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("method", ["full", "lora"])
def test_bytes_are_exact(name, dtype, method):
    model, folder = load(name, dtype)
    found = after_a_step(adapted(model, method, RANK))
    parts = predict(folder, method, 2, 16, rank=RANK, dtype=dtype).parts
    assert found == {part: parts[part] for part in EXACT}


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("method", ["full", "lora", "qlora"])
def test_bytes_of_qwen3_are_exact(dtype, method):
    config = small("qwen3", **QWEN3)
    found = after_a_step(random_model(config, method, dtype, rank=RANK))
    parts = predict(config, method, 2, 16, rank=RANK, dtype=dtype).parts
    assert found == {part: parts[part] for part in EXACT}


@pytest.mark.parametrize("name", ["tiny-llama", "tiny-phi3"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("double", [True, False], ids=["double", "single"])
def test_bytes_are_exact_in_4_bit(name, dtype, double):
    model, folder = load(name, dtype, quantized=True, double_quant=double)
    found = after_a_step(adapted(model, "qlora", RANK))
    choices = {"rank": RANK, "dtype": dtype, "double_quant": double}
    parts = predict(folder, "qlora", 2, 16, **choices).parts
    assert found == {part: parts[part] for part in EXACT}
    # The control: double quantisation, or the lack of it, is seen.
    other = predict(folder, "qlora", 2, 16, **choices | {"double_quant": not double})
    assert other.parts["weights"] != found["weights"]


def test_states_come_with_the_first_step():
    model = random_model(small(), "lora", "float32")
    optimizer = torch.optim.AdamW(trained(model))
    before = measured_bytes(model, optimizer)
    assert before["gradients"] == before["optimizer"] == 0 < before["adapter"]
    assert measured_bytes(model) == before


def test_a_trainable_weight_of_lora_costs_16_bytes():
    parts = predict("Llama-3.1-8B", "lora", 1, 512, rank=16).parts
    assert parts["adapter"] == 4 * 41_943_040
    trained = parts["adapter"] + parts["gradients"] + parts["optimizer"]
    steps = 4 * 2 * 224  # one fp32 counter for A and B of every adapted layer
    assert trained - steps == 16 * 41_943_040


def test_tied_embeddings_count_once():
    tied, apart = (
        predict(small(tie_word_embeddings=tie), "lora", 1, 8, dtype="float32")
        for tie in (True, False)
    )
    once = 4 * SMALL["vocab_size"] * SMALL["hidden_size"]
    assert apart.parts["weights"] - tied.parts["weights"] == once


@pytest.mark.parametrize(("double", "bits"), [(False, 4.5), (True, 4.127)])
def test_bits_a_value_are_those_of_the_paper(double, bits):
    """QLoRA, section 3: scales of 32 / 64 bits, or 8 / 64 + 32 / (64 * 256)."""
    values = 4096 * 4096
    stored = 8 * formulas.nf4_bytes(values, double) / values
    assert stored == pytest.approx(bits, abs=0.002)


# Activations: the formulas against saved_tensors_hooks.

GRID = pytest.mark.parametrize(
    ("kind", "changes"),
    [
        pytest.param("llama", {}, id="llama"),
        pytest.param("llama", {"num_key_value_heads": 1}, id="llama-one-key-head"),
        pytest.param("llama", {"head_dim": 32}, id="llama-heads-wider-than-hidden"),
        pytest.param("phi3", {}, id="phi3-fused"),
        pytest.param("phi3", {"num_key_value_heads": 2}, id="phi3-grouped"),
        pytest.param("phi3", {"sliding_window": 50}, id="phi3-mask-of-a-window"),
        pytest.param(
            "mistral",
            {"num_key_value_heads": 2, "sliding_window": 50},
            id="mistral-keys-repeated-for-a-mask",
        ),
        pytest.param("qwen2", {"num_key_value_heads": 2}, id="qwen2-biases"),
        pytest.param("qwen3", QWEN3, id="qwen3-norms-of-heads"),
    ],
)


@GRID
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("method", ["full", "lora"])
@pytest.mark.parametrize("checkpointing", [False, True], ids=["all", "checkpointed"])
def test_activations(kind, changes, dtype, method, checkpointing):
    config = small(kind, **changes)
    model = random_model(config, method, dtype, rank=RANK, checkpointing=checkpointing)
    choices = {"dtype": dtype, "checkpointing": checkpointing, "rank": RANK}
    for batch, length in ((1, 48), (3, 50)):  # below the window, and at it
        expected = activations(config, method, batch, length, **choices)
        assert measured(model, batch, length) == expected


@pytest.mark.parametrize("name", ["tiny-llama", "tiny-phi3"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("rank", [4, 64])
def test_activations_of_the_checkpoints(name, dtype, rank):
    model, folder = load(name, dtype)
    found = measured(adapted(model, "lora", rank), 4, 96)
    assert found == activations(folder, "lora", 4, 96, dtype=dtype, rank=rank)


@pytest.mark.parametrize("name", ["tiny-llama", "tiny-phi3", "qwen3"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("checkpointing", [False, True], ids=["all", "checkpointed"])
def test_activations_in_4_bit(name, dtype, checkpointing, monkeypatch):
    """As on a GPU, where PEFT's 4-bit layer sees autocast and casts nothing.

    It asks torch.is_autocast_enabled() without a device, which answers for CUDA only.
    """
    options = {"rank": RANK, "checkpointing": checkpointing}
    if name == "qwen3":
        source = small("qwen3", **QWEN3)
        model = random_model(source, "qlora", dtype, **options)
    else:
        model, source = load(name, dtype, quantized=True)
        model = adapted(model, "qlora", **options)
    truly = torch.is_autocast_enabled  # asked with a device, when autocast begins
    monkeypatch.setattr(
        torch, "is_autocast_enabled", lambda *device: truly(*device) if device else True
    )
    expected = activations(source, "qlora", 4, 96, dtype=dtype, **options)
    assert measured(model, 4, 96) == expected


@pytest.mark.parametrize("kind", ["llama", "phi3"])
@pytest.mark.parametrize("checkpointing", [False, True], ids=["all", "checkpointed"])
def test_padding_costs_a_mask(kind, checkpointing):
    config = small(kind, num_key_value_heads=2)
    model = random_model(
        config, "lora", "float32", rank=RANK, checkpointing=checkpointing
    )
    mask = torch.ones(3, 64, dtype=torch.long)
    mask[0, 60:] = 0
    found = measured_activations(
        model, {"input_ids": ids(3, 64), "attention_mask": mask, "labels": None}
    )
    choices = {"rank": RANK, "dtype": "float32", "checkpointing": checkpointing}
    assert found == activations(config, "lora", 3, 64, padded=True, **choices)
    assert found > activations(config, "lora", 3, 64, **choices)


WRONG = {
    "grouped keys forgotten": ({"num_key_value_heads": 1}, {}, {}),
    "window's mask forgotten": ({"sliding_window": 50}, {}, {}),
    "layer forgotten": ({}, {"num_hidden_layers": 2}, {}),
    "rank forgotten": ({}, {}, {"rank": 1}),
    "dtype forgotten": ({}, {}, {"dtype": "float32"}),
    "checkpointing assumed": ({}, {}, {"checkpointing": True}),
}


@pytest.mark.parametrize(("true", "assumed", "choices"), WRONG.values(), ids=WRONG)
def test_a_wrong_formula_is_seen(true, assumed, choices):
    """The control: each is off by 2 % or more, where the right one is exact."""
    config = small("phi3", **{"sliding_window": None} | true)
    wrong = small("phi3", **{"sliding_window": None} | assumed)
    right = {"method": "lora", "dtype": "bfloat16", "rank": RANK}
    found = measured(random_model(config, "lora", rank=RANK), 3, 80)
    assert activations(config, batch=3, length=80, **right) == found
    off = activations(wrong, batch=3, length=80, **right | choices) / found - 1
    assert abs(off) > 0.02


def test_checkpointing_is_left_as_it_was():
    model = random_model(small(), "lora", "float32", checkpointing=True)
    assert measured(model, 1, 32) == measured(model, 1, 32)
    assert model.get_base_model().model.layers[-1].gradient_checkpointing


# The whole step: every tensor alive, counted.


def test_living_counts_each_memory_once():
    kept = torch.ones(256)  # 1 KiB
    with Living([kept, kept]) as living:
        view = kept[:10]
        two = torch.ones(512)
        assert living.now == 1024 + 2048 and view.numel() == 10
        del two
        three = torch.ones(64)
        assert living.now == 1024 + 256
    assert living.peak == 1024 + 2048 and three.numel() == 64


@pytest.fixture
def gpu_loss(monkeypatch):
    """TRL's loss with the memory that it takes on a GPU.

    There a kernel changes a tile of logits in place, and the stand-in for it on a CPU
    makes copies. Returns a function that sets the width of a tile.
    """
    monkeypatch.setattr(chunked_logprob, "_forward_tile", lambda *a, **k: None)
    monkeypatch.setattr(chunked_logprob, "_backward_tile", lambda *a, **k: None)
    monkeypatch.setattr(chunked_logprob, "_addmm_fp32", lambda *a: None)

    def tile(words):
        monkeypatch.setattr(trl_utils, "_CHUNKED_LOGPROB_CHUNK_SIZE", words)
        monkeypatch.setattr(formulas, "TILE_WORDS", words)

    return tile


@pytest.mark.parametrize("kind", ["llama", "phi3", "qwen3"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("method", ["full", "lora"])
@pytest.mark.parametrize("checkpointing", [False, True], ids=["all", "checkpointed"])
def test_peak_of_a_step(kind, dtype, method, checkpointing, gpu_loss):
    gpu_loss(128)
    heads = QWEN3 if kind == "qwen3" else {}
    config = small(kind, intermediate_size=160, num_hidden_layers=4, **heads)
    model = random_model(config, method, dtype, rank=RANK, checkpointing=checkpointing)
    choices = {"dtype": dtype, "checkpointing": checkpointing, "rank": RANK}
    total = predict(config, method, 4, 64, **choices).total
    found = peak(model, ids(4, 64), fused_lm_head=True)
    assert total == pytest.approx(found, rel=0.1)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_peak_with_all_logits(dtype):
    config = small(vocab_size=2048)
    found = peak(random_model(config, "lora", dtype, rank=RANK), ids(2, 128))
    choices = {"rank": RANK, "dtype": dtype}
    plain = predict(config, "lora", 2, 128, chunked_loss=False, **choices)
    assert plain.total == pytest.approx(found, rel=0.02)
    assert plain.assumptions.endswith("plain loss")


def fake(model):
    """Give a model of the meta device weights on a CPU that has no memory for them."""
    for module in model.modules():
        for name, weight in module._parameters.items():
            if weight is not None:
                empty = torch.empty(weight.shape, dtype=weight.dtype)
                trained = weight.requires_grad
                module._parameters[name] = nn.Parameter(empty, requires_grad=trained)
        for name, buffer in module._buffers.items():
            module._buffers[name] = torch.empty(buffer.shape, dtype=buffer.dtype)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["Phi-3-mini", "Llama-3.1-8B", "Qwen3-8B"])
@pytest.mark.parametrize("checkpointing", [False, True], ids=["all", "checkpointed"])
def test_peak_at_the_true_width(name, checkpointing, gpu_loss, monkeypatch):
    """A bf16 LoRA step on tensors without data, two layers of the real models."""
    # Without data, transformers cannot see that a row holds one text and no padding.
    monkeypatch.setattr(masking_utils, "find_packed_sequence_indices", lambda *a: None)
    config = transformers.AutoConfig.for_model(
        **CONFIGS[name] | {"num_hidden_layers": 2}
    )
    model = random_model(
        config, "lora", "bfloat16", "meta", rank=RANK, checkpointing=checkpointing
    )
    with FakeTensorMode(allow_non_fake_inputs=True):
        fake(model)
        batch = torch.zeros(2, 1024, dtype=torch.long)
        found = peak(model, batch, fused_lm_head=True)
    total = predict(config, "lora", 2, 1024, RANK, checkpointing=checkpointing).total
    assert total == pytest.approx(found, rel=0.05)


@pytest.mark.gpu
@pytest.mark.slow
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
@pytest.mark.parametrize("method", ["lora", "qlora"])
@pytest.mark.parametrize("checkpointing", [False, True], ids=["all", "checkpointed"])
def test_peak_on_a_gpu(method, checkpointing):
    entries = CONFIGS["Phi-3-mini"] | {"num_hidden_layers": 8}
    config = transformers.AutoConfig.for_model(**entries)
    asked = {"method": method, "checkpointing": checkpointing, "batch": 2}
    asked |= {"length": 1024, "rank": RANK, "dtype": "bfloat16"}
    [row] = benchmark_memory.measure(config, [asked], "cuda")
    assert abs(row["error"]) < 0.1, row
