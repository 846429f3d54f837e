"""Write a pretrained tiny model as two checkpoint folders: tiny-llama, and the same weights laid out as tiny-phi3."""

import hashlib
import json
import os
import platform
import random
import shutil
from dataclasses import asdict
from pathlib import Path

from helpers import corpus
from helpers.tiny_checkpoints import Recipe, build_tokenizer, corpus_digest

# Special tokens as the real instruct models set them, but for pad: Phi-3 pads with its end token, and a masked end
# token is never learnt, so its pad is <unk> here.
LLAMA_TOKENS = {
    "bos_token": "<|begin_of_text|>",
    "eos_token": "<|eot_id|>",
    "pad_token": "<|finetune_right_pad_id|>",
}
PHI3_TOKENS = {"bos_token": "<s>", "eos_token": "<|endoftext|>", "pad_token": "<unk>", "unk_token": "<unk>"}
STOP_TOKENS = {"tiny-llama": ["<|eot_id|>", "<|end_of_text|>"], "tiny-phi3": ["<|end|>", "<|endoftext|>"]}


def to_phi3(model):
    """Return Phi3ForCausalLM with a LlamaForCausalLM's weights: q, k, v stacked into qkv_proj, gate and up into
    gate_up_proj (rows, dim 0). The logits are equal."""
    import torch
    from transformers import Phi3Config, Phi3ForCausalLM

    c, ids = model.config, {token: i for i, token in enumerate(corpus.SPECIAL_TOKENS)}
    config = Phi3Config(
        **{key: getattr(c, key) for key in ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers")},
        **{key: getattr(c, key) for key in ("num_attention_heads", "num_key_value_heads", "rms_norm_eps")},
        max_position_embeddings=c.max_position_embeddings,
        original_max_position_embeddings=c.max_position_embeddings,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
        sliding_window=None,
        tie_word_embeddings=True,
        bos_token_id=ids["<s>"],
        eos_token_id=ids["<|endoftext|>"],
        pad_token_id=ids["<unk>"],
    )
    weights, fused = dict(model.state_dict()), {}
    for name in [n for n in weights if n.endswith("q_proj.weight")]:
        parts = [weights.pop(name.replace("q_proj", p)) for p in ("q_proj", "k_proj", "v_proj")]
        fused[name.replace("q_proj", "qkv_proj")] = torch.cat(parts)
    for name in [n for n in weights if n.endswith("gate_proj.weight")]:
        parts = [weights.pop(name.replace("gate_proj", p)) for p in ("gate_proj", "up_proj")]
        fused[name.replace("gate_proj", "gate_up_proj")] = torch.cat(parts)
    phi3 = Phi3ForCausalLM(config)
    phi3.load_state_dict(weights | fused)
    return phi3


def make_tokenizer(raw, name):
    """Return the transformers tokenizer of a checkpoint: its special tokens and its family's real chat template."""
    from transformers import PreTrainedTokenizerFast
    from trl.chat_template_utils import llama3_chat_template, phi3_chat_template

    tokens = LLAMA_TOKENS if name == "tiny-llama" else PHI3_TOKENS
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=raw, model_max_length=1024, clean_up_tokenization_spaces=False, **tokens
    )
    tokenizer.chat_template = llama3_chat_template if name == "tiny-llama" else phi3_chat_template
    return tokenizer


def held_out_losses(model, raw, count=64):
    """Return {"message": ..., "copy": ...}: mean loss a token (nats, fp32) on documents of a seed of their own."""
    import torch

    rng, losses = random.Random("held out"), {}
    model.eval()
    for kind, make in (("message", corpus.message_document), ("copy", copied_names)):
        total = tokens = 0
        for _ in range(count):
            text, scored_from = make(rng) if kind == "copy" else (make(rng), "")
            head = len(raw.encode(scored_from).ids) if scored_from else 1
            ids = torch.tensor([raw.encode(scored_from).ids + raw.encode(text).ids if scored_from else raw.encode(text).ids])
            with torch.inference_mode():
                logits = model(input_ids=ids).logits[0, head - 1 : -1].float()
            total += torch.nn.functional.cross_entropy(logits, ids[0, head:], reduction="sum").item()
            tokens += ids.shape[1] - head
        losses[kind] = round(total / tokens, 5)
    return losses


def copied_names(rng):
    """Return (text, prefix): six names that the model reads in the prefix and must write again, all but the first."""
    names = [corpus.make_name(rng) for _ in range(6)]
    return ", ".join(names[1:]), f"<s>{', '.join(names)} | {names[0]}, "


def export(recipe, model, log, output):
    """Write output/tiny-llama and output/tiny-phi3. Each folder appears whole or not at all."""
    import torch

    raw = build_tokenizer(recipe)
    model = model.to(torch.bfloat16).float()  # the weights as they are stored
    facts = {
        "recipe": asdict(recipe),
        "corpus_sha256": corpus_digest(raw, recipe),
        "first_losses": [round(x, 4) for x in log["losses"][:3]],
        "losses_each_100_steps": [round(sum(x) / len(x), 4) for x in _chunks(log["losses"], 100)],
        "held_out": held_out_losses(model, raw),
        "tokens": recipe.steps * recipe.rows * recipe.length,
        "seconds": round(log["seconds"]),
        "machine": f"{platform.machine()}, 1 thread, torch {torch.__version__}",
    }
    for name, variant in (("tiny-llama", model), ("tiny-phi3", to_phi3(model))):
        write_folder(output / name, variant.to(torch.bfloat16), make_tokenizer(raw, name), facts)


def _chunks(values, size):
    return [values[i : i + size] for i in range(0, len(values), size)]


def write_folder(folder, model, tokenizer, facts):
    """Write one checkpoint folder beside its place, then move it there."""
    part = folder.with_name(folder.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    stops = [tokenizer.convert_tokens_to_ids(token) for token in STOP_TOKENS[folder.name]]
    model.generation_config.eos_token_id = stops
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    model.generation_config.bos_token_id = tokenizer.bos_token_id
    model.save_pretrained(part)
    tokenizer.save_pretrained(part)
    (part / "recipe.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    (part / "README.md").write_text(model_card(folder.name, model, facts), encoding="utf-8")
    sums = [f"{hashlib.sha256(f.read_bytes()).hexdigest()}  {f.name}\n" for f in sorted(part.iterdir())]
    (part / "SHA256SUMS").write_text("".join(sums), encoding="utf-8")
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(part, folder)


def model_card(name, model, facts):
    """Return the card: what the checkpoint is, how it was made, what it is not for."""
    recipe, losses = Recipe(**facts["recipe"]), facts["losses_each_100_steps"]
    twin = "tiny-phi3" if name == "tiny-llama" else "tiny-llama"
    return f"""---
license: cc0-1.0
language: en
---
# {name}

A language model of {model.num_parameters():,} parameters, pretrained from scratch for this course, so that every lesson runs on a
laptop without a download. It holds the same weights as `{twin}`, in the layout of `{type(model).__name__}`.

| | |
|---|---|
| shape | {recipe.layers} layers, width {recipe.hidden_size}, MLP {recipe.intermediate_size}, {recipe.heads} heads, {recipe.vocab_size:,} tokens, {recipe.positions:,} positions, bf16 |
| text | {facts["tokens"]:,} tokens made by `helpers/corpus.py`: customers' messages with notes in many layouts, copying and look-up exercises |
| never seen | the chat template, the house codes, any phrase of `data/tickets` |
| optimizer | Muon ({recipe.muon_lr}) for matrices, AdamW ({recipe.adamw_lr}) for the rest; {recipe.steps:,} steps of {recipe.rows} x {recipe.length} tokens, warm-up, plateau, linear decay |
| loss a token | first 100 steps {losses[0]}, last 100 steps {losses[-1]} nats; copying unseen names {facts["held_out"]["copy"]} nats |
| time | {facts["seconds"] / 60:.0f} minutes on {facts["machine"]} |
| rebuild | `python -m helpers.tiny_checkpoints` |
| digests | `SHA256SUMS`; settings and loss curve in `recipe.json` |

It knows one small synthetic world and nothing else. Use it to learn fine-tuning, not to answer customers.
"""
