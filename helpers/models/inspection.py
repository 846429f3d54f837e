"""What of a model is adapted, what is trained, and whether its base is unchanged."""

import hashlib
import math
import re
from collections import Counter
from collections.abc import Iterable

import pandas as pd
import torch

from helpers.models.shapes import expert_stacks, linear_shapes


def trainable_table(model) -> pd.DataFrame:
    """What is trained: one row a type of module, and a row "total".

    Columns: layers (modules with a trainable weight), trainable (parameters), share
    (of all parameters of the model, 0 to 1; a 4-bit weight counts as one).
    """
    layers, trainable, everything = {}, Counter(), 0
    adapted = _adapted(model)
    for name, parameter in model.named_parameters():
        state = getattr(parameter, "quant_state", None)  # it knows the unpacked shape
        everything += parameter.numel() if state is None else state.shape.numel()
        if parameter.requires_grad:
            layer = re.split(r"\.(?:lora_|modules_to_save|weight$|bias$)", name)[0]
            kind = adapted.get(layer, layer).rsplit(".", 1)[-1]
            layers.setdefault(kind, set()).add(layer)
            trainable[kind] += parameter.numel()
    rows = {kind: (len(layers[kind]), count) for kind, count in trainable.items()}
    rows["total"] = (sum(map(len, layers.values())), trainable.total())
    columns = ["layers", "trainable"]
    table = pd.DataFrame.from_dict(rows, orient="index", columns=columns)
    return table.assign(share=table["trainable"] / everything).rename_axis("module")


def adapted_modules(model) -> dict[str, int]:
    """How many layers of each type carry LoRA: {"q_proj": 4, ...}."""
    return _count(_adapted(model).values())


def unadapted_modules(model) -> dict[str, int]:
    """How many layers of each type could carry LoRA and do not: {"o_proj": 2, ...}.

    Counts linear layers, the output head aside, and stacks of experts. Shows what a
    list of target names failed to match, such as Phi-3's fused `qkv_proj` and
    `gate_up_proj`.
    """
    return _count(_left_out(model))


def left_out(model) -> str:
    """What LoRA does not reach: "96 of 960 weights of ...", "" where it reaches all.

    After `target_modules="all-linear"` these are the stacks of experts of some
    families (`target_parameters` reaches them), `bypassed` layers, and beside experts,
    as in DeepSeek-V3, the plain and shared MLPs (PEFT 0.21.2 takes their names for
    those that the experts had in transformers 4).
    """
    weights = _left_out(model)
    if not weights:
        return ""
    kinds = ", ".join(f"{kind} ({n})" for kind, n in _count(weights).items())
    part = f"{sum(weights.values()):,} of {sum(_adaptable(model).values()):,} weights"
    return f"{part} of linear layers and experts: {kinds}"


def bypassed(model) -> list[str]:
    """The linear layers on which LoRA would get no gradient from text.

    Those of a multimodal model's towers, which see no image, and of Mamba mixers whose
    weights are read past LoRA: in training Mamba 2's fused kernel multiplies by the
    weight of `out_proj` itself, as Mamba 1 does by that of `dt_proj` everywhere. PEFT
    refuses such layers in some families (peft#2556); in others nothing is said.
    """
    mixers = (n for n, m in model.named_modules() if hasattr(m, "A_log"))
    mixers = [name for name in mixers if hasattr(model.get_submodule(name), "D")]
    past = {f"{mixer}.{kind}" for mixer in mixers for kind in ("out_proj", "dt_proj")}
    layers = linear_shapes(model).keys()
    if model.config.get_text_config() is not model.config:
        read = {id(module) for module in model.get_decoder().modules()}
        past |= {n for n in layers if id(model.get_submodule(n)) not in read}
    return sorted(past & layers)


def lora_settings(model, peft_config: dict) -> dict:
    """A peft_config whose "all-linear" leaves out what is `bypassed`."""
    whole = peft_config.get("target_modules") == "all-linear"
    past = bypassed(model) if whole else []
    return {"exclude_modules": past} | peft_config if past else peft_config


def fingerprint(model) -> str:
    """The sha256 of the base weights, in hex: one value with and without adapters.

    Covers name, dtype, shape and bytes, so another precision is another fingerprint.
    """
    return _digest(_base_weights(model))


def unquantised(model) -> str | None:
    """The fingerprint of the base weights that are not in 4 bit; None where none is.

    What bitsandbytes packs depends on the device a little: another card, or a CPU, adds
    in another order (0.50, functional.quantize_4bit: the offset of nested scales is a
    mean in fp32).
    """
    weights = _base_weights(model)
    packed = {name for name in weights if f"{name}.absmax" in weights}
    whole = re.compile("|".join(rf"{re.escape(name)}(\.|$)" for name in packed) or "$^")
    kept = {name: w for name, w in weights.items() if not whole.match(name)}
    return _digest(kept) if packed else None


def _digest(weights: dict[str, torch.Tensor]) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(weights.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        raw = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
        digest.update(raw.numpy())
    return digest.hexdigest()


def _adapted(model) -> dict[str, str]:
    """{module that PEFT has put LoRA on: layer or parameter that it adapts}."""
    found = {n: m for n, m in model.named_modules() if hasattr(m, "lora_A")}
    return {
        name: _plain(f"{name}.{getattr(module, 'parameter_name', 'weight')}")
        for name, module in found.items()
    }


def _left_out(model) -> dict[str, int]:
    """{name: weights} of what could carry LoRA and does not."""
    adapted = {*_adapted(model).values()}
    return {n: size for n, size in _adaptable(model).items() if n not in adapted}


def _adaptable(model) -> dict[str, int]:
    """{name: weights} of every linear layer but the head, and of experts' stacks."""
    shapes = linear_shapes(model) | expert_stacks(model)
    own = {name: shape for name, shape in shapes.items() if ".lora_" not in name}
    return {_plain(name): math.prod(shape) for name, shape in own.items()}


def _plain(name: str) -> str:
    """The name of a layer or parameter without PEFT's wrappers."""
    return re.sub(r"\.base_layer(?=\.|$)", "", name).removesuffix(".weight")


def _count(names: Iterable[str]) -> dict[str, int]:
    """How often each last part of a dotted name occurs, sorted."""
    return dict(sorted(Counter(name.rsplit(".", 1)[-1] for name in names).items()))


def _base_weights(model) -> dict[str, torch.Tensor]:
    """The tensors of the base, under the names they have without PEFT's wrappers."""
    weights = {}
    wrappers = r"^base_model\.model\.|\.(base_layer|original_module)(?=\.)"
    for name, tensor in model.state_dict().items():
        if not re.search(r"\.(lora_|modules_to_save\.)", name):
            weights[re.sub(wrappers, "", name)] = tensor
    return weights
