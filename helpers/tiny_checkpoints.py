"""The recipe of the shipped checkpoints: pretrain tiny-llama from scratch, lay it out again as tiny-phi3.

    python -m helpers.tiny_checkpoints [--output data/checkpoints] [--work build/pretraining]

One process, one seed, about an hour on one CPU core. The run saves its state every 250 steps under --work and goes on
from there when it is started again. The result: two folders in bf16 safetensors with tokenizer, model card
(README.md), recipe.json (settings, loss curve, digests) and SHA256SUMS.
"""

import argparse
import contextlib
import hashlib
import os
import random
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from tqdm import tqdm

from helpers import corpus
from helpers.config import ROOT

# A space stands alone before capitals and digits, so a name has the same tokens in a message, in quotes, anywhere;
# digits stand alone, so that an order number is copied digit by digit.
PRE_TOKENS = r"\p{N}|\p{Lu}\p{Ll}*| ?\p{Ll}+| ?[^\s\p{L}\p{N}]+|\s+"


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the weights. Lengths in tokens; learning rates after warm-up."""

    seed: int = 0
    vocab_size: int = 2048
    hidden_size: int = 192
    intermediate_size: int = 512
    layers: int = 4
    heads: int = 6
    positions: int = 1024
    rows: int = 6
    length: int = 512
    steps: int = 4000
    warmup_steps: int = 100
    decay_share: float = 0.4
    muon_lr: float = 3e-3
    adamw_lr: float = 3e-3
    tokenizer_documents: int = 30000


def build_tokenizer(recipe):
    """Train the byte-level BPE tokenizer on the corpus. Returns a tokenizers.Tokenizer; the same recipe, the same JSON."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

    rng = random.Random(f"{recipe.seed}/tokenizer")
    tokenizer = Tokenizer(models.BPE())
    split = pre_tokenizers.Split(Regex(PRE_TOKENS), "isolated")
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, byte_level])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=recipe.vocab_size,
        special_tokens=corpus.SPECIAL_TOKENS,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    documents = (corpus.make_document(rng, 0.9) for _ in range(recipe.tokenizer_documents))
    tokenizer.train_from_iterator(documents, trainer)
    return tokenizer


def make_batch(tokenizer, recipe, step):
    """Return the token ids of one step, a list of recipe.rows * recipe.length ints; a step needs no other step."""
    rng = random.Random(f"{recipe.seed}/{step}")
    size, ids = recipe.rows * recipe.length, []
    while len(ids) < size:
        texts = [corpus.make_document(rng, step / recipe.steps) for _ in range(20)]
        ids += [i for encoding in tokenizer.encode_batch(texts) for i in encoding.ids]
    return ids[:size]


def corpus_digest(tokenizer, recipe):
    """Return the sha256 of four steps' token ids: it changes when the generator, its lists or the tokenizer change."""
    digest = hashlib.sha256()
    for step in (0, 1, recipe.steps // 2, recipe.steps - 1):
        digest.update(repr(make_batch(tokenizer, recipe, step)).encode())
    return digest.hexdigest()


def new_model(recipe):
    """Return a randomly initialised LlamaForCausalLM of the recipe's shape, in fp32."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    ids = {token: i for i, token in enumerate(corpus.SPECIAL_TOKENS)}
    torch.manual_seed(recipe.seed)
    config = LlamaConfig(
        vocab_size=recipe.vocab_size,
        hidden_size=recipe.hidden_size,
        intermediate_size=recipe.intermediate_size,
        num_hidden_layers=recipe.layers,
        num_attention_heads=recipe.heads,
        num_key_value_heads=recipe.heads,
        max_position_embeddings=recipe.positions,
        rms_norm_eps=1e-5,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
        tie_word_embeddings=True,
        bos_token_id=ids["<|begin_of_text|>"],
        eos_token_id=ids["<|eot_id|>"],
        pad_token_id=ids["<|finetune_right_pad_id|>"],
    )
    return LlamaForCausalLM(config)


def make_optimizers(model, recipe):
    """Muon for the matrices inside the layers, AdamW for embeddings and norms (torch.optim.Muon's own advice)."""
    import torch

    inside = {name for name, p in model.named_parameters() if p.ndim == 2 and "embed" not in name}
    matrices = [p for name, p in model.named_parameters() if name in inside]
    others = [p for name, p in model.named_parameters() if name not in inside]
    return [
        torch.optim.Muon(matrices, lr=recipe.muon_lr, weight_decay=0.0, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(others, lr=recipe.adamw_lr, betas=(0.9, 0.95), weight_decay=0.0),
    ]


def learning_rate_share(recipe, step):
    """Warm-up, plateau, linear decay: the share of the full learning rate at a step."""
    left = (recipe.steps - step) / (recipe.decay_share * recipe.steps)
    return min(1.0, (step + 1) / recipe.warmup_steps, max(left, 0.0))


def train_step(model, optimizers, recipe, ids, step):
    """One optimizer step on recipe.rows rows. Returns the mean loss a token, in nats."""
    import torch

    for optimizer, full in zip(optimizers, (recipe.muon_lr, recipe.adamw_lr), strict=True):
        optimizer.param_groups[0]["lr"] = full * learning_rate_share(recipe, step)
    x = torch.tensor(ids).view(recipe.rows, recipe.length)
    with torch.autocast("cpu", torch.bfloat16):
        loss = model(input_ids=x, labels=x, use_cache=False).loss
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    for optimizer in optimizers:
        optimizer.step()
        optimizer.zero_grad()
    return loss.item()


def pretrain(recipe, work, steps=None):
    """Train up to `steps` (default: all), from the state in `work` if there is one. Returns (model, log).

    log: {"losses": [loss a step], "seconds": float}. The state file appears whole or not at all.
    """
    import torch

    tokenizer, model = build_tokenizer(recipe), new_model(recipe)
    optimizers, log = make_optimizers(model, recipe), {"losses": [], "seconds": 0.0}
    state_file = work / "state.pt"
    if state_file.exists():
        state = torch.load(state_file, weights_only=True)
        if state["recipe"] != asdict(recipe):
            raise SystemExit(f"{state_file}: belongs to another recipe; remove it to start again")
        model.load_state_dict(state["model"])
        for optimizer, saved in zip(optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        log = state["log"]
    first, last, began = len(log["losses"]), steps or recipe.steps, time.monotonic() - log["seconds"]
    for step in (bar := tqdm(range(first, last), initial=first, total=last, unit="step", mininterval=10)):
        log["losses"].append(train_step(model, optimizers, recipe, make_batch(tokenizer, recipe, step), step))
        bar.set_postfix(loss=f"{log['losses'][-1]:.3f}", refresh=False)
        if (step + 1) % 250 == 0 or step + 1 == last:
            log["seconds"] = time.monotonic() - began
            optimizer_states = [optimizer.state_dict() for optimizer in optimizers]
            state = {"recipe": asdict(recipe), "model": model.state_dict(), "optimizers": optimizer_states, "log": log}
            torch.save(state, work / "state.part")
            os.replace(work / "state.part", state_file)
    return model, log


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=ROOT / "data" / "checkpoints")
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "pretraining")
    args = parser.parse_args()
    import torch

    from helpers.checkpoint_export import export

    with contextlib.suppress(RuntimeError):
        torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    recipe = Recipe()
    args.work.mkdir(parents=True, exist_ok=True)
    model, log = pretrain(recipe, args.work)
    export(recipe, model, log, args.output)


if __name__ == "__main__":
    main()
