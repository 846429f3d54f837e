"""What of a model's architecture decides on the memory of its training."""

import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import transformers

from helpers import UserError, one_line
from helpers.models import CONFIGS, MIXTURES, linear_shapes, skeleton

SEPARATE = ("llama", "mistral", "qwen2", "qwen3")  # q, k, v, gate, up: a layer each
FUSED = ("phi3",)  # qkv_proj and gate_up_proj
MIXED = ("qwen3_moe",)  # experts in place of an MLP, in every layer
NORMED = ("qwen3", *MIXED)  # q_norm and k_norm
TYPES = SEPARATE + FUSED + MIXED
NAMED = CONFIGS | MIXTURES


@dataclass(frozen=True)
class Shape:
    """What of an architecture decides on memory. Widths in values, counts in numbers.

    inner: the width of the MLP, or of one expert.
    query, key: the width of all query heads, and of all key (or value) heads.
    heads, key_heads: how many there are of each.
    fused: whether one layer projects queries, keys and values, as in Phi-3.
    normed: whether each head of queries and keys passes a norm, as in Qwen3.
    window: the longest reach of attention in tokens, None without a limit.
    experts, chosen: of a layer, and those that a token is sent to; 0 without experts.
    linear: (d_in, d_out) of every linear layer but the head. Experts are none.
    parameters, tensors: of the whole model, tied weights once.
    block: the parameters of one decoder layer.
    """

    layers: int
    hidden: int
    inner: int
    query: int
    key: int
    heads: int
    key_heads: int
    words: int
    fused: bool
    normed: bool
    window: int | None
    experts: int
    chosen: int
    linear: tuple[tuple[int, int], ...]
    parameters: int
    tensors: int
    block: int


def read_config(config) -> tuple[str, transformers.PreTrainedConfig]:
    """(name, transformers configuration) of what `predict` takes. Raises UserError."""
    if not isinstance(config, (str, Path)):
        name = Path(config.name_or_path).name or config.model_type
    elif str(config) in NAMED:
        name = str(config)
        config = transformers.AutoConfig.for_model(**NAMED[name])
    else:
        name, config = Path(config).resolve().name, _read(Path(config))
    if config.model_type not in TYPES:
        what = f"{name} is of type {config.model_type!r}"
        raise UserError(f"{what}: only {', '.join(TYPES)} can be predicted")
    return name, config


def check_parts(name: str, config, method: str) -> None:
    """Raises UserError where a model holds what the formulas would pass over."""
    if config.model_type in MIXED:
        if config.mlp_only_layers or config.decoder_sparse_step != 1:
            raise UserError(f"{name} has layers without experts: not predicted")
    own = getattr(config, "quantization_config", None)  # an object if made on loading
    if isinstance(own, dict) and not (method == "qlora" and own.get("load_in_4bit")):
        rule = f"{method} cannot be predicted, only qlora of 4 bit"
        raise UserError(f"{name} holds quantised weights: {rule}")


def _read(path: Path) -> transformers.PreTrainedConfig:
    """The configuration in a folder or file. Raises UserError."""
    if not path.exists():
        known = ", ".join(NAMED)
        raise UserError(f"no model configuration at {path}: give a folder, or {known}")
    try:
        return transformers.AutoConfig.from_pretrained(path, trust_remote_code=False)
    except Exception as error:  # which one depends on the check that fails
        reason = one_line(error)
        raise UserError(f"{path} is no model configuration: {reason}") from error


@lru_cache(maxsize=32)
def shape_of(text: str) -> Shape:
    """The Shape of a model's configuration as JSON. Builds the model, on "meta"."""
    entries = json.loads(text)
    config = transformers.AutoConfig.for_model(entries.pop("model_type"), **entries)
    model = skeleton(config)
    heads, keys = config.num_attention_heads, config.num_key_value_heads
    mixed = config.model_type in MIXED
    head_width = getattr(config, "head_dim", None) or config.hidden_size // heads
    return Shape(
        layers=config.num_hidden_layers,
        hidden=config.hidden_size,
        inner=config.moe_intermediate_size if mixed else config.intermediate_size,
        query=heads * head_width,
        key=keys * head_width,
        heads=heads,
        key_heads=keys,
        words=config.vocab_size,
        fused=config.model_type in FUSED,
        normed=config.model_type in NORMED,
        window=getattr(config, "sliding_window", None),
        experts=config.num_experts if mixed else 0,
        chosen=config.num_experts_per_tok if mixed else 0,
        linear=tuple(linear_shapes(model).values()),
        parameters=model.num_parameters(),
        tensors=sum(1 for _ in model.parameters()),
        block=sum(w.numel() for w in model.base_model.layers[0].parameters()),
    )
