"""Which settings teach the tickets to SmolLM2 soonest: the profile `small` on a CPU.

    python -m tests.benchmarks.small [--minutes 60] [--output data/results] [NAME ...]

Each row trains an adapter with SFTTrainer and scores *validation* rows: the test rows
are left to the lessons. A setting changes the profile in what its name says; all read
the same number of training rows, so they cost about the same time. Every row is written
at once; one that is there is not measured again. Exit codes: 0 all is measured, 1 rows
are left.
"""

import sys
import time
from collections.abc import Iterator
from dataclasses import replace

import torch

from helpers import UserError, run_command
from helpers.config import Profile, load_profile
from helpers.files import ROOT
from helpers.formatting import load_splits
from helpers.models import fetch_small_model, load_tokenizer, quiet
from helpers.sweep import Budget, Part, make_trainer
from helpers.sweep import measure as measure_rows
from tests.benchmarks import flags

READ = 1200  # training rows of a setting that is compared
SCORED = 100  # validation rows
ATTENTION = ["q_proj", "k_proj", "v_proj", "o_proj"]
MLP = ["gate_proj", "up_proj", "down_proj"]

# What is left of the profile where TRL's and PEFT's own defaults train: the machine's.
KEPT = ("seed", "bf16", "use_cpu", "dataloader_pin_memory")
DEFAULTS = "TRL's and PEFT's default arguments"

# name: {section: {key: value}}, laid over the profile; of DEFAULTS, over KEPT.
SETTINGS: dict[str, dict[str, dict]] = {
    "as the profile": {},
    "beta2 0.999": {"training_config": {"adam_beta2": 0.999}},  # torch's default
    "beta2 0.999, rate 2e-3": {
        "training_config": {"adam_beta2": 0.999, "learning_rate": 2e-3}
    },
    "beta2 0.999, rate 4e-3": {
        "training_config": {"adam_beta2": 0.999, "learning_rate": 4e-3}
    },
    "beta2 0.9": {"training_config": {"adam_beta2": 0.9}},
    "rate 5e-4": {"training_config": {"learning_rate": 5e-4}},
    "rate 2e-3": {"training_config": {"learning_rate": 2e-3}},
    "4 rows an update": {"training_config": {"per_device_train_batch_size": 4}},
    "8 rows an update": {"training_config": {"per_device_train_batch_size": 8}},
    "rank 4": {"peft_config": {"r": 4, "lora_alpha": 8}},
    "rank 64": {"peft_config": {"r": 64, "lora_alpha": 128}},
    "alpha 64": {"peft_config": {"lora_alpha": 64}},
    "attention alone": {"peft_config": {"target_modules": ATTENTION}},
    "MLP alone": {"peft_config": {"target_modules": MLP}},
    "upper 20 layers": {
        "peft_config": {
            "target_modules": ATTENTION + MLP,
            "layers_to_transform": list(range(10, 30)),
        }
    },
    "dropout 0.05": {"peft_config": {"lora_dropout": 0.05}},
    "constant rate": {"training_config": {"lr_scheduler_type": "constant_with_warmup"}},
    "rows of like length": {
        "training_config": {"train_sampling_strategy": "group_by_length"}
    },
    "packed": {"training_config": {"packing": True, "max_length": 256}},
    "PiSSA": {"peft_config": {"init_lora_weights": "pissa_niter_4"}},
    "DoRA": {"peft_config": {"use_dora": True}},
    "no system prompt": {"template": {"system": False}},
    DEFAULTS: {
        "training_config": {
            "per_device_train_batch_size": 8,
            "gradient_accumulation_steps": 1,
        },
        "peft_config": {"task_type": "CAUSAL_LM"},
    },
}


def main(argv: list[str] | None = None) -> int:
    """Measures what is missing; the exit code. Raises UserError."""
    parser = flags.parser(__doc__)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--rows", type=int, default=READ, help="training rows read")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--scored", type=int, default=SCORED)
    parser.add_argument("name", nargs="*", help="settings; default: all")
    args = parser.parse_args(argv)
    if unknown := [name for name in args.name if name not in SETTINGS]:
        raise UserError(f"no setting {unknown[0]!r}: there are {', '.join(SETTINGS)}")
    for name, least, most in (("rows", 80, 2000), ("scored", 1, 200)):
        if not least <= (got := getattr(args, name)) <= most:
            raise UserError(f"--{name} must be from {least} to {most}, got {got}")
    quiet()
    fetch_small_model()
    grid = [
        {"setting": name, "seed": seed, "rows_read": args.rows, "scored": args.scored}
        for name in args.name or SETTINGS
        for seed in args.seeds
    ]
    part = Part("small_settings", grid, measure, seconds=300)
    left = measure_rows([part], args.output, Budget(args.minutes))
    return 1 if left else 0


def measure(grid: list[dict]) -> Iterator[dict]:
    """What was found of each row: scores, seconds, tokens a second."""
    splits = load_splits(ROOT / "data" / "tickets")
    for row in grid:
        yield run(row, splits)


def run(row: dict, splits) -> dict:
    """Trains one adapter and scores it on validation rows."""
    from helpers.evaluation import evaluate
    from helpers.models import free

    profile = settings_of(row)
    trainer = trainer_of(profile, splits["train"], row)
    if trainer.args.packing:  # a row of the trainer's is several of the data's
        share = len(trainer.train_dataset) / len(splits["train"])
        trainer.args.max_steps = round(trainer.args.max_steps * share)
    start, work = time.perf_counter(), time.process_time()
    trainer.train()
    found = {"seconds": round(time.perf_counter() - start, 1)}
    found["cpu_seconds"] = round(time.process_time() - work, 1)
    found["threads"] = torch.get_num_threads()
    history = [log["loss"] for log in trainer.state.log_history if "loss" in log]
    some = splits["validation"].select(range(row["scored"]))
    report = evaluate(trainer.model, trainer.processing_class, some, 56)
    read = trainer.state.log_history[-2]["num_tokens"]
    found |= {"updates": trainer.state.global_step, "tokens": int(read)}
    found |= {"train_loss": round(sum(history[-10:]) / len(history[-10:]), 4)}
    found |= {name: round(share, 4) for name, share in report.metrics().items()}
    free(trainer)
    return found


def settings_of(row: dict) -> Profile:
    """The profile `small` as a setting changes it."""
    profile, changes = load_profile("small"), SETTINGS[row["setting"]]
    if row["setting"] == DEFAULTS:
        training = {key: profile.training_config[key] for key in KEPT}
        profile = replace(profile, training_config=training, peft_config={})
    training = profile.training_config | changes.get("training_config", {})
    size = training["per_device_train_batch_size"]
    size *= training["gradient_accumulation_steps"]
    training |= {"max_steps": row["rows_read"] // size, "logging_steps": 10}
    training |= {"seed": row["seed"], "data_seed": row["seed"], "disable_tqdm": True}
    training |= {"eval_strategy": "no", "save_strategy": "no", "report_to": "none"}
    adapter = profile.peft_config | changes.get("peft_config", {})
    return replace(profile, training_config=training, peft_config=adapter)


def trainer_of(profile: Profile, train, row: dict):
    """The SFTTrainer of a setting, its base as the profile loads it."""
    tokenizer = load_tokenizer(profile)
    if not SETTINGS[row["setting"]].get("template", {}).get("system", True):
        tokenizer.chat_template = without_system(tokenizer.chat_template)
    return make_trainer(profile, "lora", train, tokenizer=tokenizer)


def without_system(template: str) -> str:
    """SmolLM2's chat template without the system prompt that it puts in itself."""
    begin, end = template.index("{% if loop.first"), template.index("{% endif %}")
    return template[:begin] + template[end + len("{% endif %}") :]


if __name__ == "__main__":
    sys.exit(run_command("small benchmark", main))
