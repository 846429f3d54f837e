"""The tokenizer and the model of a profile, as a lesson trains them."""

import logging
import os
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import transformers

import helpers.models.cpu_training  # noqa: F401 - registers the attention "grouped"
from helpers.config import Profile
from helpers.models import small
from helpers.models.integrity import ModelError, check_checkpoint, explain, remedy
from helpers.models.room import check_room
from helpers.models.tokens import make_ready

# transformers would load the base, put the adapter on it, and LoRA replace that one.
ADAPTER = "is an adapter, and a model is needed: give its base, or merge it first, with"
ADAPTER += " `python -m helpers.merge`"
# What a tokenizer is read from; without it transformers asks for sentencepiece.
TOKENIZER = {"tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt"}
TOKENIZER |= {"spiece.model", "sentencepiece.bpe.model", "tekken.json"}
# Of a repository that holds pickles alone, no bot is asked to convert it.
os.environ.setdefault("DISABLE_SAFETENSORS_CONVERSION", "1")


def quiet() -> None:
    """Silences loading and mapping bars, and warnings known to be false alarms here.

    Call it before importing peft, trl or bitsandbytes.
    """
    os.environ["HF_DATASETS_DISABLE_PROGRESS_BARS"] = "1"
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    # It says, in red, that merged weights in float32 become float32.
    logging.getLogger("transformers.integrations.bitsandbytes").setLevel(logging.ERROR)
    # Of a machine with CUDA's compiler and no GPU: nothing here is compiled for one.
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
    transformers.utils.logging.disable_progress_bar()
    deprecated = r".*(is_)?gradient_checkpointing.*deprecated"
    warnings.filterwarnings("ignore", deprecated, FutureWarning)
    # Of a 4-bit checkpoint: its own settings, which `four_bit` reads, are used.
    warnings.filterwarnings("ignore", "You passed `quantization_config`", UserWarning)


def load_tokenizer(profile: Profile, quantized: bool = False):
    """The tokenizer of the model that `load_model` loads, padding right.

    Where it has no pad token, or pads with eos, it gets one that ends no answer if the
    vocabulary has one: a collator that leaves out every pad token, as transformers'
    DataCollatorForLanguageModeling, would leave out eos too, and the model would never
    learn to stop (trl#1623). Else it pads with eos. Nothing here minds: TRL 1.16's
    collator, `formatting.collate` and `evaluation` mask padding by its place.
    A chat template that may ask for thinking first (`enable_thinking`, as Qwen 3's)
    does not unless told to: a prompt then renders in training as at inference. That of
    a model that was trained to think (`let_think`) goes on asking.
    Raises ModelError, also for a template that no one could learn to answer by, and
    for tokens that the model's embedding does not hold.
    """
    name = profile.base(quantized)
    files = {file.name for file in Path(name).glob("*")}  # none for a Hub id
    if "config.json" in files and not files & TOKENIZER:
        what = f"{name} holds no tokenizer"
        raise ModelError(f"{what}: save that of its base beside it (save_pretrained)")
    tokenizer = _load(transformers.AutoTokenizer, name, profile)
    config = _load(transformers.AutoConfig, name, profile, whole=True)
    make_ready(tokenizer, config.get_text_config().vocab_size)
    return tokenizer


def window(profile: Profile, quantized: bool = False) -> int:
    """The most tokens that a profile's model can read at once."""
    name = profile.base(quantized)
    config = _load(transformers.AutoConfig, name, profile, whole=True)
    config = config.get_text_config()
    return getattr(config, "max_position_embeddings", None) or sys.maxsize


def checkpoint_quantization(profile: Profile, quantized: bool = False) -> dict:
    """The quantization_config of a checkpoint, {} of one that is not quantised."""
    name = profile.base(quantized)
    config = _load(transformers.AutoConfig, name, profile, whole=True)
    own = getattr(config, "quantization_config", None) or {}
    return own if isinstance(own, dict) else own.to_dict()


def four_bit(profile: Profile, quantized: bool = False) -> Profile | None:
    """The profile that loads a checkpoint of 4-bit weights as they are, else None."""
    own = checkpoint_quantization(profile, quantized)
    if not own.get("load_in_4bit"):
        return None
    kept = {k: own.get(k, usual) for k, usual in profile.quantization_config.items()}
    model = profile.base(quantized)
    return replace(profile, qlora_model=model, quantization_config=kept)


def load_model(profile: Profile, quantized: bool = False):
    """The causal language model of a profile, in eval mode, where the profile trains.

    quantized: `profile.qlora_model` in 4 bit, as `profile.quantization_config` says.
    Raises ModelError, also where transformers would only warn of missing weights, and
    where a GPU has no room for them.
    """
    name = profile.base(quantized)
    options = {"dtype": profile.dtype, "output_loading_info": True}
    options["use_safetensors"] = True  # a pickle of the Hub may run code
    # Where a family has sdpa, it is taken anyway; where not (Gemma 2), asking fails.
    if profile.attn_implementation != "sdpa":
        options["attn_implementation"] = profile.attn_implementation
    if not profile.training_config["use_cpu"]:
        # Every process of a distributed run has one GPU, that of its local rank.
        gpu = int(os.environ.get("LOCAL_RANK", 0))
        options["device_map"] = {"": gpu}
        config = _load(transformers.AutoConfig, name, profile)
        check_room(name, config, profile, quantized, gpu)
    if quantized:
        config = transformers.BitsAndBytesConfig(**profile.quantization_config)
        options["quantization_config"] = config
    model, info = _load(transformers.AutoModelForCausalLM, name, profile, **options)
    if getattr(model, "peft_config", None):  # an adapter's id on the Hub
        raise ModelError(f"{name} {ADAPTER}")
    if info["missing_keys"]:
        what = f"{name} lacks the weight {min(info['missing_keys'])!r}"
        raise ModelError(f"{what}: {remedy(Path(name))}")
    if quantized or getattr(model, "is_loaded_in_4bit", False):
        keep_4bit_layout(model)
    if model.device.type == "cpu" and model.dtype.itemsize == 2:
        score_in_one_product(model)
    return model


def train_in_float32(model) -> None:
    """Brings every weight that is trained to float32; call it before training.

    TRL starts the adapters of a 4-bit base in bfloat16, which is too coarse for small
    updates, and the gradient scaler of fp16 refuses to unscale 16-bit gradients.
    """
    for weight in model.parameters():
        if weight.requires_grad:
            weight.data = weight.data.float()


def keep_4bit_layout(model) -> None:
    """Stops bitsandbytes from repacking 4-bit weights on CPUs with AVX512-BF16.

    There the first forward in evaluation mode repacks the weights in place, and a
    kernel without a backward multiplies them from then on: gradients stop there, in
    silence (bitsandbytes 0.50.2, Linear4bit.forward and matmul_4bit). Call it first.
    """
    from bitsandbytes.nn import Linear4bit

    for module in model.modules():
        if isinstance(module, Linear4bit):
            module.support_avx512bf16_for_cpu = False


def score_in_one_product(model) -> None:
    """Hands a model's head the positions that it scores in one block of memory.

    `generate` cuts the last positions out of all. torch multiplies such a cut by a
    frozen weight, as that of a model with an adapter, row by row, and on a CPU in 16
    bit it copies the weight for every row first (pytorch#151934): 5.6 GB for a hundred
    rows of SmolLM2.
    """
    head = model.get_output_embeddings()
    head.register_forward_pre_hook(lambda _, given: (given[0].contiguous(),))


def _load(auto, name: str, profile: Profile, whole: bool = False, **options):
    """`auto.from_pretrained`, its errors in one line. Runs no code of a checkpoint.

    whole: whether its files have been checked. Fetches the profile `small`'s model.
    """
    if Path(name) == small.FOLDER and not whole:
        small.fetch_small_model()
    elif Path(name).is_absolute() and not whole:
        if (Path(name) / "adapter_config.json").exists():
            raise ModelError(f"{name} {ADAPTER}")
        check_checkpoint(name)
    try:
        return auto.from_pretrained(name, trust_remote_code=False, **options)
    except Exception as error:  # from four libraries; the cause stays attached
        raise ModelError(explain(error, name, profile.open_model)) from error
