"""Profiles on every kind of device, none of which needs to be here."""

import dataclasses
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml
from peft import LoraConfig
from transformers import BitsAndBytesConfig
from trl import SFTConfig

from helpers import config, files
from helpers.config import ConfigError, Device, choose_profile, load_profile
from helpers.files import ROOT

CPU = Device("cpu", "CPU")
MPS = Device("cpu", "CPU", remark=config.NO_MPS)
GPUS = ["gpu-16gb", "gpu-24gb", "gpu-80gb"]
NAMES = ["tiny", "small", *GPUS]


def gpu(name, capability, total, free=None):
    """A faked GPU, all but 0.3 GiB of it free."""
    return Device(
        "cuda", name, capability, total, total - 0.3 if free is None else free
    )


T4 = gpu("Tesla T4", (7, 5), 14.7)
L4 = gpu("NVIDIA L4", (8, 9), 22.0)
A100_80 = gpu("NVIDIA A100-SXM4-80GB", (8, 0), 79.2)

DEVICES = [
    (T4, "gpu-16gb", "float16"),
    # Current wheels of torch hold no code for it (pytorch#172352).
    (gpu("Tesla V100-SXM2-16GB", (7, 0), 15.8), "tiny", "float32"),
    (gpu("Tesla V100-SXM2-32GB", (7, 0), 31.7), "tiny", "float32"),
    (L4, "gpu-24gb", "bfloat16"),
    (gpu("NVIDIA A10G", (8, 6), 22.1), "gpu-24gb", "bfloat16"),
    (gpu("NVIDIA GeForce RTX 4090", (8, 9), 23.6), "gpu-24gb", "bfloat16"),
    (gpu("NVIDIA A100-SXM4-40GB", (8, 0), 39.4), "gpu-24gb", "bfloat16"),
    (A100_80, "gpu-80gb", "bfloat16"),
    (gpu("NVIDIA H100 80GB HBM3", (9, 0), 79.1), "gpu-80gb", "bfloat16"),
    (gpu("NVIDIA H200", (9, 0), 139.7), "gpu-80gb", "bfloat16"),
    (gpu("Quadro RTX 8000", (7, 5), 47.5), "gpu-24gb", "float16"),
    (gpu("a busy A100", (8, 0), 79.2, free=21.0), "gpu-24gb", "bfloat16"),
    (gpu("a full A100", (8, 0), 79.2, free=3.0), "tiny", "float32"),
    (gpu("GeForce GTX 1650", (7, 5), 3.8), "tiny", "float32"),
    (gpu("Tesla P40", (6, 1), 23.9), "tiny", "float32"),
    (CPU, "tiny", "float32"),
    (MPS, "tiny", "float32"),
]


@pytest.fixture
def on(monkeypatch):
    """on(device) makes every profile believe in that device."""
    return lambda device: monkeypatch.setattr(config, "probe_device", lambda: device)


@pytest.mark.parametrize(
    ("device", "name", "dtype"),
    DEVICES,
    ids=[d.name + d.remark[:5] for d, *_ in DEVICES],
)
def test_auto_chooses_by_capability_and_free_memory(on, device, name, dtype):
    on(device)
    profile = load_profile()
    assert (profile.name, profile.dtype) == (name, dtype)
    training = profile.training_config
    assert (training["bf16"], training["fp16"]) == (
        dtype == "bfloat16",
        dtype == "float16",
    )
    gpu_found = device.kind == "cuda"
    assert training["use_cpu"] is not gpu_found
    assert training["dataloader_pin_memory"] is gpu_found
    assert profile.quantization_config["bnb_4bit_compute_dtype"] == dtype


def test_the_name_of_a_card_decides_nothing():
    for device, name, _ in DEVICES:
        renamed = dataclasses.replace(device, name="NVIDIA H200")
        assert choose_profile(renamed)[0] == name


def test_a_profile_says_in_one_sentence_why(on):
    on(T4)
    assert load_profile().why == (
        "gpu-16gb: Phi-3-mini on one 16 GB GPU; Tesla T4 has 14.4 of 14.7 GiB free and "
        "compute capability 7.5; float16 because compute capability 7.5 is below 8.0, "
        "without bfloat16."
    )
    on(gpu("a full A100", (8, 0), 79.2, free=3.0))
    assert "needs 13 GiB free and capability 7.5" in load_profile().why
    on(MPS)
    assert "Apple's GPU is not used" in load_profile().why


def test_dtype_follows_the_device_even_when_the_profile_is_named(on):
    on(T4)
    profile = load_profile("gpu-24gb")
    assert (profile.name, profile.dtype) == ("gpu-24gb", "float16")
    assert (profile.training_config["fp16"], profile.training_config["bf16"]) == (1, 0)
    assert "below 8.0" in profile.why
    on(CPU)
    assert load_profile("gpu-24gb").dtype == "float32"
    on(A100_80)
    tiny = load_profile("tiny")
    assert (tiny.dtype, tiny.training_config["use_cpu"]) == ("float32", False)
    assert not tiny.training_config["bf16"] and not tiny.training_config["fp16"]


@pytest.mark.parametrize(
    ("units", "times", "dtype", "says"),
    [
        ({"avx512_bf16": True}, 3.0, "bfloat16", "multiplies it 3.0 times as fast as"),
        ({"amx_bf16": True}, 1.5, "bfloat16", "multiplies it 1.5 times as fast as"),
        ({"bf16": True}, 1.4, "float32", "multiplies bfloat16 no faster"),
        ({"avx512_f": True, "avx512_bf16": False}, 9.0, "float32", "no faster"),
    ],
)
def test_small_takes_bf16_on_a_cpu_that_is_found_to_multiply_it_faster(
    on, monkeypatch, units, times, dtype, says
):
    on(CPU)
    seconds = {torch.float32: times, torch.bfloat16: 1.0}
    monkeypatch.setattr(config, "_seconds", seconds.get)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: units)
    monkeypatch.setattr(config, "bf16_speedup", config.bf16_speedup.__wrapped__)
    profile, big = load_profile("small"), load_profile("gpu-16gb")
    assert (profile.dtype, big.dtype) == (dtype, "float32")
    assert says in profile.why and "expect hours" in big.why
    arguments = SFTConfig(**profile.training_config)
    assert arguments.bf16 is (dtype == "bfloat16") and arguments.device.type == "cpu"
    on(T4)
    assert load_profile("small").dtype == "float16"


def test_the_products_are_measured_once_and_on_one_thread(monkeypatch):
    threads, seen = torch.get_num_threads(), []
    product = torch.Tensor.__matmul__
    watch = lambda a, b: seen.append(torch.get_num_threads()) or product(a, b)  # noqa: E731
    monkeypatch.setattr(torch.Tensor, "__matmul__", watch)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"bf16": True})
    config.bf16_speedup.cache_clear()
    try:
        torch.set_num_threads(2)
        assert config.bf16_speedup() > 0
        assert len(seen) >= 10 and set(seen) == {1} and torch.get_num_threads() == 2
        seen.clear()
        assert config.bf16_speedup() > 0 and not seen
    finally:
        torch.set_num_threads(threads)
        config.bf16_speedup.cache_clear()


def test_effective_batch_is_16_on_a_gpu_and_4_on_tiny(on):
    on(CPU)
    for name in ["tiny", *GPUS]:
        training = load_profile(name).training_config
        assert training["per_device_eval_batch_size"] >= 16
        batch = training["per_device_train_batch_size"]
        batch *= training["gradient_accumulation_steps"]
        assert batch == (4 if name == "tiny" else 16)


def test_the_tiny_dictionaries_build_the_real_objects(on, tmp_path):
    on(CPU)
    profile = load_profile("tiny")
    arguments = SFTConfig(**profile.training_config)
    assert arguments.device.type == "cpu"
    assert not arguments.bf16 and not arguments.activation_checkpointing
    for key, value in profile.training_config.items():
        if key != "report_to":  # which becomes a list
            assert getattr(arguments, key) == value, key
    assert arguments.get_warmup_steps(100) == 3
    assert LoraConfig(**profile.peft_config).target_modules == "all-linear"
    four_bit = BitsAndBytesConfig(**profile.quantization_config)
    assert four_bit.bnb_4bit_compute_dtype == torch.float32


@pytest.mark.parametrize("device", [T4, L4, A100_80], ids=lambda device: device.name)
@pytest.mark.parametrize("name", GPUS)
def test_gpu_dictionaries_hold_only_keys_that_exist(on, name, device):
    on(device)
    profile = load_profile(name)
    known = {field.name for field in dataclasses.fields(SFTConfig)}
    assert set(profile.training_config) <= known
    LoraConfig(**profile.peft_config)
    BitsAndBytesConfig(**profile.quantization_config)


def test_training_dictionaries_hold_the_same_keys(on):
    on(CPU)
    keys = [tuple(load_profile(name).training_config) for name in NAMES]
    assert len(set(keys)) == 1


def test_a_profile_changed_by_a_lesson_does_not_change_the_next(on):
    on(CPU)
    load_profile("tiny").training_config["max_steps"] = 1
    load_profile("tiny").peft_config["r"] = 1
    assert load_profile("tiny").training_config["max_steps"] != 1
    assert load_profile("tiny").peft_config["r"] != 1


def test_unknown_profile_lists_the_names():
    assert config.profile_names() == ["auto", *NAMES]
    with pytest.raises(ConfigError) as error:
        load_profile("big")
    assert str(error.value) == (
        "unknown profile 'big': use one of " + ", ".join(["auto", *NAMES])
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda entry: entry.update(flavour="x"), "unknown key 'flavour'"),
        (lambda entry: entry.pop("dtype"), "missing key 'dtype'"),
    ],
)
def test_a_wrong_key_names_key_profile_and_file(tmp_path, change, message):
    profiles = yaml.safe_load(config.PROFILES_FILE.read_text())
    change(profiles["tiny"])
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump(profiles))
    with pytest.raises(ConfigError, match=message) as error:
        config.read_profiles(file)
    assert str(error.value).startswith("mine.yaml: profile 'tiny'")
    assert "\n" not in str(error.value)


def test_models_are_folders_of_the_repository_or_hub_ids(on):
    on(CPU)
    assert load_profile("tiny").model == str(ROOT / "data/checkpoints/tiny-phi3")
    assert load_profile("gpu-24gb").model == "microsoft/Phi-3-mini-4k-instruct"
    assert load_profile("gpu-24gb").qlora_model == "Qwen/Qwen3-8B"


def test_no_profile_asks_for_a_gated_model(on):
    """Phi-3 is MIT, Qwen3 Apache-2.0; both download without an account."""
    on(CPU)
    for name in GPUS:
        profile = load_profile(name)
        models = {profile.model, profile.qlora_model, profile.open_model}
        assert models <= {"microsoft/Phi-3-mini-4k-instruct", "Qwen/Qwen3-8B"}


def test_any_model_takes_the_place_of_both(on, tmp_path, monkeypatch):
    on(CPU)
    hub = load_profile("tiny", model="owner/name-1.5B")
    assert hub.model == hub.qlora_model == "owner/name-1.5B"
    assert load_profile("tiny", model="gpt2").model == "gpt2"
    (tmp_path / "mine").mkdir()
    monkeypatch.chdir(tmp_path)
    for path in ("mine", "./mine", str(tmp_path / "mine")):
        assert Path(load_profile("tiny", model=path).model) == tmp_path / "mine"
    missing = load_profile("tiny", model="data/checkpoints/none").model
    assert missing == str(ROOT / "data/checkpoints/none")


def test_a_link_below_the_course_keeps_its_name_there(on, tmp_path, monkeypatch):
    """It names the base in what a run leaves, and helpers.merge finds it again."""
    on(CPU)
    root, other = tmp_path / "course", tmp_path / "disk" / "SmolLM2-135M-Instruct"
    other.mkdir(parents=True)
    (root / "build").mkdir(parents=True)
    (root / "build" / "models").symlink_to(other.parent, target_is_directory=True)
    (tmp_path / "way").symlink_to(root, target_is_directory=True)
    for module in (config, files):
        monkeypatch.setattr(module, "ROOT", root)
    monkeypatch.chdir(root)
    name = "build/models/SmolLM2-135M-Instruct"
    for there in (True, False):  # it is fetched later
        for model in (None, name, f"./{name}", str(root / name)):
            assert files.shown_model(load_profile("small", model).model) == name
        other.rmdir() if there else other.mkdir()
    outside = [other, root / ".." / "disk" / other.name, tmp_path / "way" / name]
    for model in map(str, outside):
        assert load_profile("small", model).model == str(other)


@pytest.mark.parametrize("name", ["auto", "tiny", "gpu-16gb"])
def test_a_device_that_is_not_used_is_said_whatever_was_asked_for(on, name):
    on(MPS)
    assert f" ({config.NO_MPS});" in load_profile(name).why
    on(CPU)
    assert "()" not in load_profile(name).why


def test_probe_reads_memory_and_counts_what_this_process_can_reuse(monkeypatch):
    fake = {
        "is_available": lambda: True,
        "mem_get_info": lambda: (10 * 2**30, 24 * 2**30),
        "memory_reserved": lambda: 4 * 2**30,
        "get_device_name": lambda: "Some GPU",
        "get_device_capability": lambda: (8, 9),
    }
    for name, function in fake.items():
        monkeypatch.setattr(torch.cuda, name, function)
    for archs in ([], ["sm_75", "sm_90a", "compute_120"], ["sm_89"]):
        monkeypatch.setattr(torch.cuda, "get_arch_list", archs.copy)
        device = config.probe_device()
        assert device == Device("cuda", "Some GPU", (8, 9), 24.0, 14.0)
    monkeypatch.setattr(torch.cuda, "get_arch_list", ["sm_90", "sm_120"].copy)
    remark = "Some GPU is not used: this torch has no kernels for so old a card"
    assert config.probe_device() == Device("cpu", "CPU", remark=remark)


@pytest.mark.parametrize(("mps", "remark"), [(True, config.NO_MPS), (False, "")])
def test_probe_without_cuda_is_a_cpu(monkeypatch, mps, remark):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    backend = SimpleNamespace(is_available=lambda: mps)
    monkeypatch.setattr(torch.backends, "mps", backend)
    assert config.probe_device() == Device("cpu", "CPU", remark=remark)
