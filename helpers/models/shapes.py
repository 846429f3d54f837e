"""Real models as shapes: their configurations, written out, and models without weights.

A `torch.device("meta")` tensor has a shape and a dtype but no data: an 8-billion
parameter model is built in seconds and takes no memory.
"""

import math

import torch
import transformers
from torch import nn

from helpers.models.integrity import ModelError

# What the config.json beside each model's weights says of its shape, and of the rest
# what transformers would not take by itself.
# https://huggingface.co/microsoft/Phi-3-mini-4k-instruct/blob/main/config.json
PHI_3_MINI = {
    "model_type": "phi3",
    "vocab_size": 32064,
    "hidden_size": 3072,
    "intermediate_size": 8192,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 32,
    "sliding_window": 2047,
}
# https://huggingface.co/meta-llama/Llama-3.1-8B-Instruct/blob/main/config.json
LLAMA_3_1_8B = {
    "model_type": "llama",
    "vocab_size": 128256,
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "max_position_embeddings": 131072,
    "rms_norm_eps": 1e-5,
    "rope_parameters": {
        "rope_type": "llama3",
        "rope_theta": 500000.0,
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    },
    "bos_token_id": 128000,
    "eos_token_id": [128001, 128008, 128009],
}
# https://huggingface.co/meta-llama/Llama-3.1-70B-Instruct/blob/main/config.json
LLAMA_3_1_70B = LLAMA_3_1_8B | {
    "hidden_size": 8192,
    "intermediate_size": 28672,
    "num_hidden_layers": 80,
    "num_attention_heads": 64,
}
# https://huggingface.co/Qwen/Qwen3-8B/blob/main/config.json
QWEN_3_8B = {
    "model_type": "qwen3",
    "vocab_size": 151936,
    "hidden_size": 4096,
    "intermediate_size": 12288,
    "num_hidden_layers": 36,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "max_position_embeddings": 40960,
    "rms_norm_eps": 1e-6,
    "rope_parameters": {"rope_type": "default", "rope_theta": 1000000.0},
    "tie_word_embeddings": False,
    "bos_token_id": 151643,
    "eos_token_id": 151645,
}
# https://huggingface.co/Qwen/Qwen3-30B-A3B/blob/main/config.json
QWEN_3_30B_A3B = QWEN_3_8B | {
    "model_type": "qwen3_moe",
    "hidden_size": 2048,
    "num_hidden_layers": 48,
    "num_key_value_heads": 4,
    "moe_intermediate_size": 768,
    "num_experts": 128,
    "num_experts_per_tok": 8,
    "norm_topk_prob": True,
}
CONFIGS = {
    "Phi-3-mini": PHI_3_MINI,
    "Llama-3.1-8B": LLAMA_3_1_8B,
    "Llama-3.1-70B": LLAMA_3_1_70B,
    "Qwen3-8B": QWEN_3_8B,
}
MIXTURES = {"Qwen3-30B-A3B": QWEN_3_30B_A3B}  # of experts


def meta_model(name: str) -> nn.Module:
    """The causal language model of that name, without weights. Raises ModelError."""
    known = CONFIGS | MIXTURES
    if name not in known:
        names = ", ".join(known)
        raise ModelError(f"no configuration is written out for {name!r}: use {names}")
    config = transformers.AutoConfig.for_model(**known[name])
    with torch.device("meta"):
        return transformers.AutoModelForCausalLM.from_config(config)


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
