"""Checks of a run against the machine: its memory, and what it can compute."""

import os
from collections.abc import Iterator
from contextlib import suppress
from copy import deepcopy

import psutil
import torch

from helpers import UserError
from helpers.config import BF16_CAPABILITY, GIB, probe_device
from helpers.preflight.registry import check_of, derived
from helpers.preflight.report import RUINS, WARNS, Finding

SURE = 1.15  # a prediction of memory is within 15 %
SHARED = ("activation_offloading", "fsdp", "deepspeed")  # it knows none of these
UNKNOWN = ("modules_to_save", "rank_pattern", "target_parameters")  # nor these, of LoRA
BLOCK = 64  # values of a 4-bit block (bitsandbytes)


@derived
def model(profile, qlora=False):
    """A profile's model with its adapter, as shapes: nothing is loaded.

    None where transformers or PEFT cannot make it; who loads it will say why.
    """
    from peft import LoraConfig, get_peft_model
    from transformers import AutoConfig, GenerationConfig

    from helpers.models import lora_settings, skeleton, train_in_float32

    name = profile.base(qlora)
    lora = profile.peft_config | {"init_lora_weights": True}
    try:
        config = AutoConfig.from_pretrained(name, trust_remote_code=False)
        made = skeleton(config).to(getattr(torch, profile.dtype))
        with suppress(OSError):  # without that file it is made of the config
            made.generation_config = GenerationConfig.from_pretrained(name)
        lora = deepcopy(lora_settings(made, lora))
        made = get_peft_model(made, LoraConfig(**lora))
    except Exception:
        return None
    train_in_float32(made)  # as `helpers.finetune` does
    return made


@check_of("does-not-fit", about="peak memory, predicted, against the device's")
def does_not_fit(
    model, arguments, memory=None, lengths=None, qlora=False
) -> Iterator[Finding]:
    """Whether training takes more than there is."""
    from helpers.memory import predict, size

    shared = [name for name in SHARED if getattr(arguments, name, None)]
    # accelerate's launcher says it in the environment alone.
    said = {name: os.environ.get(f"ACCELERATE_USE_{name.upper()}") for name in SHARED}
    shared += [name for name in SHARED if said[name] == "true" and name not in shared]
    if shared:
        return f"not predicted with {', '.join(shared)}"
    lora = next(iter(getattr(model, "peft_config", {}).values()), None)
    if unknown := [name for name in UNKNOWN if getattr(lora, name, None)]:
        return f"not predicted with {', '.join(unknown)}"
    free, where = _free(arguments, model) if memory is None else (memory, "given")
    four_bit = qlora or getattr(model, "is_loaded_in_4bit", False)
    method = ("qlora" if four_bit else "lora") if lora else "full"
    batch, length = arguments.per_device_train_batch_size, _longest(arguments, lengths)
    if length is None:
        return "no max_length: not predicted"
    options = {"rank": lora.r} if lora else {}
    options["checkpointing"] = bool(getattr(arguments, "activation_checkpointing", 0))
    options["dtype"] = str(model.dtype).removeprefix("torch.")
    options["padded"] = batch > 1 or bool(getattr(arguments, "packing", False))
    try:
        needs = predict(model.config, method, batch, length, **options).total
    except UserError as error:
        return f"not predicted: {error}"
    found = f"{batch} x {length} tokens take {size(needs)}, {free:.3g} GiB are {where}"
    if needs > free * GIB:
        level = RUINS if needs > SURE * free * GIB else WARNS
        why = "the run ends with an error of memory, perhaps at its longest row"
        mend = "a smaller batch with gradient_accumulation_steps, activation_"
        mend += "checkpointing, or QLoRA: python -m helpers.memory"
        yield Finding("does-not-fit", level, "device", found, why, mend)
    return found


@check_of("no-bf16", "four-bit-on-cpu", about="the precision on this device")
def precision(arguments, model=None) -> Iterator[Finding]:
    """Whether the device computes what is asked of it."""
    device, where = probe_device(), "training arguments"
    cpu = device.kind == "cpu" or arguments.use_cpu
    if arguments.bf16 and not cpu and device.capability < BF16_CAPABILITY:
        has = ".".join(map(str, device.capability))
        what = f"bf16 is asked of {device.name}, whose compute capability is {has}"
        why = "below 8.0 it is emulated, many times as slow"
        mend = "fp16=True, bf16=False, or the profile's dtype auto"
        yield Finding("no-bf16", RUINS, where, what, why, mend)
    yield from _four_bit_on_cpu(model)
    kinds = [kind for kind in ("bf16", "fp16") if getattr(arguments, kind)]
    return ", ".join([device.name, *kinds])


def _free(arguments, model) -> tuple[float, str]:
    """(GiB that training can have, where); what the model holds there is its own."""
    device = probe_device()
    if device.kind == "cuda" and not arguments.use_cpu:
        held = sum(p.nbytes for p in model.parameters() if p.is_cuda) / GIB
        return device.free_gib + held, f"free on {device.name}"
    return psutil.virtual_memory().total / GIB, "in this machine"


def _longest(arguments, lengths) -> int | None:
    """Tokens of the longest training row, None where nothing bounds them."""
    limit = getattr(arguments, "max_length", None)
    known = getattr((lengths or {}).get("train"), "tokens", None)
    if known and not getattr(arguments, "packing", False):
        return min(max(known), limit or max(known))
    return limit


def _four_bit_on_cpu(model) -> Iterator[Finding]:
    """What bitsandbytes 0.50.2 computes wrongly on a CPU."""
    wide, repacked = [], []
    for name, layer in model.named_modules() if model is not None else ():
        if (
            hasattr(layer, "support_avx512bf16_for_cpu")
            and layer.weight.device.type == "cpu"
        ):
            wide += [name] * bool(layer.in_features % BLOCK)
            repacked += [name] * bool(layer.support_avx512bf16_for_cpu)
    if wide:
        what = (
            f"{len(wide):,} layers in 4 bit have a width that {BLOCK} does not divide"
        )
        why = "their weights are read wrongly on a CPU"
        mend = "train in 16 or 32 bit, or on a GPU"
        yield Finding("four-bit-on-cpu", RUINS, "model", what, why, mend)
    if repacked and torch.cpu.get_capabilities().get("avx512_bf16"):
        what = f"{len(repacked):,} layers in 4 bit may be packed anew by an evaluation"
        why = "every gradient after the first evaluation is wrong"
        mend = "helpers.models.load_model(profile, quantized=True)"
        yield Finding("four-bit-on-cpu", RUINS, "model", what, why, mend)
