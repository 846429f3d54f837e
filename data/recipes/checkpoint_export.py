"""Writes a pretrained tiny model as two checkpoint folders: tiny-llama and tiny-phi3.

Both hold the same weights, in two layouts, with the special tokens and the chat
template of the family whose name they carry.
"""

import platform
import shutil
from dataclasses import asdict
from pathlib import Path

import torch
from tokenizers import Tokenizer
from transformers import (
    LlamaForCausalLM,
    Phi3Config,
    Phi3ForCausalLM,
    PreTrainedTokenizerFast,
)
from trl.chat_template_utils import llama3_chat_template, phi3_chat_template

from data.recipes import corpus
from data.recipes.pretraining import (
    Recipe,
    build_tokenizer,
    corpus_digest,
    held_out_losses,
)
from helpers.files import put_in_place, seal, write_json, write_text

# As the real instruct models set them, but for one: Phi-3 pads with its end token, and
# an end token that is masked as padding is never learnt. Here it pads with <unk>.
SPECIAL = {
    "tiny-llama": {
        "bos_token": "<|begin_of_text|>",
        "eos_token": "<|eot_id|>",
        "pad_token": "<|finetune_right_pad_id|>",
    },
    "tiny-phi3": {
        "bos_token": "<s>",
        "eos_token": "<|endoftext|>",
        "pad_token": "<unk>",
        "unk_token": "<unk>",
    },
}
STOP_TOKENS = {
    "tiny-llama": ["<|eot_id|>", "<|end_of_text|>"],
    "tiny-phi3": ["<|end|>", "<|endoftext|>"],
}
SHARED_KEYS = (
    *("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers"),
    *("num_attention_heads", "num_key_value_heads", "max_position_embeddings"),
    *("rms_norm_eps", "tie_word_embeddings"),
)
FUSED = {  # Phi-3 stacks these rows of Llama's matrices, (out_dim, in_dim), on dim 0
    "self_attn.qkv_proj": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "mlp.gate_up_proj": ("mlp.gate_proj", "mlp.up_proj"),
}


def export(recipe: Recipe, model, log: dict, output: Path) -> list[Path]:
    """Writes output/tiny-llama and output/tiny-phi3; a folder is never half-written.

    model, log: what `pretrain` returned. Returns the two folders.
    """
    raw = build_tokenizer(recipe)
    model = model.to(torch.bfloat16).float()  # the weights as they are stored
    losses = log["losses"]
    chunks = [losses[i : i + 100] for i in range(0, len(losses), 100)]
    facts = {
        "recipe": asdict(recipe),
        "corpus_sha256": corpus_digest(raw, recipe),
        "steps_done": len(losses),
        "tokens": len(losses) * recipe.rows * recipe.length,
        "first_losses": [round(loss, 4) for loss in losses[:3]],
        "losses_each_100_steps": [round(sum(x) / len(x), 4) for x in chunks],
        "held_out": held_out_losses(model, raw),
        "seconds": round(log["seconds"]),
        "machine": f"{platform.machine()}, 1 thread, torch {torch.__version__}",
    }
    variants = {"tiny-llama": model, "tiny-phi3": to_phi3(model)}
    parts = [
        write_part(output / name, variant, make_tokenizer(raw, name), facts)
        for name, variant in variants.items()
    ]
    return [put_in_place(part) for part in parts]


def to_phi3(llama: LlamaForCausalLM) -> Phi3ForCausalLM:
    """A Phi3ForCausalLM with the weights of a LlamaForCausalLM, same logits."""
    ids = {token: i for i, token in enumerate(corpus.SPECIAL_TOKENS)}
    config = Phi3Config(
        **{key: getattr(llama.config, key) for key in SHARED_KEYS},
        original_max_position_embeddings=llama.config.max_position_embeddings,
        rope_parameters=dict(llama.config.rope_parameters),  # Phi3Config adds to it
        sliding_window=None,
        bos_token_id=ids["<s>"],
        eos_token_id=ids["<|endoftext|>"],
        pad_token_id=ids["<unk>"],
    )
    weights = dict(llama.state_dict())
    for layer in range(llama.config.num_hidden_layers):
        for fused, single in FUSED.items():
            names = [f"model.layers.{layer}.{name}.weight" for name in single]
            rows = torch.cat([weights.pop(name) for name in names])
            weights[f"model.layers.{layer}.{fused}.weight"] = rows
    phi3 = Phi3ForCausalLM(config)
    phi3.load_state_dict(weights)
    return phi3


def make_tokenizer(raw: Tokenizer, name: str) -> PreTrainedTokenizerFast:
    """The tokenizer of tiny-llama or tiny-phi3 with its chat template."""
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=raw,
        model_max_length=1024,
        clean_up_tokenization_spaces=False,
        **SPECIAL[name],
    )
    templates = {"tiny-llama": llama3_chat_template, "tiny-phi3": phi3_chat_template}
    tokenizer.chat_template = templates[name]
    return tokenizer


def write_part(folder: Path, model, tokenizer, facts: dict) -> Path:
    """Writes a checkpoint beside its place, as FOLDER.part; returns that path."""
    name, part = folder.name, folder.with_name(f"{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    settings = model.generation_config
    settings.eos_token_id = tokenizer.convert_tokens_to_ids(STOP_TOKENS[name])
    settings.pad_token_id = tokenizer.pad_token_id
    settings.bos_token_id = tokenizer.bos_token_id
    model.to(torch.bfloat16).save_pretrained(part)
    tokenizer.save_pretrained(part)
    write_json(part / "recipe.json", facts)
    write_text(part / "README.md", model_card(name, model, facts))
    seal(part)
    return part


def model_card(name: str, model, facts: dict) -> str:
    """The card: what the checkpoint is, how it was made, what it is not for."""
    r, curve = Recipe(**facts["recipe"]), facts["losses_each_100_steps"]
    twin = "tiny-phi3" if name == "tiny-llama" else "tiny-llama"
    rows = {
        "shape": f"{r.layers} layers, width {r.hidden_size}, MLP "
        f"{r.intermediate_size}, {r.heads} heads, {r.vocab_size:,} tokens, "
        f"{r.positions:,} positions, bf16",
        "text": f"{facts['tokens']:,} tokens made by `data/recipes/corpus.py`: "
        "customers' messages with notes in many layouts, copying and look-up exercises",
        "never seen": "a chat template, a code of the house format, any phrase of "
        "`data/tickets`",
        "optimizer": f"Muon ({r.muon_lr}) for matrices, AdamW ({r.adamw_lr}) for the "
        f"rest; {facts['steps_done']:,} steps of {r.rows} x {r.length} tokens; "
        "warm-up, plateau, linear decay",
        "loss a token": f"first 100 steps {curve[0]}, last 100 steps {curve[-1]} nats; "
        f"held-out messages {facts['held_out']['message']} nats, copying unseen names "
        f"{facts['held_out']['copy']} nats",
        "time": f"{facts['seconds'] / 60:.0f} minutes on {facts['machine']}",
        "rebuild": "`python -m data.recipes.tiny_checkpoints`",
        "digests": "`SHA256SUMS`; settings and loss curve in `recipe.json`",
    }
    table = "\n".join(f"| {what} | {text} |" for what, text in rows.items())
    return f"""---
license: cc0-1.0
language: en
---
# {name}

A language model of {model.num_parameters():,} parameters, pretrained from scratch for
this course, so that every lesson runs on a laptop without a download. It holds the same
weights as `{twin}`, in the layout of `{type(model).__name__}`.

| | |
|---|---|
{table}

It knows one small synthetic world and nothing else. Use it to learn fine-tuning, not to
answer customers.
"""
