"""Whether a checkpoint is whole, and one clear line where it is not."""

import json
import zipfile
from pathlib import Path

from safetensors import safe_open

from helpers import UserError, one_line
from helpers.files import CHECKPOINTS, ROOT, SUMS, sha256

FETCHED = ROOT / "build" / "models"  # what `helpers.models.small` fetches

PICKLES = (".bin", ".pt", ".pth", ".ckpt")


class ModelError(UserError):
    """A model that cannot be loaded. One line: what is wrong, where, the remedy."""


def check_checkpoint(folder: str | Path) -> None:
    """Raises ModelError unless every JSON and safetensors file of a folder is whole.

    Weights in several files must all be there. Where the folder holds SHA256SUMS, as
    `sha256sum` writes it, the sums must agree.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ModelError(f"no model folder at {_place(folder)}: {remedy(folder)}")
    if not any(folder.glob("*.safetensors")):
        if any(f.suffix in PICKLES for f in folder.iterdir()):
            what = f"{_place(folder)} holds its weights as pickles, which may run code"
            way = "load it where you trust it, then save_pretrained writes safetensors"
            raise ModelError(f"{what}, and no safetensors: {way}")
        raise ModelError(f"no safetensors file in {_place(folder)}: {remedy(folder)}")
    for file in sorted([*folder.glob("*.json"), *folder.glob("*.safetensors")]):
        try:
            read_whole(file)
        except Exception as error:  # safetensors' own error has no public name
            what = f"is truncated or damaged ({error})"
            raise ModelError(f"{_place(file)} {what}: {remedy(file)}") from None
    for index in folder.glob("*.safetensors.index.json"):
        shards = json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()
        if missing := [s for s in sorted({*shards}) if not (folder / s).exists()]:
            shard, count = folder / missing[0], f"{len(missing)} of {len({*shards})}"
            what = f"is missing, with it {count} parts that {index.name} lists"
            raise ModelError(f"{_place(shard)} {what}: {remedy(shard)}")
    _check_sums(folder / SUMS)


def explain(error: Exception, name: str, open_model: str) -> str:
    """One line on why transformers could not load a model, with the remedy."""
    text = one_line(error)
    if "gated" in text.lower():
        return (
            f"{name} is gated and no token of yours has access: accept its licence on "
            f"https://huggingface.co/{name} and give a token, with `hf auth login` or "
            f"in HF_TOKEN, or use the model {open_model!r}, which needs neither"
        )
    if "couldn't connect" in text or "offline" in text.lower():
        return (
            f"{name} is not on this machine and the Hub cannot be reached: go online "
            "once, or use the profile 'tiny'"
        )
    return f"{name} cannot be loaded ({text[:300]}): {remedy(Path(name))}"


def remedy(path: Path) -> str:
    """How to get a whole file back."""
    if path.is_absolute() and path.is_relative_to(CHECKPOINTS):
        return "restore it with `git checkout -- data/checkpoints`"
    if path.is_absolute() and path.is_relative_to(FETCHED):
        return "get it with `python -m helpers.models.small`"
    return "give a folder that holds a saved model, or download it again"


def _check_sums(sums: Path) -> None:
    """Raises ModelError unless the files beside SHA256SUMS have the sums it lists."""
    for line in sums.read_text().splitlines() if sums.exists() else []:
        expected, name = line.split(maxsplit=1)
        file = sums.parent / name.removeprefix("*")
        if not file.exists():
            raise ModelError(f"{_place(file)} is missing: {remedy(file)}")
        if sha256(file) != expected:
            what = "is not the file that SHA256SUMS lists"
            raise ModelError(f"{_place(file)} {what}: {remedy(file)}")


def read_whole(file: Path) -> None:
    """Reads a file as far as it takes to know that it is whole; raises where not."""
    if file.suffix == ".json":
        json.loads(file.read_text(encoding="utf-8"))
    elif file.suffix in (".pt", ".pth", ".bin"):  # torch.save writes zip files
        with zipfile.ZipFile(file) as archive:
            if broken := archive.testzip():
                raise ValueError(f"{broken} is damaged")
    else:
        with safe_open(file, framework="pt"):
            pass


def _place(path: Path) -> str:
    """A path in full, or from the course down."""
    return str(path.relative_to(ROOT) if path.is_relative_to(ROOT) else path)
