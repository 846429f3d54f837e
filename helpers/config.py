"""Profiles: which model, precision and training settings fit the machine at hand.

A profile is one entry of `helpers/profiles.yaml`, completed with what depends on the
device. Importing this module is cheap: torch comes in only when a device is probed.
"""

import re
from dataclasses import dataclass, fields
from functools import lru_cache
from pathlib import Path

from helpers import UserError
from helpers.files import ROOT

PROFILES_FILE = Path(__file__).with_name("profiles.yaml")
MIB, GIB = 2**20, 2**30

# bfloat16 arithmetic exists from compute capability 8.0 on (CUDA C++ Programming Guide,
# "Compute Capabilities"). torch.cuda.is_bf16_supported() also says yes where it is only
# emulated, as on a T4.
BF16_CAPABILITY = (8, 0)
# torch.cpu.get_capabilities()'s names of what multiplies bfloat16, the last one on ARM;
# how many times as fast as float32 it must be found to be.
BF16_UNITS, FASTER = ("avx512_bf16", "amx_bf16", "bf16"), 1.5
TOO_OLD = "{name} is not used: this torch has no kernels for so old a card"
NO_MPS = "Apple's GPU is not used: the course is measured on CPUs and CUDA GPUs"


class ConfigError(UserError):
    """A profile that cannot be used. One line: the rule, the value, the remedy."""


@dataclass(frozen=True)
class Device:
    """Where a run happens. kind: "cuda" or "cpu". Memory in GiB, 0.0 on a CPU."""

    kind: str
    name: str
    capability: tuple[int, int] | None = None
    total_gib: float = 0.0
    free_gib: float = 0.0
    remark: str = ""

    @property
    def remarked(self) -> str:
        """The remark as the end of a sentence: " (...)", or nothing."""
        return f" ({self.remark})" if self.remark else ""


@dataclass(frozen=True)
class Profile:
    """Everything a lesson needs to load and train a model.

    why: one sentence on why this profile and this precision.
    model, qlora_model, open_model: an absolute folder or a Hub id: for LoRA, for 4-bit,
        and the one that needs no token.
    dtype: "float32", "float16" or "bfloat16", the precision of the frozen base.
    training_config, peft_config, quantization_config: the keyword arguments, unchanged,
        of trl.SFTConfig, peft.LoraConfig and transformers.BitsAndBytesConfig.
    """

    name: str
    why: str
    model: str
    qlora_model: str
    open_model: str
    dtype: str
    attn_implementation: str
    training_config: dict
    peft_config: dict
    quantization_config: dict

    def base(self, quantized: bool) -> str:
        """The model that is loaded, as LoRA or QLoRA trains it."""
        return self.qlora_model if quantized else self.model


def profile_names() -> list[str]:
    """Every name that `load_profile` takes, "auto" first."""
    return ["auto", *read_profiles()]


def read_profiles(path=PROFILES_FILE) -> dict[str, dict]:
    """The entries of a YAML file by profile. Raises ConfigError for a wrong key."""
    import yaml  # the tools of the translations do without

    known = {f.name for f in fields(Profile)} - {"name", "why"} | {"summary", "needs"}
    profiles = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    for name, entry in profiles.items():
        wrong = {"unknown": {*entry} - known, "missing": known - {*entry}}
        for word, keys in wrong.items():
            if keys:
                raise ConfigError(
                    f"{Path(path).name}: profile {name!r} has the {word} key "
                    f"{min(keys)!r}: the keys are {', '.join(sorted(known))}"
                )
    return profiles


def probe_device() -> Device:
    """The device torch would train on: the current CUDA GPU, else the CPU."""
    import torch

    if torch.cuda.is_available():
        free, total = torch.cuda.mem_get_info()
        # What this process has reserved can be reused: without it, a second look from a
        # notebook that holds a model would choose a smaller profile than the first.
        free = min(total, free + torch.cuda.memory_reserved())
        capability = torch.cuda.get_device_capability()
        name = torch.cuda.get_device_name()
        known = re.findall(r"sm_(\d+)", " ".join(torch.cuda.get_arch_list()))  # T4: 75
        if 10 * capability[0] + capability[1] < min(map(int, known), default=0):
            return Device("cpu", "CPU", remark=TOO_OLD.format(name=name))
        return Device("cuda", name, capability, total / GIB, free / GIB)
    remark = NO_MPS if torch.backends.mps.is_available() else ""
    return Device("cpu", "CPU", remark=remark)


@lru_cache(maxsize=1)
def bf16_speedup() -> float:
    """How many times as fast as float32 this CPU multiplies bfloat16; 0.0 where not.

    Measured once a process, in milliseconds: what the CPU has may yet be unused (torch
    without oneDNN, DNNL_MAX_CPU_ISA), and bfloat16 then takes a hundred times as long.
    """
    import torch

    has = torch.cpu.get_capabilities()
    if not any(has.get(unit) for unit in BF16_UNITS):
        return 0.0
    return _seconds(torch.float32) / _seconds(torch.bfloat16)


def _seconds(dtype) -> float:
    """The shortest of five products of matrices; a second thread might be late."""
    import torch
    from torch.utils.benchmark import Timer

    values = {"matrix": torch.ones(256, 256, dtype=dtype)}
    timer = Timer("matrix @ matrix", globals=values, num_threads=1)
    return min(timer.timeit(1).mean for _ in range(5))


def choose_profile(device: Device) -> tuple[str, str]:
    """(name, why) of the largest profile that fits a device, whatever it is called."""
    if device.kind != "cuda":
        return "tiny", f"no CUDA GPU was found{device.remarked}"
    has = (
        f"{device.name} has {device.free_gib:.1f} of {device.total_gib:.1f} GiB free "
        f"and compute capability {_dotted(device)}"
    )
    gpus = {name: p["needs"] for name, p in read_profiles().items() if p["needs"]}
    by_size = sorted(gpus, key=lambda name: gpus[name]["free_gib"])
    for name in reversed(by_size):
        enough = device.free_gib >= gpus[name]["free_gib"]
        if enough and device.capability >= tuple(gpus[name]["capability"]):
            return name, has
    least = gpus[by_size[0]]
    return "tiny", (
        f"{has}, and the smallest GPU profile needs {least['free_gib']} GiB free "
        f"and capability {'.'.join(map(str, least['capability']))}"
    )


def load_profile(name: str = "auto", model: str | None = None) -> Profile:
    """The profile of that name, completed for the device found.

    model: a folder or Hub id that takes the place of `model` and `qlora_model`.
    Raises ConfigError for an unknown name.
    """
    profiles, device = read_profiles(), probe_device()
    if name != "auto" and name not in profiles:
        names = ", ".join(["auto", *profiles])
        raise ConfigError(f"unknown profile {name!r}: use one of {names}")
    why = f"asked for by name{device.remarked}"
    if name == "auto":
        name, why = choose_profile(device)
    entry = profiles[name]
    dtype, precision = _dtype(entry["dtype"], device, for_cpu=not entry["needs"])
    models = {key: _resolve(entry[key], ROOT) for key in entry if key.endswith("model")}
    if model is not None:
        models["model"] = models["qlora_model"] = _resolve(model, Path.cwd(), ROOT)
    return Profile(
        name=name,
        why=f"{name}: {entry['summary']}; {why}; {precision}.",
        **models,
        dtype=dtype,
        attn_implementation=_attention(entry["attn_implementation"], dtype, device),
        training_config=entry["training_config"] | _device_keys(dtype, device),
        peft_config=dict(entry["peft_config"]),
        quantization_config=entry["quantization_config"]
        | {"bnb_4bit_compute_dtype": dtype},
    )


def _dtype(wanted: str, device: Device, for_cpu: bool) -> tuple[str, str]:
    """(dtype, reason) on a device. wanted: a dtype, or "auto"."""
    if wanted != "auto":
        return wanted, f"{wanted} as the profile says"
    if device.kind != "cuda" and not for_cpu:
        return "float32", "float32 because there is no GPU, so expect hours"
    if device.kind != "cuda":
        times = bf16_speedup()
        if times < FASTER:
            return "float32", "float32 because this CPU multiplies bfloat16 no faster"
        has = f"because this CPU multiplies it {times:.1f} times as fast as float32"
        return "bfloat16", f"bfloat16 {has}"
    has = f"because compute capability {_dotted(device)} is"
    if device.capability >= BF16_CAPABILITY:
        return "bfloat16", f"bfloat16 {has} 8.0 or more"
    return "float16", f"float16 {has} below 8.0, without bfloat16"


def _attention(wanted: str, dtype: str, device: Device) -> str:
    """The attention to use: "auto" is SDPA, but for bfloat16 on a CPU."""
    if wanted != "auto":
        return wanted
    slow = device.kind != "cuda" and dtype == "bfloat16"  # SDPA's backward, there
    return "grouped" if slow else "sdpa"


def _device_keys(dtype: str, device: Device) -> dict:
    """The keys of training_config that depend on the device."""
    gpu = device.kind == "cuda"
    return {
        "bf16": dtype == "bfloat16",
        "fp16": dtype == "float16",
        "use_cpu": not gpu,
        "dataloader_pin_memory": gpu,
    }


def _resolve(model: str, *bases: Path) -> str:
    """The absolute folder below the first base that has it; else a Hub id as it is.

    What is neither becomes a path below the last base, for the error to name.
    """
    folders = [base / model for base in bases]
    found = next((folder for folder in folders if folder.is_dir()), None)
    if not found and re.fullmatch(r"[\w-][\w.-]*(/[\w.-]+)?", str(model)):
        return str(model)  # "name" or "owner/name"
    folder = found or folders[-1]
    # Below the course it is called by its name there, wherever a link leads.
    named = folder.is_relative_to(ROOT) and ".." not in folder.parts
    return str(folder if named else folder.resolve())


def _dotted(device: Device) -> str:
    """The compute capability as people write it: "7.5" for (7, 5)."""
    return ".".join(map(str, device.capability))
