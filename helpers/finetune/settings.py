"""The settings of a training run: flags, a YAML file, a profile; unknown keys refused.

A YAML file has up to three sections, each laid over the profile's dictionary of that
name:

    training_config: {learning_rate: 1.0e-3, max_steps: 40}
    peft_config: {r: 8}
    quantization_config: {bnb_4bit_quant_type: fp4}
"""

import dataclasses
import re
from collections.abc import Callable
from dataclasses import MISSING, dataclass, field
from pathlib import Path
from typing import get_args

import yaml

from helpers import Parser, environment, one_line
from helpers.config import Profile, load_profile, profile_names
from helpers.finetune.errors import RunError
from helpers.finetune.keys import SECTIONS, OnceLoader, check_keys

# --patience keeps the best checkpoint, so each evaluation is of one.
BOTH = {"eval_strategy": "save_strategy", "eval_steps": "save_steps"}
# Of two keys that exclude each other the user's counts: {key: (the other, unset)}.
PAIRS = {
    "num_train_epochs": ("max_steps", -1),
    "bf16": ("fp16", False),
    "fp16": ("bf16", False),
}
ROUND = re.compile(r"[+-]?\d+(\.\d*)?[eE][+-]?\d+")  # YAML 1.1 reads 1e-3 as a text


def _flag(help: str, default=MISSING, **options):
    """A field of Settings that is a flag of the command too, in argparse's words."""
    return field(default=default, metadata={"help": help, **options})


@dataclass(frozen=True)
class Settings:
    """One run of `helpers.finetune`; each field with a help text is a flag.

    data: what `formatting.load_splits` takes. profile, model: as in
        `config.load_profile`.
    map: "COLUMN=FIELD,...", names of columns that no format knows. group: as in
        `load_splits`.
    patience: evaluations without a lower validation loss until the run stops and the
        best adapter is kept; None trains to the end.
    scorer: as in `evaluation.score`, for answers of which many are right.
    overrides: {section: {key: value}}, as `read_overrides` returns.
    """

    data: Path = _flag(
        "a folder of splits, one file, or hub:OWNER/NAME; every answer of a chat counts"
    )
    output: Path = _flag("the run's folder")
    profile: str = _flag("default: %(default)s", "auto", choices=profile_names())
    model: str | None = _flag("a folder or Hub id, not the profile's model", None)
    qlora: bool = _flag("train on the base in 4 bit", False)
    map: str | None = _flag("columns: question=prompt,answer=completion", None)
    group: str | None = _flag("a column: its rows of one value in one split", None)
    patience: int | None = _flag("evaluations without progress until it stops", None)
    train_rows: int | None = _flag("rows at most (default: all)", None)
    validation_rows: int = _flag("rows at most (default: %(default)s)", 200)
    test_rows: int = _flag("rows at most (default: %(default)s)", 400)
    test: bool = _flag("score the test split, not validation", False)
    resume: bool = _flag("go on with the run in --output, or start it", False)
    force: bool = _flag("go on in spite of findings that ruin a run", False)
    overrides: dict[str, dict] = field(default_factory=dict)
    scorer: Callable | None = None


def parse(argv: list[str] | None, description: str) -> Settings:
    """The settings that the flags of the command make. Raises UserError."""
    parser = Parser("python -m helpers.finetune", description=description)
    for flag in dataclasses.fields(Settings):
        if flag.metadata:
            kind, *_ = get_args(flag.type) or [flag.type]  # int of int | None
            value = {"action": "store_true"} if kind is bool else {"type": kind}
            value |= {"default": flag.default, "required": flag.default is MISSING}
            name = flag.name.replace("_", "-")
            parser.add_argument(f"--{name}", **value, **flag.metadata)
    text = "a YAML file laid over the profile's dictionaries"
    parser.add_argument("--config", type=Path, help=text)
    flags = vars(parser.parse_args(argv))
    config = flags.pop("config")
    return Settings(**flags, overrides=read_overrides(config) if config else {})


def read_overrides(path: Path) -> dict[str, dict]:
    """The sections of a YAML file. Raises RunError for one that cannot be read."""
    try:
        loaded = yaml.load(Path(path).read_text(encoding="utf-8"), OnceLoader) or {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        why = one_line(error, 200)
        raise RunError(f"{path} cannot be read ({why}): give a YAML file") from None
    sections = loaded.values() if isinstance(loaded, dict) else [loaded]
    if not all(isinstance(section, dict) for section in sections):
        expected = "sections of keys, such as `peft_config: {r: 8}`"
        raise RunError(f"{path} has another form: expected {expected}")
    return _numbers(loaded)


def complete(settings: Settings) -> Profile:
    """The profile of a run, as libraries take it. Raises ConfigError or RunError."""
    for name in ("train_rows", "validation_rows", "test_rows", "patience"):
        if (value := getattr(settings, name)) is not None and value < 1:
            flag = name.replace("_", "-")
            raise RunError(f"--{flag} requires 1 or more: got {value}")
    profile = load_profile(settings.profile, settings.model)
    check_keys(settings.overrides)
    changed = settings.overrides
    merged = {n: getattr(profile, n) | changed.get(n, {}) for n in SECTIONS}
    if str(kind := merged["peft_config"].get("init_lora_weights")).startswith(
        "pissa_niter"
    ):
        what = f"peft_config: init_lora_weights {kind} is drawn anew at each loading"
        raise RunError(f"{what}, and the adapter would belong to no base: use pissa")
    merged["training_config"] |= _unset(changed.get("training_config", {}))
    merged["training_config"] |= _run_keys(settings, merged["training_config"])
    _check_together(merged["training_config"])
    return dataclasses.replace(profile, **merged)


def _check_together(config: dict) -> None:
    """Raises RunError for keys of a training_config that leave nothing to do."""
    if config["max_steps"] < 1 and config["num_train_epochs"] <= 0:
        got = f"num_train_epochs {config['num_train_epochs']}"
        raise RunError(f"training_config: {got} trains nothing: expected more than 0")
    if config["use_cpu"] and config.get("activation_offloading"):
        raise RunError("training_config: activation_offloading needs a GPU")
    if not config["use_cpu"] and environment.probe_device().kind == "cpu":
        raise RunError("training_config: use_cpu is False, and no GPU is found")


def _unset(given: dict) -> dict:
    """What a user's keys of PAIRS turn off. Raises RunError for both of a pair."""
    found = {}
    for key, (other, unset) in PAIRS.items():
        if given.get(key) is not None and given[key] is not False:
            if given.get(other, unset) != unset:
                what = f"training_config: {key} and {other} exclude each other"
                raise RunError(f"{what}: give one of them")
            found[other] = unset
    return found


def build(factory: Callable, section: str, values: dict):
    """factory(**values), its refusal as a RunError that names the section."""
    try:
        return factory(**values)
    except (TypeError, ValueError, AssertionError, ImportError) as error:
        why = one_line(error, 300)
        raise RunError(f"{section} is refused by {factory.__name__}: {why}") from error


def _run_keys(settings: Settings, config: dict) -> dict:
    """What a run sets itself: folder, token count, and early stopping's needs."""
    keys = {
        "output_dir": str(Path(settings.output).resolve() / "checkpoints"),
        "include_num_input_tokens_seen": "non_padding",  # counted on across resumes
        "restore_callback_states_from_checkpoint": True,
        "ddp_find_unused_parameters": config.get("ddp_find_unused_parameters", False),
    }
    if config["save_strategy"] not in ("steps", "epoch"):
        got = config["save_strategy"]
        raise RunError(f"save_strategy must be steps or epoch, got {got!r}")
    if settings.patience is not None:
        given = settings.overrides.get("training_config", {})
        if config.get("save_total_limit") == 1:
            what = "save_total_limit: 1 leaves the best checkpoint and not the last"
            raise RunError(f"training_config: {what}, which --resume needs: give 2")
        for key, other in BOTH.items():
            keys[key] = config[other]
            if given.get(key, config[other]) != config[other]:
                what = f"{key} is {given[key]}, {other} {config[other]}"
                why = "--patience evaluates what it may keep"
                raise RunError(f"training_config: {what}: {why}, give {other} alone")
        keys |= {
            "load_best_model_at_end": True,
            "metric_for_best_model": "eval_loss",
            "greater_is_better": False,
        }
    return keys


def _numbers(value):
    """1e-3 as the number it means, wherever it stands; any other value as it is."""
    if isinstance(value, dict):
        return {key: _numbers(inner) for key, inner in value.items()}
    if isinstance(value, str) and ROUND.fullmatch(value):
        return float(value)
    return value
