"""Adapters that must not reach a user, made of one that is whole."""

import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch.nn.functional import pad

WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"
RANK = 64  # of the one that is too large


def wide(weights: dict) -> dict:
    """As of a base twice as wide."""
    return {k: torch.cat([w, w], dim=int("lora_A" in k)) for k, w in weights.items()}


def large(weights: dict) -> dict:
    """The same function in more columns: nothing is wrong but the rank."""
    return {
        k: pad(w, (0, 0, 0, RANK - len(w)) if "lora_A" in k else (0, RANK - w.shape[1]))
        for k, w in weights.items()
    }


def without(part: str, weights: dict) -> dict:
    """Without the matrices whose key has a part."""
    return {k: w for k, w in weights.items() if part not in k}


# {what is wrong: (the weights of the whole one -> others, what its settings say)}
BROKEN = {
    "file cut short": (None, {}),
    "another base's width": (wide, {}),
    "another model's names": (
        lambda weights: {
            k.replace("qkv_proj", "c_attn"): w for k, w in weights.items()
        },
        {},
    ),
    f"rank {RANK}": (large, {"r": RANK, "lora_alpha": 2 * RANK}),
    "every matrix B missing": (lambda weights: without("lora_B", weights), {}),
    "half of the layers missing": (
        lambda weights: without("layers.2", without("layers.3", weights)),
        {},
    ),
    "values are not numbers": (
        lambda weights: {k: w * float("nan") for k, w in weights.items()},
        {},
    ),
}


def spoil(what: str, whole: Path, folder: Path) -> Path:
    """Writes a broken copy of a whole adapter, without its claims; its folder."""
    (change, settings), path = BROKEN[what], folder / WEIGHTS
    folder.mkdir(parents=True)
    for name in (WEIGHTS, CONFIG):
        shutil.copyfile(whole / name, folder / name)
    if change is None:
        path.write_bytes(path.read_bytes()[:20_000])
    else:
        save_file(change(load_file(path)), path)
    config = json.loads((folder / CONFIG).read_text(encoding="utf-8")) | settings
    (folder / CONFIG).write_text(json.dumps(config), encoding="utf-8")
    return folder
