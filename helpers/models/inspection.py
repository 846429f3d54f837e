"""What of a model is adapted, what is trained, and whether its base is unchanged."""

import hashlib
import re
from collections import Counter
from collections.abc import Iterable

import pandas as pd
import torch

from helpers.models.shapes import linear_shapes


def trainable_table(model) -> pd.DataFrame:
    """What is trained: one row a type of module, and a row "total".

    Columns: layers (modules with a trainable weight), trainable (parameters), share
    (of all parameters of the model, 0 to 1; a 4-bit weight counts as one).
    """
    layers, trainable, everything = {}, Counter(), 0
    for name, parameter in model.named_parameters():
        state = getattr(parameter, "quant_state", None)  # it knows the unpacked shape
        everything += parameter.numel() if state is None else state.shape.numel()
        if parameter.requires_grad:
            layer = re.split(r"\.(?:lora_|modules_to_save|weight$|bias$)", name)[0]
            kind = layer.rsplit(".", 1)[-1]
            layers.setdefault(kind, set()).add(layer)
            trainable[kind] += parameter.numel()
    rows = {kind: (len(layers[kind]), count) for kind, count in trainable.items()}
    rows["total"] = (sum(map(len, layers.values())), trainable.total())
    columns = ["layers", "trainable"]
    table = pd.DataFrame.from_dict(rows, orient="index", columns=columns)
    return table.assign(share=table["trainable"] / everything).rename_axis("module")


def adapted_modules(model) -> dict[str, int]:
    """How many layers of each type carry LoRA: {"q_proj": 4, ...}."""
    return _count(_adapted(model))


def unadapted_modules(model) -> dict[str, int]:
    """How many linear layers of each type carry no LoRA, the output head aside.

    Shows what a list of target names failed to match, such as Phi-3's fused `qkv_proj`
    and `gate_up_proj`. Empty after `target_modules="all-linear"`.
    """
    inside = tuple(f"{name}." for name in _adapted(model))  # base_layer, lora_A, lora_B
    return _count(n for n in linear_shapes(model) if not n.startswith(inside))


def fingerprint(model) -> str:
    """The sha256 of the base weights, in hex: one value with and without adapters.

    Covers name, dtype, shape and bytes, so another precision is another fingerprint.
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(_base_weights(model).items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        raw = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
        digest.update(raw.numpy())
    return digest.hexdigest()


def _adapted(model) -> list[str]:
    """The names of the modules that PEFT has put LoRA on."""
    return [name for name, module in model.named_modules() if hasattr(module, "lora_A")]


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
