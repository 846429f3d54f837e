"""Rebuild the shipped adapters: three runs of `helpers.finetune` on tiny-phi3.

    python -m helpers.adapters [--output data/checkpoints] [--work DIR]

tickets-lora       the house format, trained as the profile tiny says
tickets-lora-half  the same run, stopped early: clearly worse
items-lora         another task on the same messages: answer with the product alone

A few minutes on one CPU core. A run that was stopped goes on when the command is given
again. Each folder holds the adapter, its card, metrics.json and SHA256SUMS; the
tokenizer is the base's.
"""

import argparse
import json
import os
import shutil
import sys
from pathlib import Path

from data.recipes.checkpoint_export import put_in_place, seal
from helpers import finetune
from helpers.files import ROOT
from helpers.finetune import Settings

# What each run changes of the profile: its training_config.
ADAPTERS = {
    "tickets-lora": {},
    "tickets-lora-half": {"max_steps": 100},
    "items-lora": {"max_steps": 40},
}
KEPT = (
    *("adapter_model.safetensors", "adapter_config.json"),
    *("README.md", "metrics.json"),
)
TICKETS = ROOT / "data" / "tickets"


def settings(name: str, work: Path) -> Settings:
    """The run of that adapter, in work/NAME."""
    return Settings(
        data=item_tickets(work) if name == "items-lora" else TICKETS,
        output=work / name,
        profile="tiny",
        overrides={"training_config": ADAPTERS[name]},
        resume=True,
    )


def item_tickets(work: Path) -> Path:
    """Writes the tickets with the product alone as answer; returns their folder."""
    folder = work / "items"
    folder.mkdir(parents=True, exist_ok=True)
    for file in sorted(TICKETS.glob("*.jsonl")):
        rows = [json.loads(line) for line in file.read_text("utf-8").splitlines()]
        for row in rows:
            turn = row["messages"][-1]
            turn["content"] = json.loads(turn["content"])["item"]
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        part = folder / f"{file.name}.part"
        part.write_text(text, encoding="utf-8", newline="\n")
        os.replace(part, folder / file.name)
    return folder


def export(run: Path, folder: Path) -> Path:
    """Copies what is shipped of a run; the folder is never half-written."""
    part = folder.with_name(f"{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    for name in KEPT:
        shutil.copyfile(run / name, part / name)
    seal(part)
    return put_in_place(part)


def main(argv=None) -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m helpers.adapters", description=__doc__.splitlines()[0]
    )
    checkpoints, work = ROOT / "data" / "checkpoints", ROOT / "build" / "adapters"
    parser.add_argument("--output", type=Path, default=checkpoints)
    parser.add_argument("--work", type=Path, default=work)
    args = parser.parse_args(argv)
    import torch

    torch.set_num_threads(1)  # the order of sums, and so the weights, depend on it
    for name in ADAPTERS:
        try:
            finetune.run(settings(name, args.work))
            print("wrote", export(args.work / name, args.output / name))
        except (*finetune.MISTAKES, OSError) as error:
            print(f"adapters: {name}: {error}", file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
