"""The keys of a settings file: which a run takes, and which values would do nothing.

Libraries pass over many a mistake: a text where a number belongs, a name that matches
no layer, an initialisation that needs a preparation. Here they are refused.
"""

import importlib
import inspect
import re
from collections.abc import Iterable
from types import NoneType
from typing import get_args, get_type_hints

import yaml

from helpers.finetune.errors import RunError

SECTIONS = {  # and the class that takes each section's keys
    "training_config": ("trl", "SFTConfig"),
    "peft_config": ("peft", "LoraConfig"),
    "quantization_config": ("transformers", "BitsAndBytesConfig"),
}
NOTHING_UPLOADED = "nothing is uploaded by a training run"
PREPARED = "it needs a preparation that this command does not make"
OTHER_BASE = "the base would not be the one that is scored before training"
# Keys of the libraries that something else decides here, and what.
TAKEN = {
    "output_dir": "--output decides",
    "resume_from_checkpoint": "--resume decides",
    "push_to_hub": NOTHING_UPLOADED,
    **dict.fromkeys(("hub_token", "hub_model_id", "hub_strategy"), NOTHING_UPLOADED),
    **dict.fromkeys(("hub_private_repo", "hub_always_push"), NOTHING_UPLOADED),
    "hub_revision": NOTHING_UPLOADED,
    "trust_remote_code": "code of a checkpoint never runs",
    "load_in_4bit": "--qlora decides",
    "load_in_8bit": "--qlora decides",
    "llm_int8_skip_modules": "the output head is left out, and nothing else",
    "save_only_model": "a checkpoint must be whole to be resumed from",
    "enable_jit_checkpoint": "a run that is stopped saves by itself",
    "gradient_checkpointing": "activation_checkpointing decides, its new name",
    "auto_find_batch_size": "training would begin anew with another batch, unsaid",
    "dataloader_drop_last": "rows would be left out, of few validation rows all",
    "dataset_kwargs": "the rows are checked as the trainer prepares them by itself",
    "chat_template_path": "write it to chat_template.jinja in the model's folder",
    "inference_mode": "the adapter is to be trained",
    "layer_replication": OTHER_BASE,
    "kasa_config": OTHER_BASE,
    "use_qalora": PREPARED,
    "load_best_model_at_end": "--patience keeps the adapter of the lowest loss",
    "metric_for_best_model": "--patience goes by the validation loss",
    "greater_is_better": "--patience goes by the validation loss",
    "include_num_input_tokens_seen": "they are always counted",
    "restore_callback_states_from_checkpoint": "--resume needs them",
}
# Values that cannot be taken: {key: {value: why}}.
REFUSED = {
    "init_lora_weights": dict.fromkeys(("eva", "lora_ga", "corda"), PREPARED)
    | {False: OTHER_BASE},
    "packing_strategy": {"wrapped": "it cuts rows and answers where a pack is full"},
}
KINDS = {
    "bnb_4bit_quant_type": ("nf4", "fp4"),
    "bnb_4bit_compute_dtype": ("bfloat16", "float16", "float32"),
    "bnb_4bit_use_double_quant": (True, False),
}
PLAIN = {bool, int, float, str, NoneType}
NAMING = ("modules_to_save", "exclude_modules", "target_parameters")
PATTERNS = ("rank_pattern", "alpha_pattern")


class OnceLoader(yaml.SafeLoader):
    """YAML in which a key that stands twice is an error; PyYAML keeps the last."""

    def construct_mapping(self, node, deep=False):
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        if twice := [key for i, key in enumerate(keys) if key in keys[:i]]:
            said = f"the key {twice[0]!r} stands twice"
            raise yaml.constructor.ConstructorError(None, None, said, node.start_mark)
        return super().construct_mapping(node, deep)


def check_keys(overrides: dict) -> None:
    """Raises RunError for a section, key or value that no run can take."""
    if unknown := [name for name in overrides if name not in SECTIONS]:
        known = ", ".join(SECTIONS)
        raise RunError(f"unknown section {unknown[0]!r}: the sections are {known}")
    for section, values in overrides.items():
        package, name = SECTIONS[section]
        factory = getattr(importlib.import_module(package), name)
        known = inspect.signature(factory).parameters.keys() - {"kwargs"}
        hints = get_type_hints(factory)
        for key, value in values.items():
            if key in TAKEN:
                raise RunError(f"{section}: {key!r} cannot be set: {TAKEN[key]}")
            if key not in known:
                raise RunError(f"{section}: unknown key {key!r}: see {name}")
            if wrong := _wrong(key, value, hints.get(key)):
                raise RunError(f"{section}: {key} is {value!r}: {wrong}")


def _wrong(key: str, value, hint) -> str:
    """Why a value cannot be taken, "" where it can. hint: the key's annotation."""
    for refused, why in REFUSED.get(key, {}).items():
        if value is refused or (isinstance(value, str) and value == refused):
            return why
    if value not in (known := KINDS.get(key, (value,))):
        return f"expected {' or '.join(map(str, known))}"
    kinds = {*(get_args(hint) or (hint,))}
    if not kinds <= PLAIN or not isinstance(value, str | dict | list):
        return ""
    if isinstance(value, str) and str in kinds:
        return ""
    return f"expected {' or '.join(k.__name__ for k in PLAIN & kinds - {NoneType})}"


def check_names(peft_config: dict, names: Iterable[str]) -> None:
    """Raises RunError for a name in a peft_config that matches nothing of the base.

    names: of its modules and parameters. As PEFT 0.21 matches: the end of a name in a
    list, a regular expression in a text or a pattern.
    """
    names = [*names]
    for key in (*NAMING, *PATTERNS):
        given = peft_config.get(key) or ()
        for name in [given] if isinstance(given, str) else given:
            end = name if key in PATTERNS else re.escape(name)
            form = name if isinstance(given, str) else rf"(.*\.)?({end})"
            if not any(re.match(rf"{form}$", known) for known in names):
                what = f"peft_config: {key} names {name!r}, not a part of the base"
                raise RunError(f"{what}: it would be passed over")
