"""Checks on the folder of an adapter, and on what a merge made of it."""

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
import transformers

from helpers.merge import MOST_LOST
from helpers.models import (
    ModelError,
    adapted_modules,
    check_base,
    check_keys,
    check_scale,
    check_trained,
    claims,
    read_weights,
    skeleton,
)
from helpers.preflight.registry import check_of, derived
from helpers.preflight.report import RUINS, WARNS, Finding


@derived
def loaded_base(adapter, base):
    """The base of an adapter: itself, or loaded in the precision of the training.

    None where the folder does not say which one that was. Raises UserError.
    """
    if not isinstance(base, (str, Path)):
        return base
    known = claims(Path(adapter))
    if not known["settings"].get("dtype"):
        return None
    from helpers.merge import base_profile
    from helpers.models import load_model

    profile = base_profile(known, {}, None, str(base))
    return load_model(profile, quantized=bool(known["settings"].get("qlora")))


@check_of("damaged-adapter", about="whether an adapter's files can be read")
def damaged_adapter(adapter) -> Iterator[Finding]:
    """Whether settings and weights are there, and finite."""
    why, mend = "there is nothing to put on a model", "copy the adapter again"
    yield from _told("damaged-adapter", adapter, why, mend, read_weights)
    if not _settings(adapter):
        what = "adapter_config.json is missing or damaged"
        yield Finding("damaged-adapter", RUINS, str(adapter), what, why, mend)
    return f"{len(_weights(adapter)):,} tensors"


@check_of("zero-b", about="whether an adapter was trained")
def zero_b(adapter) -> Iterator[Finding]:
    """Whether a matrix B is zero, as before training."""
    if not _weights(adapter):
        return ""
    why, mend = "BA is zero: the model answers as its base", "train it, or save it"
    mend += " after training"
    idle = yield from _told("zero-b", adapter, why, mend, check_trained)
    return f"{len(idle):,} of towers or experts are zero" if idle else ""


@check_of("wrong-alpha", about="alpha and rank against metrics.json or the card")
def wrong_alpha(adapter) -> Iterator[Finding]:
    """Whether an adapter is scaled as it was in training."""
    why = "BA is multiplied by alpha/rank: the adapter does too little, or too much"
    mend = "restore adapter_config.json from the training"
    if _weights(adapter):
        yield from _told("wrong-alpha", adapter, why, mend, check_scale)
    known = claims(Path(adapter))["settings"].get("peft_config")
    return "" if known else "nothing to compare with"


@derived
def base_fault(adapter, loaded_base) -> str | None:
    """How a base is not the one of the fingerprint that is known, "" where it is.

    None where there is no base to look at.
    """
    return None if loaded_base is None else _other_base(loaded_base, Path(adapter))


@check_of("lost-keys", about="an adapter's keys against the modules of its base")
def lost_keys(adapter, base, base_fault=None) -> Iterator[Finding]:
    """Whether PEFT would drop weights of an adapter without a word."""
    if base_fault or not (weights := _weights(adapter)):
        return "not compared: another base" if base_fault else ""
    why = "PEFT loads what fits and drops the rest: that part does nothing"
    mend = "load the base that it was trained on, or save it without its wrapper"
    compare = lambda folder: check_keys(_skeleton(base), folder)  # noqa: E731
    yield from _told("lost-keys", adapter, why, mend, compare)
    return f"{len(weights):,} keys"


@check_of("wrong-base", about="the fingerprint of the base that an adapter was made on")
def wrong_base(adapter, base, base_fault=None) -> Iterator[Finding]:
    """Whether the base is the one that the adapter was trained on."""
    why = "an adapter is a difference: on other weights it answers wrongly, in silence"
    mend = "load that base, unmerged, in the precision of the training"
    if base_fault:
        yield Finding("wrong-base", RUINS, str(adapter), base_fault, why, mend)
    known = claims(Path(adapter))["base"].get("fingerprint")
    if known and base_fault is not None:
        return f"fingerprint {known[:8]}"
    named = _settings(adapter).get("base_model_name_or_path") or ""
    here = base if isinstance(base, (str, Path)) else _plain(base).name_or_path
    made, here = Path(named).name, Path(here).name
    if made and here and made != here:
        what = f"made on {made}, and the base is {here}: weights were not compared"
        yield Finding("wrong-base", WARNS, str(adapter), what, why, mend)
    return f"the name {made}" if made else "nothing to compare with"


@check_of("merge-drift", about="what a merge has kept of an adapter")
def merge_drift(model, adapter, loaded_base=None) -> Iterator[Finding]:
    """Whether merged weights are the base's and what the adapter adds."""
    code, where = "merge-drift", "merged model"
    why = "weights of few bits round the small update away, and nothing says so"
    mend = "merge into 16 or 32 bit: python -m helpers.merge"
    layers = [m for m in model.modules() if getattr(m, "merged", False)]
    if any(_four_bit(layer.get_base_layer()) for layer in layers):
        what = "an adapter is merged into weights of 4 bit"
        yield Finding(code, RUINS, where, what, why, mend)
    if layers or adapted_modules(model) or not _weights(adapter):
        return ""  # not merged, or as told
    if loaded_base is None or _plain(loaded_base) is model:
        in_4_bit = any(hasattr(m, "weight") and _four_bit(m) for m in model.modules())
        if in_4_bit and _other_base(model, Path(adapter)):
            what = "weights of 4 bit, and no more those of the adapter's base"
            yield Finding(code, RUINS, where, what, why, mend)
        return ""
    if _settings(adapter).get("use_dora"):
        return "not judged: DoRA rescales the base's weights, too"
    lost = lost_in_merge(model, _plain(loaded_base), Path(adapter))
    if lost is not None and lost > MOST_LOST:
        what = f"its weights are off by {lost:.0%} of what the adapter adds"
        yield Finding(code, RUINS, where, what, why, mend)
    return "not merged" if lost is None else f"{lost:.1%} off"


def _other_base(model, adapter: Path) -> str:
    """How a model is not the base of an adapter, "" where it is or may be."""
    try:
        check_base(model, adapter)
    except ModelError as error:
        return str(error)
    return ""


def lost_in_merge(merged, base, adapter: Path) -> float | None:
    """||merged - base - BA|| over ||BA||, of all layers; None for an unmerged model."""
    from peft import PeftModel

    tuned = PeftModel.from_pretrained(_skeleton(base), adapter, low_cpu_mem_usage=True)
    weights = read_weights(adapter)
    off = added = moved = 0.0
    for name, layer in tuned.named_modules():
        keys = (f"{name}.lora_{side}.weight" for side in "BA")
        if not hasattr(layer, "scaling") or None in (
            parts := [*map(weights.get, keys)]
        ):
            continue
        plain = name.removeprefix("base_model.model.")
        now, before = (_weight(m.get_submodule(plain)) for m in (merged, base))
        update = layer.scaling["default"] * (parts[0].float() @ parts[1].float())
        update = (update.T if layer.fan_in_fan_out else update).to(now)
        off += (now - before - update).square().sum().item()
        moved += (now - before).square().sum().item()
        added += update.square().sum().item()
    return (off / added) ** 0.5 if moved and added else None


def _told(
    code: str, adapter, why: str, mend: str, look: Callable[[Path], object]
) -> Iterator[Finding]:
    """What a check of `helpers.models` raises about a folder, as a finding.

    Its value is what the check returns, None where it raises.
    """
    try:
        return look(Path(adapter))
    except ModelError as error:
        yield Finding(code, RUINS, str(adapter), str(error), why, mend)


def _weights(adapter) -> dict:
    """The tensors of an adapter, {} where they or its settings cannot be read."""
    with contextlib.suppress(ModelError):
        return read_weights(Path(adapter)) if _settings(adapter) else {}
    return {}


def _settings(adapter) -> dict:
    """What adapter_config.json holds, {} where it cannot be read."""
    with contextlib.suppress(OSError, ValueError):
        return json.loads((Path(adapter) / "adapter_config.json").read_text("utf-8"))
    return {}


def _plain(model):
    """A model without PEFT's wrapper."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def _skeleton(base):
    """A base on the meta device: its modules, without weights."""
    if isinstance(base, (str, Path)):
        return skeleton(transformers.AutoConfig.from_pretrained(base))
    with torch.device("meta"):
        return type(_plain(base))(_plain(base).config)


def _weight(layer) -> torch.Tensor:
    """The weight of a linear layer in fp32, unpacked."""
    layer = getattr(layer, "base_layer", layer)
    if not _four_bit(layer):
        return layer.weight.detach().float()
    from bitsandbytes.functional import dequantize_4bit

    return dequantize_4bit(layer.weight.data, layer.weight.quant_state).float()


def _four_bit(layer) -> bool:
    """Whether a layer holds bitsandbytes' 4-bit weights."""
    return getattr(layer.weight, "quant_state", None) is not None
