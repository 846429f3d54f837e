"""Rebuilds the shipped adapters: three runs of `helpers.finetune` on tiny-phi3.

    python -m data.recipes.adapters [--output data/checkpoints] [--work DIR]

tickets-lora       the house format, trained as the profile tiny says
tickets-lora-half  the same run, stopped early: clearly worse
items-lora         another task on the same messages: answer with the product alone

A few minutes on one CPU core. A run that was stopped goes on when the command is given
again. Each folder holds the adapter, its card, metrics.json and SHA256SUMS; the
tokenizer is the base's.
"""

import shutil
import sys
from pathlib import Path

import torch

from helpers import Parser, UserError, finetune, run_command
from helpers.files import CHECKPOINTS, ROOT, TICKETS, put_in_place, seal
from helpers.finetune import Settings, item_tickets

# What each run changes of the profile: its training_config.
ADAPTERS = {
    "tickets-lora": {},
    "tickets-lora-half": {"max_steps": 80},
    "items-lora": {"max_steps": 40},
}
KEPT = (
    *("adapter_model.safetensors", "adapter_config.json"),
    *("README.md", "metrics.json"),
)


def settings(name: str, work: Path) -> Settings:
    """The run of that adapter, in work/NAME."""
    return Settings(
        data=item_tickets(work / "items") if name == "items-lora" else TICKETS,
        output=work / name,
        profile="tiny",
        overrides={"training_config": ADAPTERS[name]},
        test=True,
        resume=True,
    )


def export(run: Path, folder: Path) -> Path:
    """Copies what is shipped of a run; the folder is never half-written."""
    part = folder.with_name(f"{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    for name in KEPT:
        shutil.copyfile(run / name, part / name)
    seal(part)
    return put_in_place(part)


def main(argv: list[str] | None = None) -> None:
    """Trains and exports each adapter. Raises UserError, with the adapter's name."""
    parser = Parser(
        "python -m data.recipes.adapters", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--output", type=Path, default=CHECKPOINTS)
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "adapters")
    args = parser.parse_args(argv)
    torch.set_num_threads(1)  # the order of sums, and so the weights, depend on it
    for name in ADAPTERS:
        try:
            finetune.run(settings(name, args.work))
            print("wrote", export(args.work / name, args.output / name))
        except (UserError, OSError) as error:
            raise UserError(f"{name}: {error}") from error


if __name__ == "__main__":
    sys.exit(run_command("adapters", main))
