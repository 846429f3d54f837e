"""An adapter in a folder: whether it is whole, trained, and the model's at hand.

PEFT 0.21.2 takes what fits: keys of the file that no module has are dropped without a
word, missing ones are a warning, and neither alpha nor the base is ever doubted.
"""

import json
import logging
import re
import warnings
from pathlib import Path

import torch
from safetensors.torch import load_file

from helpers import one_line
from helpers.config import probe_device
from helpers.models.inspection import fingerprint, unquantised
from helpers.models.integrity import ModelError
from helpers.models.shapes import skeleton

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
# What decides by how much B(Ax) is multiplied, and PEFT's defaults.
SCALE = dict(r=8, lora_alpha=8, rank_pattern={}, alpha_pattern={}, use_rslora=False)
# Initialisations that take the adapter's start out of the base (PEFT 0.21.2), and one
# that draws it: PEFT would draw another at each loading.
FROM_BASE, DRAWN = ("pissa", "olora", "corda", "loftq"), "pissa_niter"
# Layers to which a text need not come: those of towers, and of experts one by one.
UNREACHED = re.compile(
    r"\.((vision|visual|image|audio|speech|multi_modal|mm)\w*|cross_attn|experts\.\d+)\."
)
PREFIX = "save the model without its wrapper (accelerate's unwrap_model)"


def check_adapter(folder: str | Path, config=None) -> dict:
    """What adapter_config.json says of a LoRA adapter that is whole and trained.

    config: of the base (transformers'); without it, keys are not compared. Raises
    ModelError, one line: a file is missing or damaged, a matrix B is zero as before
    training, a value is not finite; keys or shapes are not the base's; what scales it
    is not as in metrics.json or, without that file, on the card.
    """
    folder = Path(folder)
    check_scale(folder)
    check_trained(folder)
    if config is not None:
        check_keys(skeleton(config), folder)
    return _read(folder / CONFIG)


def check_scale(folder: Path) -> None:
    """Raises ModelError unless a LoRA's scale is that of its training, where known."""
    settings = _read(folder / CONFIG)
    trained = claims(folder)["settings"].get("peft_config") or {}
    if (kind := settings.get("peft_type")) != "LORA":
        raise ModelError(f"{folder} must hold a LoRA adapter, its peft_type is {kind}")
    for key, default in SCALE.items():
        said, here = (known.get(key, default) for known in (trained, settings))
        if trained and said != here:
            what = f"{folder / CONFIG} has {key} {here}"
            way = "restore the file"
            raise ModelError(f"{what}, the adapter was trained with {said}: {way}")
    if changes_base(settings).startswith(DRAWN):
        what = f"{folder / CONFIG} has init_lora_weights {changes_base(settings)}"
        why = "whose start is drawn anew, on another base, at each loading"
        way = "convert it (path_initial_model_for_weight_conversion), or train with"
        raise ModelError(f"{what}, {why}: {way} pissa")


def load_adapter(
    model, folder: str | Path, name: str = "default", trainable: bool = False
):
    """The PeftModel of a model and the adapter in a folder, checked first.

    model: the base, or a PeftModel that gets one adapter more. name: what PEFT calls
    the adapter. In eval mode unless trainable. Raises ModelError as `check_adapter`,
    where metrics.json, or the card, names a base of another fingerprint, for a name
    that is taken, and for two adapters one of which changes the base (`changes_base`);
    the model then is as it was.
    """
    from peft import PeftModel

    there = model.peft_config if isinstance(model, PeftModel) else {}
    if name in there:
        what = f"the model has an adapter {name!r} already, which would be lost"
        raise ModelError(f"{what}: give the one in {folder} another name")
    settings = check_adapter(folder)
    every = [settings, *map(vars, there.values())]
    if there and (kind := next(filter(None, map(changes_base, every)), "")):
        what = f"an adapter that starts with {kind} changes the base of all others"
        raise ModelError(f"{what}: merge it, or load it alone")
    check_base(model, Path(folder))
    base = model.get_base_model() if isinstance(model, PeftModel) else model
    with torch.device("meta"):
        check_keys(type(base)(base.config), Path(folder))
    if base is not model:
        model.load_adapter(str(folder), name, is_trainable=trainable)
        return model
    options = {"adapter_name": name, "is_trainable": trainable}
    return PeftModel.from_pretrained(model, str(folder), **options)


def check_base(model, folder: Path) -> None:
    """Raises ModelError unless a model is the base of an adapter, if that is known."""
    known = claims(folder)
    wanted = known["base"].get("fingerprint")
    if wanted and (found := fingerprint(model)) != wanted:
        if _quantised_elsewhere(model, known["base"]):
            where = known["base"]["quantised_on"]
            what = f"its base in 4 bit was made on {where}, here a little otherwise"
            logging.getLogger(__name__).warning("%s: %s", folder, what)
            return
        trained = known["settings"]
        precision = "4 bit" if trained.get("qlora") else trained.get("dtype")
        needs = f"needs {known['base'].get('model')} in {precision}"
        raise ModelError(
            f"the adapter in {folder} {needs} with the fingerprint {wanted[:8]}, got "
            f"{model.dtype} and {found[:8]}: load the base that it was trained on, "
            "unmerged, in that precision"
        )


def _quantised_elsewhere(model, known: dict) -> bool:
    """Whether a base in 4 bit is the one that is known, but for another device."""
    where = known.get("quantised_on")
    same = where and known.get("unquantised") == unquantised(model)
    return bool(same) and where != probe_device().name


def changes_base(settings: dict) -> str:
    """The initialisation of a LoRA configuration that changes its base, "" for none.

    Such matrices mean something only to PEFT, which changes the base again.
    """
    kind = str(settings.get("init_lora_weights", True))
    return kind if kind.startswith(FROM_BASE) else ""


def claims(folder: Path) -> dict:
    """What is known of a training: "base" and "settings", as metrics.json has them.

    Without that file, as much as the card that `helpers.finetune` writes says.
    Raises ModelError for a damaged file.
    """
    if (folder / "metrics.json").exists():
        metrics = _read(folder / "metrics.json")
        return {key: metrics.get(key) or {} for key in ("base", "settings")}
    card = folder / "README.md"
    text = card.read_text("utf-8", "replace") if card.exists() else ""
    found = {"base": {}, "settings": {}}
    if scale := re.search(r"(?m)^\| rank, alpha \| (\d+), ([\d.]+) \|$", text):
        known = {"r": int(scale[1]), "lora_alpha": float(scale[2])}
        rows = re.findall(r"(?m)^\| (use_rslora|\w+_pattern) \| (.+) \|$", text)
        try:
            known |= {key: json.loads(value) for key, value in rows}
        except ValueError:
            raise ModelError(f"{card}: {rows} must be JSON: restore it") from None
        found["settings"]["peft_config"] = known
    if sha256 := re.search(r"in (\w+) have the fingerprint\s+`(\w{64})`", text):
        found["settings"]["dtype"] = sha256[1]
        found["base"]["fingerprint"] = sha256[2]
    if base := re.search(r"""^base_model: ["']?([^\s"']+)["']?$""", text, re.MULTILINE):
        found["base"]["model"] = base[1]
    return found


def _read(path: Path) -> dict:
    """A JSON object in a file. Raises ModelError."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        why = one_line(error)
        way = "give a folder that save_pretrained or helpers.finetune wrote"
        raise ModelError(f"{path} cannot be read ({why}): {way}") from None
    if not isinstance(found, dict):
        raise ModelError(f"{path} must hold a JSON object")
    return found


def read_weights(folder: Path) -> dict[str, torch.Tensor]:
    """The tensors of an adapter. Raises ModelError: unreadable, or not finite."""
    path = folder / WEIGHTS
    if not path.exists() and (folder / "adapter_model.bin").exists():
        what = f"{folder} holds its weights as a pickle, which may run code"
        way = "load it where you trust it, then save_pretrained writes safetensors"
        raise ModelError(f"{what}: {way}")
    try:
        weights = load_file(path)
    except Exception as error:  # safetensors' own error has no public name
        what = f"{path} is missing or damaged ({error})"
        raise ModelError(f"{what}: copy the adapter again") from None
    for key, weight in weights.items():
        if not weight.isfinite().all():
            raise ModelError(f"{path}: {key} holds values that are not finite")
    return weights


def check_trained(folder: Path) -> list[str]:
    """The keys of matrices B that are zero since no text need come to them.

    Raises ModelError for weights unreadable or not finite, or another B of zero.
    """
    weights = read_weights(folder)
    # MiCA starts with an A of zero, all others with a B.
    known = _read(folder / CONFIG) if (folder / CONFIG).exists() else {}
    side = "A" if known.get("init_lora_weights") == "mica" else "B"
    kept = {
        k: w for k, w in weights.items() if re.search(f"lora_(embedding_)?{side}", k)
    }
    idle = [key for key, weight in kept.items() if not weight.any()]
    unreached = [key for key in idle if UNREACHED.search(key)]
    if idle and (len(idle) == len(kept) or len(idle) > len(unreached)):
        what = f"{len(idle)} of {len(kept)} matrices {side} are zero, such as {idle[0]}"
        why = "they change nothing, they were not trained"
        raise ModelError(f"{folder / WEIGHTS}: {what}: {why}")
    return unreached


def check_keys(skeleton, folder: Path) -> None:
    """Raises ModelError unless the keys and shapes of a file are those of a model.

    skeleton: on the meta device; PEFT changes it.
    """
    from peft import PeftModel

    options = {"low_cpu_mem_usage": True}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what it would say is raised below
            tuned = PeftModel.from_pretrained(skeleton, str(folder), **options)
            found = tuned.load_adapter(str(folder), "default", **options)
    except Exception as error:  # PEFT's, torch's: another layer, another shape
        why = one_line(error, 300)
        raise ModelError(
            f"the adapter in {folder} does not fit the model ({why}): load its base"
        ) from error
    more, less = found.unexpected_keys, found.missing_keys
    if more or less:
        what = f"{len(more)} of its keys match no module, {len(less)} are missing"
        first = (more or less)[0].replace(".default", "")
        raise ModelError(
            f"the adapter in {folder} does not fit the model: {what}, such as "
            f"{first!r}: load its base, or {PREFIX}"
        )
