"""Small models in the place of the large ones that the profiles name.

Phi-3-mini is played by the shipped tiny-phi3, which learns; another family by a random
model of its layout, with the course's tokenizer and that family's chat template.
"""

import shutil
from importlib.resources import files
from pathlib import Path

import torch
from transformers import AutoTokenizer, Qwen3Config, Qwen3ForCausalLM

from helpers.files import ROOT

CHECKPOINTS = ROOT / "data" / "checkpoints"
SIZES = {
    "hidden_size": 128,
    "intermediate_size": 256,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 64,
    "max_position_embeddings": 1024,
    "tie_word_embeddings": False,
    "initializer_range": 0.2,
}


def stand_in(name: str, folder: Path) -> Path:
    """The folder of the small model that plays the one of that name."""
    makers = {"Phi-3-mini-4k-instruct": tiny_phi3, "Qwen3-8B": tiny_qwen3}
    place = folder / name.rpartition("/")[2]
    if not place.exists():
        makers[place.name](place)
    return place


def tiny_phi3(place: Path) -> None:
    """Copies the shipped checkpoint of Phi-3's layout."""
    shutil.copytree(CHECKPOINTS / "tiny-phi3", place)


def tiny_qwen3(place: Path) -> None:
    """Saves a random model of Qwen3's layout, which answers nothing of use."""
    template = files("trl") / "chat_templates" / "qwen3.jinja"
    tokenizer = AutoTokenizer.from_pretrained(CHECKPOINTS / "tiny-llama")
    special = ["<|im_start|>", "<|im_end|>", "<|endoftext|>"]
    tokenizer.add_special_tokens({"additional_special_tokens": special})
    tokenizer.eos_token, tokenizer.pad_token = special[1:]
    tokenizer.bos_token = None
    tokenizer.chat_template = template.read_text(encoding="utf-8")
    ids = {"eos_token_id": tokenizer.eos_token_id, "bos_token_id": None}
    ids |= {"pad_token_id": tokenizer.pad_token_id, "vocab_size": 2112}
    torch.manual_seed(0)
    model = Qwen3ForCausalLM(Qwen3Config(**SIZES, **ids)).to(torch.bfloat16)
    model.generation_config.update(do_sample=True, temperature=0.6, top_k=20)
    model.save_pretrained(place)
    tokenizer.save_pretrained(place)
