"""The tokenizer and model of a profile; what of it is adapted, trained, unchanged."""

import hashlib
import logging
import os
import re
import warnings
from collections import Counter
from pathlib import Path

import pandas as pd
import torch
import transformers

from helpers.config import Profile
from helpers.integrity import ModelError, check_checkpoint, explain, remedy

# What checkpoints reserve for padding: Llama 3.1's token, the usual spellings, and
# Phi-3's <unk>, which its authors' fine-tuning sample pads with (sample_finetune.py
# beside the weights of microsoft/Phi-3-mini-4k-instruct).
PAD_TOKENS = ("<|finetune_right_pad_id|>", "<|pad|>", "<pad>", "[PAD]", "<unk>")


def quiet() -> None:
    """Silences loading and mapping bars, and warnings known to be false alarms here.

    Call it before importing peft, trl or bitsandbytes.
    """
    os.environ["HF_DATASETS_DISABLE_PROGRESS_BARS"] = "1"
    # It asks for the package `kernels`, which would download code; nothing needs it.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    # It says, in red, that merged weights in float32 become float32.
    logging.getLogger("transformers.integrations.bitsandbytes").setLevel(logging.ERROR)
    transformers.utils.logging.disable_progress_bar()
    deprecated = r".*(is_)?gradient_checkpointing.*deprecated"
    warnings.filterwarnings("ignore", deprecated, FutureWarning)


def load_tokenizer(profile: Profile, quantized: bool = False):
    """The tokenizer of the model that `load_model` loads, padding right.

    Its pad token is never eos: the loss passes over padding, and a model whose eos is
    passed over never learns to stop (trl#1623). Raises ModelError.
    """
    name = profile.qlora_model if quantized else profile.model
    tokenizer = _load(transformers.AutoTokenizer, name, profile)
    tokenizer.padding_side = "right"
    if tokenizer.pad_token in (None, tokenizer.eos_token):
        known = [t for t in PAD_TOKENS if t in tokenizer.get_vocab()]
        if not known:
            what = "has no pad token besides its end token"
            raise ModelError(f"{name} {what}: add one to its tokenizer_config.json")
        tokenizer.pad_token = known[0]
    assert tokenizer.pad_token_id != tokenizer.eos_token_id
    return tokenizer


def load_model(profile: Profile, quantized: bool = False):
    """The causal language model of a profile, in eval mode, where the profile trains.

    quantized: `profile.qlora_model` in 4 bit, as `profile.quantization_config` says.
    Raises ModelError, also where transformers would only warn of missing weights.
    """
    name = profile.qlora_model if quantized else profile.model
    options = {"dtype": profile.dtype, "output_loading_info": True}
    options["attn_implementation"] = profile.attn_implementation
    if not profile.training_config["use_cpu"]:
        # Every process of a distributed run has one GPU, that of its local rank.
        options["device_map"] = {"": int(os.environ.get("LOCAL_RANK", 0))}
    if quantized:
        config = transformers.BitsAndBytesConfig(**profile.quantization_config)
        options["quantization_config"] = config
    model, info = _load(transformers.AutoModelForCausalLM, name, profile, **options)
    if info["missing_keys"]:
        what = f"{name} lacks the weight {min(info['missing_keys'])!r}"
        raise ModelError(f"{what}: {remedy(Path(name))}")
    if quantized:
        keep_4bit_layout(model)
    return model


def keep_4bit_layout(model) -> None:
    """Stops bitsandbytes from repacking 4-bit weights on CPUs with AVX512-BF16.

    There the first forward without gradients, an evaluation, repacks the weights in
    place, and every later backward misreads them in silence (bitsandbytes 0.50.2,
    Linear4bit.forward). Call it before any forward.
    """
    from bitsandbytes.nn import Linear4bit

    for module in model.modules():
        if isinstance(module, Linear4bit):
            module.support_avx512bf16_for_cpu = False


def trainable_table(model) -> pd.DataFrame:
    """What is trained: one row a type of module, and a row "total".

    Columns: layers (modules with a trainable weight), trainable (parameters), share
    (of all parameters of the model, 0 to 1; a 4-bit weight counts as one).
    """
    layers, trainable, everything = {}, Counter(), 0
    for name, parameter in model.named_parameters():
        state = getattr(parameter, "quant_state", None)  # it knows the unpacked shape
        everything += parameter.numel() if state is None else state.shape.numel()
        if parameter.requires_grad:
            layer = re.split(r"\.(?:lora_|modules_to_save|weight$|bias$)", name)[0]
            kind = layer.rsplit(".", 1)[-1]
            layers.setdefault(kind, set()).add(layer)
            trainable[kind] += parameter.numel()
    rows = {kind: (len(layers[kind]), count) for kind, count in trainable.items()}
    rows["total"] = (sum(map(len, layers.values())), trainable.total())
    columns = ["layers", "trainable"]
    table = pd.DataFrame.from_dict(rows, orient="index", columns=columns)
    return table.assign(share=table["trainable"] / everything).rename_axis("module")


def adapted_modules(model) -> dict[str, int]:
    """How many layers of each type carry LoRA: {"q_proj": 4, ...}."""
    return _count(_adapted(model))


def unadapted_modules(model) -> dict[str, int]:
    """How many linear layers of each type carry no LoRA, the output head aside.

    Shows what a list of target names failed to match, such as Phi-3's fused `qkv_proj`
    and `gate_up_proj`. Empty after `target_modules="all-linear"`.
    """
    adapted, head = _adapted(model), model.get_output_embeddings()
    inside = tuple(f"{name}." for name in adapted)  # base_layer, lora_A, lora_B
    linear = [
        name
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and module is not head
    ]
    return _count([name for name in linear if not name.startswith(inside)])


def fingerprint(model) -> str:
    """The sha256 of the base weights, in hex: one value with and without adapters.

    Covers name, dtype, shape and bytes, so another precision is another fingerprint.
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(_base_weights(model).items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        raw = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
        digest.update(raw.numpy())
    return digest.hexdigest()


def _load(auto, name: str, profile: Profile, **options):
    """`auto.from_pretrained`, its errors in one line. Runs no code of a checkpoint."""
    if Path(name).is_absolute():
        check_checkpoint(name)
    try:
        return auto.from_pretrained(name, trust_remote_code=False, **options)
    except Exception as error:  # from four libraries; the cause stays attached
        raise ModelError(explain(error, name, profile.open_model)) from error


def _adapted(model) -> list[str]:
    """The names of the modules that PEFT has put LoRA on."""
    return [name for name, module in model.named_modules() if hasattr(module, "lora_A")]


def _count(names) -> dict[str, int]:
    """How often each last part of a dotted name occurs, sorted."""
    return dict(sorted(Counter(name.rsplit(".", 1)[-1] for name in names).items()))


def _base_weights(model) -> dict[str, torch.Tensor]:
    """The tensors of the base, under the names they have without PEFT's wrappers."""
    weights = {}
    wrappers = r"^base_model\.model\.|\.(base_layer|original_module)(?=\.)"
    for name, tensor in model.state_dict().items():
        if not re.search(r"\.(lora_|modules_to_save\.)", name):
            weights[re.sub(wrappers, "", name)] = tensor
    return weights
