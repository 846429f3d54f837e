"""The settings of a training run: flags, a YAML file, a profile; unknown keys refused.

A YAML file has up to three sections, each laid over the profile's dictionary of that
name:

    training_config: {learning_rate: 1.0e-3, max_steps: 40}
    peft_config: {r: 8}
    quantization_config: {bnb_4bit_quant_type: fp4}
"""

import argparse
import dataclasses
import inspect
import re
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from helpers.config import Profile, load_profile, profile_names
from helpers.files import ROOT
from helpers.finetune.errors import RunError

SECTIONS = ("training_config", "peft_config", "quantization_config")
# Keys of the libraries that something else decides here, and what.
TAKEN = {
    "output_dir": "--output decides",
    "resume_from_checkpoint": "--resume decides",
    "push_to_hub": "nothing is uploaded by a training run",
    "trust_remote_code": "code of a checkpoint never runs",
    "load_in_4bit": "--qlora decides",
    "load_in_8bit": "--qlora decides",
    "save_only_model": "a checkpoint must be whole to be resumed from",
}
ROUND = re.compile(r"[+-]?\d+(\.\d*)?[eE][+-]?\d+")  # YAML 1.1 reads 1e-3 as a text


@dataclass(frozen=True)
class Settings:
    """One run of `helpers.finetune`.

    data: what `formatting.load_splits` takes. output: the run's folder.
    profile, model: as in `config.load_profile`. qlora: train on the 4-bit base.
    overrides: {section: {key: value}}, as `read_overrides` returns.
    patience: evaluations without a lower validation loss until the run stops and the
        best adapter is kept; None trains to the end.
    validation_rows, test_rows: how many rows of these splits are used, at most.
    resume: go on where a run with the same settings stopped, or start.
    """

    data: Path
    output: Path
    profile: str = "auto"
    qlora: bool = False
    model: str | None = None
    overrides: dict = field(default_factory=dict)
    patience: int | None = None
    validation_rows: int = 200
    test_rows: int = 400
    resume: bool = False


def parser(description: str) -> argparse.ArgumentParser:
    """The flags; each is a field of Settings, and --config."""
    parser = _Parser("python -m helpers.finetune", description=description)
    add, default = parser.add_argument, Settings("", "")
    add("--data", type=Path, required=True, help="a folder of splits, or one file")
    add("--output", type=Path, required=True, help="the run's folder")
    add("--profile", default="auto", choices=profile_names(), help="default: auto")
    add("--model", help="a folder or Hub id in the place of the profile's model")
    add("--qlora", action="store_true", help="train on the base in 4 bit")
    add("--config", type=Path, help="a YAML file laid over the profile's dictionaries")
    add("--patience", type=int, help="evaluations without progress until it stops")
    for split in ("validation", "test"):
        most = getattr(default, f"{split}_rows")
        text = f"rows to evaluate on (default: {most})"
        add(f"--{split}-rows", type=int, default=most, help=text)
    add("--resume", action="store_true", help="go on with the run in --output")
    return parser


def read_overrides(path) -> dict[str, dict]:
    """The sections of a YAML file. Raises RunError for one that cannot be read."""
    try:
        loaded = yaml.safe_load(Path(path).read_text(encoding="utf-8")) or {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        why = " ".join(str(error).split())[:200]
        raise RunError(f"{path} cannot be read ({why}): give a YAML file") from None
    if not isinstance(loaded, dict) or not all(
        isinstance(section, dict) for section in loaded.values()
    ):
        expected = "sections of keys, such as `peft_config: {r: 8}`"
        raise RunError(f"{path} has another form: expected {expected}")
    return {
        name: {key: _number(value) for key, value in section.items()}
        for name, section in loaded.items()
    }


def complete(settings: Settings) -> Profile:
    """The profile of a run, its dictionaries as they go to the libraries.

    Raises ConfigError for an unknown profile, RunError for a key that is unknown or
    not the user's to set.
    """
    for name in ("validation_rows", "test_rows", "patience"):
        if (value := getattr(settings, name)) is not None and value < 1:
            raise RunError(
                f"--{name.replace('_', '-')} requires 1 or more: got {value}"
            )
    profile = load_profile(settings.profile, settings.model)
    _check_keys(settings.overrides)
    merged = {
        name: getattr(profile, name) | settings.overrides.get(name, {})
        for name in SECTIONS
    }
    merged["training_config"] |= _run_keys(settings, merged["training_config"])
    return dataclasses.replace(profile, **merged)


def build(factory, section: str, values: dict):
    """factory(**values), its refusal as a RunError that names the section."""
    try:
        return factory(**values)
    except (TypeError, ValueError, AssertionError, ImportError) as error:
        why = " ".join(str(error).split())[:300]
        raise RunError(f"{section} is refused by {factory.__name__}: {why}") from error


def shown(path) -> str:
    """A path or Hub id as others know it: relative to the course, or its last part."""
    path = Path(path)
    if path.is_absolute() and path.is_relative_to(ROOT):
        return path.relative_to(ROOT).as_posix()
    return path.name if path.is_absolute() else path.as_posix()


def _run_keys(settings: Settings, config: dict) -> dict:
    """What a run sets itself: folder, token count, and early stopping's needs."""
    keys = {
        "output_dir": str(Path(settings.output).resolve() / "checkpoints"),
        "include_num_input_tokens_seen": "non_padding",  # counted on across resumes
        "restore_callback_states_from_checkpoint": True,
        "ddp_find_unused_parameters": False,
    }
    if config["save_strategy"] not in ("steps", "epoch"):
        got = config["save_strategy"]
        raise RunError(f"save_strategy must be steps or epoch, got {got!r}")
    if settings.patience is not None:
        keys |= {
            "eval_strategy": config["save_strategy"],
            "eval_steps": config["save_steps"],
            "load_best_model_at_end": True,
            "metric_for_best_model": "eval_loss",
            "greater_is_better": False,
        }
    return keys


def _check_keys(overrides: dict) -> None:
    """Raises RunError for a section or key that no library knows."""
    if unknown := [name for name in overrides if name not in SECTIONS]:
        known = ", ".join(SECTIONS)
        raise RunError(f"unknown section {unknown[0]!r}: the sections are {known}")
    for section, values in overrides.items():
        library, known = _known_keys(section)
        for key in values:
            if key in TAKEN:
                raise RunError(f"{section}: {key!r} cannot be set: {TAKEN[key]}")
            if key not in known:
                raise RunError(f"{section}: unknown key {key!r}: see {library}")


def _known_keys(section: str) -> tuple[str, set[str]]:
    """(name of the library's class, the keywords it takes)."""
    if section == "quantization_config":
        from transformers import BitsAndBytesConfig as factory
    elif section == "peft_config":
        from peft import LoraConfig as factory
    else:
        from trl import SFTConfig as factory
    names = set(inspect.signature(factory).parameters) - {"kwargs"}
    return factory.__name__, names


def _number(value):
    """1e-3 as the number it means; any other value as it is."""
    if isinstance(value, str) and ROUND.fullmatch(value):
        return float(value)
    return value


class _Parser(argparse.ArgumentParser):
    """Refuses in one line, without the usage."""

    def error(self, message):
        self.exit(2, f"finetune: {message}\n")
