"""Base and adapter to one model, and the proof that it is the same one."""

import dataclasses
import shutil
from itertools import islice
from pathlib import Path

import torch
from safetensors import SafetensorError
from transformers import AutoTokenizer
from transformers.utils import cached_file

from helpers import one_line
from helpers.config import Profile, load_profile
from helpers.evaluation import generate, prompt_ids, stop_ids
from helpers.files import TICKETS, put_in_place, shown, shown_model, write_json
from helpers.formatting import load_splits, parse_map
from helpers.merge.proof import MergeError, ask, check, compare
from helpers.models import (
    check_adapter,
    checkpoint_quantization,
    choose_pad,
    claims,
    fingerprint,
    four_bit,
    free,
    load_adapter,
    load_model,
    load_tokenizer,
    quiet,
)

DTYPES = ("float32", "bfloat16", "float16")
NEW_TOKENS = 64
SUMMED = (None, "mxfp4")  # ways to quantise a base to which a B A is added
# What converters and servers want beside weights and tokenizer.json.
BESIDE = ("tokenizer.model", "preprocessor_config.json", "processor_config.json")
BESIDE += ("video_preprocessor_config.json",)


def merge_adapter(
    adapter, output, dtype=None, model=None, data=None, map=None, rows: int = 8
) -> dict:
    """Writes a whole model, the adapter in its weights; returns what was proven.

    adapter, output: folders, output one that is not there yet; it appears whole, after
        the proof, or not at all.
    dtype: of the weights that are written; None takes that of the training, where
        metrics.json or the card names it.
    model: the base, None for the one that the adapter names. An adapter that was
        trained in 4 bit is merged into those 4-bit weights, unpacked.
    data: what `load_splits` takes, the tickets for None; so many prompts of its test
        split are asked. map: a text of other names for its columns.
    Raises UserError, one line.
    """
    adapter, output = Path(adapter), Path(output).resolve()
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise MergeError(f"{output} is there already: give a new folder as --output")
    if output.is_mount():  # cannot be replaced by what is made beside it
        raise MergeError(f"{output} is a mount point: give a folder in it as --output")
    if rows < 1:
        raise MergeError(f"--rows requires 1 or more, got {rows}")
    quiet()
    config, known = check_adapter(adapter), claims(adapter)
    profile = base_profile(known, config, dtype, model)
    in_4_bit = bool(known["settings"].get("qlora"))
    if not in_4_bit and (own := four_bit(profile)):  # a checkpoint of 4-bit weights
        profile, in_4_bit = own, True
    kind = checkpoint_quantization(profile).get("quant_method")
    if not in_4_bit and kind not in SUMMED:
        what = f"{shown_model(profile.model)} holds weights as {kind} has them"
        way = "give the same model in 16 bit as --model"
        raise MergeError(f"{what}, to which nothing can be added: {way}")
    columns = parse_map(map)
    splits = load_splits(data or TICKETS, columns=columns)
    chats = [row["prompt"] for row in islice(splits["test"], rows)]
    part = output.with_name(f"{output.name}.part")
    if part.exists():
        what = f"{part} is there already, perhaps of a merge that was killed"
        raise MergeError(f"{what}: remove it, or give another folder as --output")
    try:
        part.mkdir(parents=True)
        proof = merge(adapter, profile, in_4_bit, dtype or profile.dtype, chats, part)
        check(proof)
        write_json(part / "merge.json", proof)
        for file in part.iterdir():
            file.chmod(0o644)  # safetensors writes files that only their owner can read
        put_in_place(part)
    except torch.OutOfMemoryError as error:
        what = f"the GPU has no room to merge in {dtype or profile.dtype}"
        way = "CUDA_VISIBLE_DEVICES= before the command merges on the CPU"
        raise MergeError(f"{what} ({one_line(error, 80)}): {way}") from error
    except (OSError, SafetensorError) as error:  # the latter where a disk is full
        raise MergeError(f"{output} cannot be written: {error}") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return proof


def merge(adapter, profile, in_4_bit: bool, dtype: str, chats: list, part) -> dict:
    """Writes the merged model to the folder `part`; what was found, not yet judged."""
    tokenizer = tokenizer_of(adapter, profile, in_4_bit)
    tuned = load_model(profile, in_4_bit)
    base = fingerprint(tuned)  # now: PiSSA's adapters change it, and trained biases do
    tuned = load_adapter(tuned, adapter)
    asked, wanted = reference(tuned, tokenizer, chats)
    if in_4_bit:
        free(tuned)
        tuned = unpacked(profile, adapter, dtype)
    save(tuned, tokenizer, dtype, part)
    for name in BESIDE:
        if file := find_file(profile.base(in_4_bit), name):
            shutil.copy(file, part)
    wanted["base"] = untouched(profile, in_4_bit, base, tokenizer, asked["rows"])
    device = "cpu" if profile.training_config["use_cpu"] else "cuda"
    return compare(wanted, ask(part, asked, device)) | {
        "dtype": dtype,
        "trained_in": "4 bit" if in_4_bit else profile.dtype,
        "adapter": shown(adapter.resolve()),
        "base": {"model": shown_model(profile.model), "fingerprint": base},
    }


def find_file(model: str, name: str) -> str | None:
    """A file of a checkpoint on this machine or the Hub, None where it has none."""
    missing = ("gated_repo", "missing_entries", "connection_errors")
    quietly = {f"_raise_exceptions_for_{kind}": False for kind in missing}
    return cached_file(model, name, **quietly)


def base_profile(known: dict, config: dict, dtype, model) -> Profile:
    """The profile that loads the base as it was in training. Raises MergeError."""
    trained = known["settings"].get("dtype")
    if dtype is None and trained is None:
        what = "the adapter's folder names no precision, and none is taken in silence"
        raise MergeError(f"{what}: give --dtype {', '.join(DTYPES[:-1])} or float16")
    if dtype not in (None, *DTYPES):
        raise MergeError(f"--dtype must be one of {', '.join(DTYPES)}, got {dtype!r}")
    said, own = known["base"].get("model"), config.get("base_model_name_or_path")
    elsewhere = str(said).startswith("local:")  # a folder of whoever trained it
    if not (model or elsewhere) and said and own and said != own:
        what = f"adapter_config.json names the base {own!r}, metrics.json or the card"
        raise MergeError(f"{what} {said!r}: give the right one as --model")
    if not model and (revision := config.get("revision")) not in (None, "main"):
        what = f"adapter_config.json names the revision {revision!r} of its base"
        raise MergeError(f"{what}: download that one, and give its folder as --model")
    name = said if elsewhere else own or said
    if not model and (not name or name.startswith("local:")):
        what = f"the base is not named by a place, but {name!r}"
        raise MergeError(f"{what}: give its folder or Hub id as --model")
    profile = load_profile("auto", model or name)
    changed = {"dtype": trained or dtype, "attn_implementation": "sdpa"}
    if quantised := known["settings"].get("quantization_config"):
        changed["quantization_config"] = quantised
    return dataclasses.replace(profile, **changed)


def tokenizer_of(adapter: Path, profile: Profile, in_4_bit: bool):
    """The tokenizer that the adapter was trained with, or the base's."""
    if not (adapter / "tokenizer_config.json").exists():
        return load_tokenizer(profile, in_4_bit)
    own = AutoTokenizer.from_pretrained(adapter, trust_remote_code=False)
    if not own.chat_template:
        print(f"the tokenizer in {shown(adapter)} has no template: the base's is taken")
        own.chat_template = load_tokenizer(profile, in_4_bit).chat_template
    choose_pad(own, len(own))
    return own


def reference(tuned, tokenizer, chats: list) -> tuple[dict, dict]:
    """(what to ask, what must come back) of base and adapter.

    The second holds answers, and as "tuned" the `predicted` of each row.
    """
    answers = generate(tuned, tokenizer, chats, NEW_TOKENS, batch_size=1)
    written = [tokenizer.encode(text, add_special_tokens=False) for text in answers]
    pairs = zip(chats, written, strict=True)
    rows = [{"prompt": chat, "answer": ids} for chat, ids in pairs]
    found = {"answers": answers, "tuned": predicted(tuned, tokenizer, rows)}
    return {"new_tokens": NEW_TOKENS, "rows": rows}, found


def predicted(model, tokenizer, rows: list) -> list[torch.Tensor]:
    """The logits that predict each row's answer: (answer + 1, vocabulary)."""
    found = []
    for row in rows:
        prompt = prompt_ids(tokenizer, row["prompt"])
        whole = torch.tensor([prompt + row["answer"]], device=model.device)
        with torch.inference_mode():
            logits = model(whole).logits[0, len(prompt) - 1 :]
        found.append(logits.float().cpu())
    return found


def unpacked(profile: Profile, adapter: Path, dtype: str):
    """The 4-bit base in 16 or 32 bit, with the errors that the adapter learnt from."""
    from peft import PeftModel

    model = load_model(profile, quantized=True)
    model = model.dequantize(dtype=getattr(torch, dtype))
    model._weight_conversions = None  # of a 4-bit checkpoint: saving would undo them
    return PeftModel.from_pretrained(model, str(adapter))


def save(tuned, tokenizer, dtype: str, folder: Path) -> None:
    """Merges and writes the model, with what ends an answer; lets go of it."""
    if tuned.dtype != (target := getattr(torch, dtype)):
        tuned.float()  # rounded once, at the end
    merged = tuned.merge_and_unload().to(target)
    try:
        merged.generation_config.validate(strict=True)
    except ValueError:  # a base that sets how to sample, and not that it does
        merged.generation_config.do_sample = True
    merged.generation_config.eos_token_id = stop_ids(merged, tokenizer)
    merged.save_pretrained(folder, max_shard_size="2GB")
    tokenizer.save_pretrained(folder)
    free(merged)


def untouched(
    profile: Profile, in_4_bit: bool, before: str, tokenizer, rows: list
) -> list[torch.Tensor]:
    """What the base, loaded again, has `predicted`. Raises MergeError: another one."""
    model = load_model(profile, in_4_bit)
    now = fingerprint(model)
    if now != before:
        raise MergeError(f"the base changed meanwhile: {before[:8]}, now {now[:8]}")
    found = predicted(model, tokenizer, rows)
    free(model)
    return found
