"""What pairs, loss and rate do to DPO, and a rate to GRPO: cells of lesson 10.

    python -m tests.benchmarks.preferences [--output data/results]

Trains the lesson's start with each row's settings, the lesson's others, and asks
validation messages where the lesson asks test messages. Rates are shares of the
profile's. Writes preferences.tiny.MACHINE.json, row by row; one that is there is not
measured again.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

from helpers import evaluation, run_command
from helpers.course.ledger import RESULTS
from helpers.files import ROOT
from helpers.sweep import Budget, Part, measure
from tests.house import gates

LESSON = ROOT / "notebooks" / "10_align_with_preferences.ipynb"
FIRST = ("imports", "start", "marks")
REST = ("before", "draw", "pairs-of", "pairs", "settings", "reference", "merge")
REST += ("log-probs", "measure", "reward", "grpo-settings", "grpo")
LOSSES = {
    "DPO": {},
    "DPO + SFT": {"loss_type": ["sigmoid", "sft"], "loss_weights": [1.0, 2.0]},
    "SFT": {"loss_type": ["sft"], "loss_weights": [2.0]},
}
TRIED = [
    *(("drawn", "DPO", share) for share in (0.2, 0.4, 0.8)),
    ("greedy", "DPO", 0.4),
    ("drawn", "DPO + SFT", 0.8),
    ("drawn", "SFT", 0.4),
]
ROWS = [
    {"method": "dpo", "pairs": pairs, "loss": loss, "rate": share}
    for pairs, loss, share in TRIED
]
REINFORCED = [(16, 20, 0.4), (64, 10, 0.4), (64, 10, 0.8)]
ROWS += [
    {"method": "grpo", "answers": answers, "updates": updates, "rate": share}
    for answers, updates, share in REINFORCED
]


def space() -> dict:
    """The names that the lesson's cells bind, with validation messages as its test."""
    sources = {c.id: c.source for _, c in gates.cells(LESSON, "code")}
    names = {"__name__": "__main__"}
    exec(f"import os\nfrom pathlib import Path\n{sources['parameters']}", names)
    names["PROFILE"] = "tiny"
    for cell in FIRST:
        exec(sources[cell], names)
    names["test"] = names["splits"]["validation"]
    for cell in REST:
        exec(sources[cell], names)
    names["trainer"].model.unload()  # the lesson trains this one
    return names


def preferences(rows: list[dict]) -> Iterator[dict]:
    """Yields what each row's run did to held-out pairs, and to the answers."""
    lesson = space()
    full = lesson["profile"].training_config["learning_rate"]
    start = lesson["before"]
    for row in rows:
        changed = {"learning_rate": row["rate"] * full}
        train = align if row["method"] == "dpo" else reinforce
        found, report = train(lesson, row, changed)
        gain = evaluation.paired_difference(report, start)
        found |= {"exact_match": report.exact_match, "difference": gain.value}
        found |= {"difference_low": gain.low, "difference_high": gain.high}
        yield found | {"rows": report.n, "start": start.exact_match}


def align(lesson: dict, row: dict, changed: dict) -> tuple[dict, object]:
    """(margin and moves of the held-out pairs, the report) after DPO."""
    pairs, mined, sft = (lesson[name] for name in ("pairs", "mined", "sft"))
    if row["pairs"] == "greedy":
        prompts = list(mined["prompt"])
        told = evaluation.generate(sft, lesson["tokenizer"], prompts, 56)
        pairs = lesson["pairs_of"](mined, told)
    trainer = lesson["dpo"](
        sft, pairs, lesson["lora"], **changed, **LOSSES[row["loss"]]
    )
    trainer.train()
    run = lesson["measure"](trainer)
    chosen, rejected = run.moves
    low, high = evaluation.bootstrap_interval(chosen - rejected)
    found = {"margin": float((chosen - rejected).mean()), "low": low, "high": high}
    found |= {"chosen": float(chosen.mean()), "rejected": float(rejected.mean())}
    return found | {"trained": len(pairs), "held_out": len(chosen)}, run.report


def reinforce(lesson: dict, row: dict, changed: dict) -> tuple[dict, object]:
    """(the mean mark and the KL at the end, the report) after GRPO."""
    steps = row["answers"] // lesson["grpo_config"]["per_device_train_batch_size"]
    changed |= {"gradient_accumulation_steps": steps, "max_steps": row["updates"]}
    changed |= {"eval_strategy": "no", "eval_on_start": False}
    trainer = lesson["grpo"](lesson["reward"], **changed)
    trainer.train()
    kl = [e["kl"] for e in trainer.state.log_history if "kl" in e][-1]
    report = lesson["ask"](trainer.model)
    trainer.model.unload()
    return {"score": report.field_accuracy["score"], "kl": kl}, report


def main(argv: list[str] | None = None) -> None:
    """Measures what is missing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=RESULTS, help="a folder")
    options = parser.parse_args(argv)
    part = Part("preferences.tiny", ROWS, preferences, seconds=60)
    measure([part], options.output, Budget(120))


if __name__ == "__main__":
    sys.exit(run_command("preferences", main))
