"""A small adapter that looks trained, and what may become of its file."""

import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file

from helpers.files import write_json
from helpers.models import fingerprint

WEIGHTS, SETTINGS = "adapter_model.safetensors", "adapter_config.json"


def make_adapter(base, folder, known=True, **more):
    """Writes an adapter as if it had been trained on this base; returns its folder.

    known: with metrics.json. more: of the settings in it.
    """
    facts = {"base": {"model": "tiny", "fingerprint": fingerprint(base)}}
    config = {"r": 4, "lora_alpha": 8, "target_modules": "all-linear"}
    facts["settings"] = {"dtype": "float32", "peft_config": config} | more
    model = get_peft_model(base, LoraConfig(task_type="CAUSAL_LM", **config))
    torch.manual_seed(1)
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.02)
    model.save_pretrained(folder)
    model.unload()
    if known:
        write_json(folder / "metrics.json", facts)
    return folder


def rewrite(change):
    """A damage: the file's {key: tensor}, changed."""

    def damage(folder):
        save_file(change(load_file(folder / WEIGHTS)), folder / WEIGHTS)

    return damage


def first(weights, part):
    return next(key for key in weights if part in key)


def zeroed(weights):
    return weights | {(key := first(weights, "lora_B")): 0 * weights[key]}


def wrapped(weights):
    return {f"module.{key}": weight for key, weight in weights.items()}
