"""What pairs, loss and rate do to DPO, and a rate to GRPO: cells of lesson 10.

    python -m tests.benchmarks.preferences [--output data/results]

Trains the lesson's start with each row's settings, the lesson's others, and asks
validation messages where the lesson asks test messages. Rates are shares of the
profile's. Writes preferences.tiny.MACHINE.json, and beside it preferences_control with
GRPO whose marks are a coin's, row by row; one that is there is not measured again.
"""

import random
import sys
from collections.abc import Iterator

import torch
from transformers import TrainerCallback

from helpers import evaluation, run_command
from helpers.files import ROOT
from helpers.sweep import Budget, Part, measure
from tests.benchmarks import flags
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
EVERY, LAST = 20, 120  # updates of GRPO between two looks, and in all
LOOKS = [(share, n) for share in (0.2, 0.4) for n in range(0, LAST + 1, EVERY)]
ROWS += [{"method": "grpo", "rate": share, "update": n} for share, n in LOOKS]
COIN = "grpo, marks by a coin"  # the control: the same updates, and nothing to learn
TOSSED = [r | {"method": COIN} for r in ROWS if r["method"] == "grpo"]
TOSSED = [row for row in TOSSED if row["rate"] == 0.4]


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
    reinforced = {}
    for row in rows:
        if row["method"] == "dpo":
            yield align(lesson, row)
        else:
            key = row["rate"], row["method"] == COIN
            if key not in reinforced:
                reinforced[key] = reinforce(lesson, *key)
            yield reinforced[key][row["update"]]


def gained(report, start) -> dict:
    """Exact match, and its difference to the start with its interval."""
    gain = evaluation.paired_difference(report, start)
    found = {"exact_match": report.exact_match, "difference": gain.value}
    found |= {"difference_low": gain.low, "difference_high": gain.high}
    return found | {"rows": report.n, "start": start.exact_match}


def align(lesson: dict, row: dict) -> dict:
    """Margin and moves of the held-out pairs, and what the model says, after DPO."""
    changed = {"learning_rate": row["rate"] * full_rate(lesson)}
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
    found |= {"trained": len(pairs), "held_out": len(chosen)}
    return found | gained(run.report, lesson["before"])


def full_rate(lesson: dict) -> float:
    """The rate of the profile's SFT."""
    return lesson["profile"].training_config["learning_rate"]


def drawn_twice(lesson: dict, model) -> evaluation.Report:
    """The report of two answers to each message, as GRPO draws them."""
    torch.manual_seed(0)
    twice = lesson["test"].select([*range(len(lesson["test"]))] * 2)
    expected = [row["completion"][-1]["content"] for row in twice]
    answers = lesson["draw"](model, twice, temperature=0.7)
    return evaluation.score(expected, answers, scorer=lesson["marks"])


class Looks(TrainerCallback):
    """Asks the model every so many updates; found is {update: what it says}."""

    def __init__(self, lesson: dict) -> None:
        self.lesson, self.found, self.first = lesson, {}, None

    def look(self, model, update: int) -> None:
        """Answers of each validation message, drawn twice and greedy."""
        drawn, greedy = drawn_twice(self.lesson, model), self.lesson["ask"](model)
        self.first = self.first or (drawn, greedy)
        pairs = {"drawn": (drawn, self.first[0]), "greedy": (greedy, self.first[1])}
        self.found[update] = {n: gained(*reports) for n, reports in pairs.items()}

    def on_train_begin(self, args, state, control, model=None, **_) -> None:
        self.look(model, 0)

    def on_step_end(self, args, state, control, model=None, **_) -> None:
        if state.global_step % EVERY == 0:
            self.look(model, state.global_step)


def reinforce(lesson: dict, share: float, by_coin: bool) -> dict[int, dict]:
    """What GRPO does by update: exact match, drawn and greedy, and KL."""
    coin = random.Random(0)

    def toss(completions, **_):
        return [float(coin.random() < 0.5) for _ in completions]

    changed = {"learning_rate": share * full_rate(lesson), "max_steps": LAST}
    reward = toss if by_coin else lesson["reward"]
    trainer, looks = lesson["grpo"](reward, **changed), Looks(lesson)
    trainer.add_callback(looks)
    trainer.train()
    kl = [e["kl"] for e in trainer.state.log_history if "kl" in e]
    trainer.model.unload()
    means = {n: sum(kl[max(0, n - EVERY) : n]) / EVERY for n in looks.found}
    return {n: found | {"kl": means[n]} for n, found in looks.found.items()}


def main(argv: list[str] | None = None) -> int:
    """Measures what is missing; 1 where rows are left."""
    parser = flags.parser(__doc__)
    options = parser.parse_args(argv)
    files = {"preferences.tiny": ROWS, "preferences_control.tiny": TOSSED}
    parts = [Part(name, rows, preferences, seconds=60) for name, rows in files.items()]
    return 1 if measure(parts, options.output, Budget(120)) else 0


if __name__ == "__main__":
    sys.exit(run_command("preferences", main))
