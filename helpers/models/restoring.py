"""A model restored from the 4-bit weights of a GGUF file."""

import json
from pathlib import Path

from helpers.files import write_json


def restore(gguf: Path, folder: Path) -> None:
    """Writes the model of a GGUF file as bf16 safetensors, with its tokenizer."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    source = {"gguf_file": gguf.name, "trust_remote_code": False}
    plain = GgufConfig(dequantize=True)  # without it, a model that cannot be saved
    model = AutoModelForCausalLM.from_pretrained(
        gguf.parent, dtype=torch.bfloat16, quantization_config=plain, **source
    )
    model.save_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, **source)
    tokenizer.model_max_length = model.config.max_position_embeddings
    tokenizer.save_pretrained(folder)


def split_as_trained(folder: Path) -> None:
    """Makes every transformers split text as SmolLM2's tokenizer was trained to.

    Its digits stand alone ("smollm" in llama.cpp), and so do spaces before them.
    transformers 5.23 reads GGUF without that rule, and drops it from tokenizer.json for
    the published class, GPT2Tokenizer (transformers#45701).
    """
    path = folder / "tokenizer.json"
    tokenizer = json.loads(path.read_text(encoding="utf-8"))
    split = tokenizer["pre_tokenizer"]
    if split["type"] != "Sequence":
        digits = {"type": "Digits", "individual_digits": True}
        both = {"type": "Sequence", "pretokenizers": [digits, split]}
        write_json(path, tokenizer | {"pre_tokenizer": both})
    path = folder / "tokenizer_config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    # The class that reads tokenizer.json as it is, in transformers 4 and 5 alike.
    write_json(path, config | {"tokenizer_class": "PreTrainedTokenizerFast"})
