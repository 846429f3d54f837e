"""One model on a card at a time: letting go of one, and whether the next one fits."""

import dataclasses
import gc
import weakref

import pytest
import torch
from datasets import Dataset
from peft import LoraConfig, get_peft_model
from trl import SFTConfig, SFTTrainer

from helpers import models
from helpers.config import GIB, load_profile
from helpers.models import ModelError, loading, room
from tests.models.tiny_model import build_model, build_tokenizer

LORA = {"r": 4, "target_modules": "all-linear", "task_type": "CAUSAL_LM"}
PHI = "microsoft/Phi-3-mini-4k-instruct"


@pytest.fixture
def card(monkeypatch):
    """card(free, reserved, allocated): what torch says of a GPU, in GiB."""

    def fake(free, reserved=0.0, allocated=0.0):
        for name, value in {
            "mem_get_info": (int(free * GIB), 16 * GIB),
            "memory_reserved": int(reserved * GIB),
            "memory_allocated": int(allocated * GIB),
        }.items():
            monkeypatch.setattr(torch.cuda, name, lambda *_, value=value: value)

    return fake


def trainer_of(model, folder, tokenizer=None, **options):
    """An SFTTrainer with LoRA on a model."""
    turns = [{"role": "user", "content": "it is"}]
    turns += [{"role": "assistant", "content": "broken"}]
    settings = {"max_steps": 1, "use_cpu": True, "bf16": False, "report_to": "none"}
    settings |= {"activation_checkpointing": False, "save_strategy": "no"}
    return SFTTrainer(
        model=model,
        args=SFTConfig(str(folder), disable_tqdm=True, **settings | options),
        train_dataset=Dataset.from_list([{"messages": turns}] * 8),
        processing_class=tokenizer or build_tokenizer(),
        peft_config=LoraConfig(**LORA),
    )


def held(model):
    """Bytes of the tensors that a model, its gradients and its 4-bit scales hold."""
    tensors = [*model.parameters(), *model.buffers()]
    tensors += [t.grad for t in tensors if t.grad is not None]
    states = [getattr(t, "quant_state", None) for t in tensors]
    tensors += [s.absmax for s in states if s is not None]
    return sum(tensor.untyped_storage().nbytes() for tensor in tensors)


def test_a_trained_model_survives_del_and_free_releases_it(tmp_path):
    trainer = trainer_of(build_model(), tmp_path)
    trainer.train()
    model = weakref.ref(trainer.model.get_base_model())
    moments = trainer.optimizer.state
    weight = trainer.model.get_base_model().lm_head.weight  # somebody holds it
    assert held(trainer.model) > 1e5 and len(moments) == 28
    kept = trainer
    models.free(trainer)
    assert held(kept.model) == weight.untyped_storage().nbytes() == 0
    assert not moments
    del trainer, kept
    gc.collect()
    assert model() is None


def test_del_alone_leaves_what_sfttrainer_trained(tmp_path):
    """Why there is `free`."""
    gc.collect()
    gc.disable()
    try:
        trainer = trainer_of(build_model(), tmp_path)
        trainer.train()
        trained = weakref.ref(trainer.model.get_base_model())
        del trainer
        assert held(trained()) > 1e5
        plain = get_peft_model(build_model(), LoraConfig(**LORA))
        untrained = weakref.ref(plain.get_base_model())
        del plain
        assert untrained() is None
        models.free(trained())
        assert trained() is None  # the cycle is broken, no collector has run
    finally:
        gc.enable()


@pytest.mark.parametrize("on_gpu", [True, False])
def test_free_waits_for_the_garbage_collector_on_a_gpu_alone(monkeypatch, on_gpu):
    emptied = []
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: on_gpu)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: emptied.append(1))
    cycle = torch.nn.Module()
    cycle.forward = cycle.named_children  # a bound method: it holds its module
    left = weakref.ref(cycle)
    gc.disable()
    try:
        del cycle
        models.free(build_model())
        assert (left() is None) == bool(emptied) == on_gpu
    finally:
        gc.enable()


def test_a_4bit_model_is_freed_with_its_scales(profile):
    model = models.load_model(profile, quantized=True)
    assert held(model) > 1e6
    layer = model.model.layers[0].mlp.up_proj
    models.free(model)
    assert held(model) == 0
    assert layer.quant_state is None and layer.weight.quant_state is None


def test_a_freed_model_says_so_at_every_use(tmp_path):
    model = get_peft_model(build_model(), LoraConfig(**LORA))
    ids = torch.tensor([[5, 6]])
    models.free(model)
    uses = [
        lambda: model(input_ids=ids),
        lambda: model.generate(input_ids=ids, max_new_tokens=2),
        lambda: model.get_base_model()(input_ids=ids),
        lambda: model.save_pretrained(tmp_path),
        lambda: model.merge_and_unload(),
        lambda: models.fingerprint(model),
    ]
    for use in uses:
        with pytest.raises(ModelError, match="was freed.*: load it again$"):
            use()
    models.free(model)  # a second time does no harm


def test_weights_are_trained_in_float32(tmp_path, profile):
    """TRL starts the adapters of a 4-bit base in bf16, and fp16 refuses them."""
    base = models.load_model(profile, quantized=True)
    tokenizer = models.load_tokenizer(profile, quantized=True)
    model = trainer_of(base, tmp_path, tokenizer).model
    trained = [w for w in model.parameters() if w.requires_grad]
    others = {n: w.dtype for n, w in model.named_parameters() if not w.requires_grad}
    assert {weight.dtype for weight in trained} == {torch.bfloat16}
    models.train_in_float32(model)
    assert {weight.dtype for weight in trained} == {torch.float32}
    after = {n: w.dtype for n, w in model.named_parameters() if not w.requires_grad}
    assert after == others


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_adapters_of_a_16_bit_base_are_float32_from_the_start(tmp_path, dtype):
    model = trainer_of(build_model().to(dtype), tmp_path).model
    found = {w.requires_grad: w.dtype for w in model.parameters()}
    assert found == {True: torch.float32, False: dtype}


def test_trl_refuses_several_gpus_in_one_process(tmp_path, monkeypatch):
    """Why there is `use_one_gpu`."""
    monkeypatch.setattr(SFTConfig, "n_gpu", property(lambda _: 2))
    with pytest.raises(ValueError, match="nn.DataParallel"):
        trainer_of(build_model(), tmp_path)


def test_what_the_allocator_keeps_unused_is_available(card):
    card(free=2, reserved=5, allocated=1.5)
    assert models.available_bytes() == 5.5 * GIB


def config_of(name):
    return models.meta_model(name).config


@pytest.mark.parametrize(
    ("name", "quantized", "gib"),
    [
        ("Phi-3-mini", False, 7.12),
        ("Phi-3-mini", True, 2.11),
        ("Qwen3-8B", False, 15.26),
        ("Qwen3-8B", True, 5.66),
    ],
)
def test_weights_to_come_are_counted_from_the_configuration(name, quantized, gib):
    profile = dataclasses.replace(load_profile("gpu-24gb"), dtype="float16")
    counted = room.weight_bytes(config_of(name), profile, quantized) / GIB
    assert counted == pytest.approx(gib, abs=0.01)


@pytest.mark.parametrize("quantized", [False, True])
def test_weights_to_come_are_those_that_come(profile, quantized):
    model = models.load_model(profile, quantized)
    config = model.config
    if quantized:
        del config.quantization_config
    counted = room.weight_bytes(config, profile, quantized)
    # Beside the weights: code tables of 4-bit layers, and the rotation's frequencies.
    assert counted <= held(model) <= 1.01 * counted


def test_a_checkpoint_that_is_quantised_itself_is_not_counted(profile):
    config = config_of("Phi-3-mini")
    config.quantization_config = {"quant_method": "gptq"}
    assert room.weight_bytes(config, profile, quantized=False) == 0


@pytest.mark.parametrize(
    ("memory", "quantized", "says"),
    [
        # A T4 on which a lesson still holds its first model.
        (
            {"free": 7.1, "reserved": 7.3, "allocated": 7.2},
            False,
            f"{PHI} takes 7.1 GiB, and 7.2 GiB are free",
        ),
        (
            {"free": 6.9, "reserved": 7.3, "allocated": 7.2},
            False,
            f"{PHI} takes 7.1 GiB, and 7.0 GiB are free: 7.2 GiB are held by models of "
            "this process: free(model) first",
        ),
        (
            {"free": 3},
            False,
            f"{PHI} takes 7.1 GiB, and 3.0 GiB are free: end what else runs on this "
            "GPU, or use a smaller MODEL, or QLoRA",
        ),
        (
            {"free": 1},
            True,
            f"{PHI} takes 2.1 GiB, and 1.0 GiB are free: end what else runs on this "
            "GPU, or use a smaller MODEL",
        ),
    ],
)
def test_no_room_is_said_before_loading(card, monkeypatch, memory, quantized, says):
    """`load_model` on a faked T4; nothing is loaded in the place of the weights."""
    card(**memory)
    profile = load_profile("gpu-16gb")
    training = profile.training_config | {"use_cpu": False}
    t4 = dataclasses.replace(profile, training_config=training, dtype="float16")
    loaded = []

    def load(auto, name, profile, **options):
        if auto is loading.transformers.AutoConfig:
            return config_of("Phi-3-mini")
        loaded.append(options["device_map"])
        return build_model(), {"missing_keys": []}

    monkeypatch.setattr(loading, "_load", load)
    if says.endswith("are free"):  # and it fits
        models.load_model(t4, quantized)
        assert loaded == [{"": 0}]
    else:
        with pytest.raises(ModelError) as error:
            models.load_model(t4, quantized)
        assert str(error.value) == says and not loaded
