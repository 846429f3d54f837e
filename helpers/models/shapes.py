"""Real models as shapes: their configurations (configs.yaml), models without weights.

A `torch.device("meta")` tensor has a shape and a dtype but no data: an 8-billion
parameter model is built in seconds and takes no memory.
"""

import math
from pathlib import Path

import torch
import transformers
import yaml
from torch import nn

from helpers import one_line
from helpers.models.integrity import ModelError

# {name: the entries of its config.json}, and those of mixtures of experts.
CONFIGS, MIXTURES = yaml.safe_load(
    Path(__file__).with_name("configs.yaml").read_text(encoding="utf-8")
).values()


def meta_model(name: str) -> nn.Module:
    """The causal language model of that name, without weights. Raises ModelError."""
    known = CONFIGS | MIXTURES
    if name not in known:
        names = ", ".join(known)
        raise ModelError(f"no configuration is written out for {name!r}: use {names}")
    return skeleton(transformers.AutoConfig.for_model(**known[name]))


def skeleton(config) -> nn.Module:
    """The causal language model of a configuration on the meta device, no weights.

    Raises ModelError for a model of another kind.
    """
    try:
        with torch.device("meta"):
            return transformers.AutoModelForCausalLM.from_config(config)
    except ValueError as error:
        what = f"{config.model_type} is not made as a causal language model"
        raise ModelError(f"{what} ({one_line(error, 120)})") from error


def linear_shapes(model: nn.Module) -> dict[str, tuple[int, int]]:
    """{name: (d_in, d_out)} of every linear layer but the output head.

    These are the layers that PEFT adapts for `target_modules="all-linear"`.
    """
    head = model.get_output_embeddings()
    return {
        name: (layer.in_features, layer.out_features)
        for name, layer in model.named_modules()
        if isinstance(layer, nn.Linear) and layer is not head
    }


def expert_stacks(model: nn.Module) -> dict[str, tuple[int, int, int]]:
    """{name: shape} of every stack of experts: one parameter for all (transformers 5).

    No linear layers, so 4-bit loading leaves them as they are, and "all-linear" reaches
    some families' only.
    """
    return {
        f"{name}.{kind}": tuple(weight.shape)
        for name, layer in model.named_modules()
        for kind, weight in layer.named_parameters(recurse=False)
        if weight.dim() == 3 and not isinstance(layer, nn.modules.conv._ConvNd)
    }


def active_parameters(model: nn.Module) -> int:
    """How many parameters one token passes: of experts, those that it is sent to."""
    sleeping = 0
    for count, *widths in expert_stacks(model).values():
        sleeping += (count - model.config.num_experts_per_tok) * math.prod(widths)
    return model.num_parameters() - sleeping
