"""A run against the machine: memory, and what it can compute."""

import shutil
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import BitsAndBytesConfig, LlamaForCausalLM
from trl import SFTConfig

from helpers.config import GIB, Device, load_profile
from helpers.memory import predict, size
from helpers.models import meta_model
from helpers.preflight import check, device
from tests.models.tiny_model import build_model
from tests.preflight.made import levels

# TRL's settings still have it by the old name.
CHECKS = ["does-not-fit", "no-bf16"]


def arguments(**more):
    return SFTConfig(**{"use_cpu": True, "bf16": False, "max_length": 512} | more)


def codes(**inputs):
    return check(only=CHECKS, **inputs).codes


def test_the_tiny_profile_has_no_finding():
    known = load_profile("tiny")
    given = {"arguments": SFTConfig(**known.training_config), "profile": known}
    report = check(only=CHECKS, **given)
    assert report.findings == [] and [*report.checked] == CHECKS
    assert report.checked["does-not-fit"].startswith("4 x 256 tokens take 0.")


def test_memory_that_is_not_there_is_found():
    known = load_profile("tiny")
    needs = predict(known.model, "lora", 4, 256, dtype="float32", padded=True).total
    given = {"arguments": SFTConfig(**known.training_config), "profile": known}
    for share, level in ((1.05, None), (0.95, "warns"), (0.8, "ruins")):
        found = check(only=CHECKS, memory=share * needs / GIB, **given).findings
        assert [f.level for f in found] == [level][: bool(level)]


def test_a_checkpoint_without_generation_settings_is_one(tmp_path):
    known = load_profile("tiny")
    copy = shutil.copytree(known.model, tmp_path / "base")
    (copy / "generation_config.json").unlink()
    made = device.model(load_profile("tiny", str(copy)))
    assert made.config.hidden_size == device.model(known).config.hidden_size


@pytest.mark.parametrize("name", ["activation_offloading", "fsdp", "deepspeed"])
def test_what_takes_memory_elsewhere_is_not_predicted(name):
    args = SimpleNamespace(**{name: True})
    report = check(model=build_model(), arguments=args, only=["does-not-fit"])
    assert report.checked["does-not-fit"] == f"not predicted with {name}"


@pytest.mark.parametrize(
    "more", [{"modules_to_save": ["lm_head"]}, {"rank_pattern": {"o_proj": 8}}]
)
def test_memory_of_more_than_one_rank_is_not_predicted(more):
    model = get_peft_model(build_model(), LoraConfig(target_modules=["o_proj"], **more))
    report = check(model=model, arguments=arguments(), only=["does-not-fit"], memory=1)
    assert report.checked["does-not-fit"] == f"not predicted with {next(iter(more))}"


@pytest.mark.parametrize("kind", ["fsdp", "deepspeed"])
def test_what_the_launcher_shares_out_is_not_predicted(kind, monkeypatch):
    known = load_profile("tiny")
    given = {"arguments": SFTConfig(**known.training_config), "profile": known}
    monkeypatch.setenv(f"ACCELERATE_USE_{kind.upper()}", "true")
    report = check(only=["does-not-fit"], memory=0.001, **given)
    assert report.checked == {"does-not-fit": f"not predicted with {kind}"}


def test_what_a_model_holds_already_counts_as_free(monkeypatch):
    known = load_profile("tiny")
    args = SFTConfig(**known.training_config | {"bf16": False})
    args = SimpleNamespace(**vars(args) | {"use_cpu": False})
    card = Device("cuda", "a card", (8, 0), 16, 0.01)
    monkeypatch.setattr(device, "probe_device", lambda: card)
    config, weight = build_model().config, SimpleNamespace(is_cuda=True, nbytes=GIB)
    for weights, expected in (([], {"does-not-fit"}), ([weight], set())):
        model = SimpleNamespace(config=config, dtype=torch.float32, peft_config={})
        model.parameters = lambda held=weights: held
        report = check(model=model, arguments=args, only=["does-not-fit"])
        assert report.codes == expected


@pytest.mark.filterwarnings("ignore:Model has `tie_word_embeddings")
def test_what_is_trained_beside_lora_is_in_float32_as_in_a_run():
    known = load_profile("tiny")
    config = known.peft_config | {"modules_to_save": ["lm_head"]}
    half = replace(known, dtype="float16", peft_config=config)
    args = SFTConfig(**known.training_config)
    report = check(profile=half, arguments=args, only=["half-precision"])
    assert report.findings == [] and report.checked["half-precision"] == "float32"


def test_the_longest_row_counts_where_it_is_known():
    model, lengths = meta_model("Phi-3-mini"), {"train": SimpleNamespace(tokens=[9])}
    args = arguments(max_length=4096)
    for known, expected in ((None, "8 x 4096"), (lengths, "8 x 9 ")):
        report = check(model=model, arguments=args, lengths=known, only=CHECKS)
        assert report.checked["does-not-fit"].startswith(expected)


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({}, {"padded": True}),
        ({"activation_checkpointing": True}, {"padded": True, "checkpointing": True}),
        ({"per_device_train_batch_size": 1}, {"batch": 1}),
        (
            {"per_device_train_batch_size": 1, "packing": True},
            {"batch": 1, "padded": True},
        ),
        ({"packing": True}, {"padded": True}),  # rows are filled up to the limit
    ],
)
def test_the_settings_count_as_in_the_prediction(more, expected):
    model, lengths = build_model(), {"train": SimpleNamespace(tokens=[9, 150, 400])}
    args = arguments(**{"max_length": 200, "activation_checkpointing": False} | more)
    report = check(model=model, arguments=args, lengths=lengths, only=CHECKS)
    given = {"method": "full", "batch": 8, "length": 200, "dtype": "float32"}
    needs = size(predict(model.config, **given | expected).total)
    found = report.checked["does-not-fit"]
    assert found.startswith(f"{expected.get('batch', 8)} x 200 tokens take {needs},")
    args.max_length, args.packing = None, True
    report = check(model=model, arguments=args, lengths=lengths, only=CHECKS)
    assert report.checked["does-not-fit"] == "no max_length: not predicted"


def test_qlora_takes_less_than_lora():
    known = load_profile("tiny")
    given = {"arguments": SFTConfig(**known.training_config), "memory": 0.0001}
    same = replace(known, qlora_model=known.model)
    sizes = [
        check(profile=same, qlora=q, only=CHECKS, **given).findings[0].what
        for q in (True, False)
    ]
    lora, qlora = (float(s.partition("take ")[2].split()[0]) for s in sizes[::-1])
    assert qlora < lora


def test_a_family_that_is_not_predicted_is_said():
    config = build_model().config
    config.model_type = "gemma"
    model = SimpleNamespace(config=config, dtype=torch.float32, peft_config={})
    report = check(model=model, arguments=arguments(), only=["does-not-fit"])
    assert report.checked["does-not-fit"].startswith("not predicted: ")


@pytest.mark.parametrize(
    ("capability", "bf16", "expected"),
    [((7, 5), True, {"no-bf16"}), ((8, 0), True, set()), ((7, 5), False, set())],
)
def test_bf16_is_asked_of_a_gpu_that_has_it(monkeypatch, capability, bf16, expected):
    card = Device("cuda", "a card", capability, 16, 15)
    monkeypatch.setattr(device, "probe_device", lambda: card)
    args = SimpleNamespace(bf16=bf16, fp16=not bf16, use_cpu=False)
    report = check(arguments=args, only=["no-bf16"])
    assert report.codes == expected and len(report.ruins) == len(expected)
    args.use_cpu = True
    assert check(arguments=args, only=["no-bf16"]).codes == set()


def four_bit(folder, **sizes):
    build_model(**sizes).save_pretrained(folder)
    settings = BitsAndBytesConfig(load_in_4bit=True)
    return LlamaForCausalLM.from_pretrained(folder, quantization_config=settings)


def test_4_bit_layers_that_a_cpu_would_pack_anew_are_found(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True})
    model = four_bit(tmp_path)
    for layer in model.modules():
        if hasattr(layer, "support_avx512bf16_for_cpu"):
            layer.support_avx512bf16_for_cpu = True
    report = check(model=model, arguments=arguments(), only=CHECKS)
    assert levels(report) == {"four-bit-on-cpu": "ruins"}
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict)  # nothing repacks there
    assert codes(model=model, arguments=arguments()) == set()
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True})
    for layer in model.modules():
        if hasattr(layer, "support_avx512bf16_for_cpu"):
            layer.support_avx512bf16_for_cpu = False
    assert codes(model=model, arguments=arguments()) == set()


def test_4_bit_widths_that_a_block_does_not_divide_are_found(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict)
    model = four_bit(tmp_path)
    model.model.layers[0].mlp.down_proj.in_features = 96
    [finding] = check(model=model, arguments=arguments(), only=CHECKS).findings
    assert finding.code == "four-bit-on-cpu" and finding.what.startswith("1 layers")
    assert finding.level == "ruins"
