"""Grids over a profile's settings: what each row of a question is, and its profile."""

import inspect
from dataclasses import replace
from itertools import product
from pathlib import Path

import yaml

from helpers import UserError
from helpers.config import Profile, load_profile

QUESTIONS = Path(__file__).with_name("questions.yaml")
# Settings that every row names: the adapter's, and the trainer's by a shorter name.
LORA = ("r", "lora_alpha", "target_modules", "lora_dropout")
TRAINING = {
    "learning_rate": "learning_rate",
    "rows_per_update": "per_device_train_batch_size",
    "updates": "max_steps",
}
OWN = "method seed rows_read cpu_budget train_rows look_every loraplus_lr_ratio".split()
# Short names of target_modules: patterns that fit Phi-3 and Llama.
TARGETS = {"attention": r".*\.self_attn\.\w+_proj", "MLP": r".*\.mlp\.\w+_proj"}


def questions(profile: str) -> dict[str, list[dict]]:
    """{question: its grids} of a profile. Raises UserError where it has none."""
    return _asked(profile)["questions"]


def _asked(profile: str) -> dict:
    known = yaml.safe_load(QUESTIONS.read_text(encoding="utf-8"))
    if profile not in known:
        there = ", ".join(known)
        raise UserError(f"no questions for the profile {profile!r}: there are {there}")
    return known[profile]


def rows_of(question: str, profile: Profile, seeds: list[int], scored: int) -> list:
    """The rows of a question, {setting: value} each; all settings for a seed first.

    Each row names all that the ledger varies. Raises UserError for what is no setting.
    """
    usual = {"method": "lora"}
    usual |= {k: profile.training_config[v] for k, v in TRAINING.items()}
    usual |= {key: profile.peft_config[key] for key in LORA}
    usual |= _asked(profile.name)["usual"]
    grids, rows = questions(profile.name)[question], []
    if unknown := set().union(usual, *grids).difference(OWN, TRAINING, *_keys()):
        what = f"{question}: {min(unknown)!r} is no setting"
        raise UserError(f"{what}: see the head of {QUESTIONS.name}")
    for grid in grids:
        lists = {k: v if isinstance(v, list) else [v] for k, v in grid.items()}
        lists = {"seed": seeds} | lists
        for values in product(*lists.values()):
            row = usual | dict(zip(lists, values, strict=True))
            row = {"question": question} | _settled(row) | {"scored": scored}
            rows += [row] if row not in rows else []
    return sorted(rows, key=lambda row: row["seed"])


def _settled(row: dict) -> dict:
    """A row without what does not hold for it, its updates counted."""
    if "rows_read" in row:
        row["updates"] = row.pop("rows_read") // row["rows_per_update"]
    if "cpu_budget" in row:
        del row["updates"]
    without = LORA if row["method"] == "full" else ()
    return {key: value for key, value in row.items() if key not in without}


def _keys() -> list:
    """The settings of SFTConfig, and those of LoraConfig."""
    from peft import LoraConfig
    from trl import SFTConfig

    return [inspect.signature(kind).parameters for kind in (SFTConfig, LoraConfig)]


def profile_of(row: dict, profile: str) -> Profile:
    """A profile as a row changes it."""
    usual = load_profile(profile)
    row = {TRAINING.get(key, key): value for key, value in row.items()}
    if (where := row.get("target_modules")) in TARGETS:
        row["target_modules"] = TARGETS[where]
    training, adapter = ({k: row[k] for k in row if k in keys} for keys in _keys())
    training |= {"data_seed": row.get("data_seed", row["seed"]), "logging_steps": 1}
    training |= {"eval_strategy": "no", "save_strategy": "no", "report_to": "none"}
    training |= {"disable_tqdm": True}
    return replace(
        usual,
        qlora_model=usual.model,  # one base for all methods
        training_config=usual.training_config | training,
        peft_config=usual.peft_config | adapter,
    )


def check(names: list[str], profile: str) -> list[str]:
    """The names, all for none. Raises UserError for one that is no question."""
    known = questions(profile)
    if unknown := [name for name in names if name not in known]:
        there = ", ".join(known)
        raise UserError(f"{unknown[0]!r} is no question of {profile}: {there}")
    return names or list(known)
