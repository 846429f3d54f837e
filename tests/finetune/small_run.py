"""A small training run for the tests of helpers.finetune: few rows, 8 updates."""

import csv
import json
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import yaml

from helpers import run_command
from helpers.files import ROOT
from helpers.finetune.__main__ import main

finetune = partial(run_command, "finetune", main)
STEPS = {"max_steps": 8, "save_steps": 2, "eval_steps": 4, "logging_steps": 1}
DROPOUT = {"lora_dropout": 0.1}  # so that the state of the random generators matters
OVERRIDES = {"training_config": STEPS, "peft_config": DROPOUT}
# What does not depend on the machine, nor on how often a run was stopped.
SAME = ("before", "after", "steps", "best_step", "epochs", "tokens", "history", "base")


def write_tickets(folder: Path, rows: int = 60) -> Path:
    """The first training tickets as one file, to be split."""
    path = ROOT / "data" / "tickets" / "train.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines()[:rows]
    return written(folder / "tickets.jsonl", "\n".join(lines) + "\n")


def write_splits(folder: Path) -> Path:
    """The first tickets of each split; the folder."""
    for name, rows in {"train": 40, "validation": 4, "test": 4}.items():
        path = ROOT / "data" / "tickets" / f"{name}.jsonl"
        lines = path.read_text(encoding="utf-8").splitlines()[:rows]
        written(folder / path.name, "\n".join(lines) + "\n")
    return folder


def write_prices(folder: Path, rows: int = 50) -> Path:
    """Another task, as CSV: the product and the price of a sentence."""
    colours = ("red", "blue", "green", "black", "white")
    items = ("tablet", "kettle", "jacket", "camera", "lamp", "chair", "phone")
    path = folder / "prices.csv"
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["prompt", "completion"])
        for row in range(rows):
            item, price = items[row % len(items)], 13 + 7 * row
            text = f"The {colours[row % len(colours)]} {item} costs {price} euros."
            writer.writerow([text, f"{item}, {price}"])
    return path


def write_config(folder: Path, **sections) -> Path:
    """A --config file."""
    return written(folder / "config.yaml", yaml.safe_dump(sections))


def written(path: Path, text: str) -> Path:
    """The path, its file written."""
    path.write_text(text, encoding="utf-8")
    return path


def arguments(data, output, config, *more) -> list[str]:
    """The command line of a small run on the tiny profile."""
    rows = ["--test", "--test-rows", "6", "--validation-rows", "6"]
    paths = ["--data", str(data), "--output", str(output), "--config", str(config)]
    return ["--profile", "tiny", *paths, *rows, *more]


WRITERS = {"tickets.jsonl": write_tickets, "prices.csv": write_prices}


@dataclass(frozen=True)
class SmallRun:
    """A complete run in `done`, its data and its configuration.

    more: its flags. file: of WRITERS; prices take half the time of tickets.
    """

    folder: Path
    more: tuple[str, ...] = ()
    file: str = "tickets.jsonl"

    @property
    def data(self) -> Path:
        return self.folder / self.file

    @property
    def config(self) -> Path:
        return self.folder / "config.yaml"

    @property
    def done(self) -> Path:
        return self.folder / "done"

    def call(self, output: Path, *more: str) -> list[str]:
        """The command line of the same run into another folder."""
        return arguments(self.data, output, self.config, *self.more, *more)

    def make(self, folder: Path) -> None:
        """Runs it, in its own folder."""
        WRITERS[self.file](folder)
        write_config(folder, **OVERRIDES)
        assert finetune(self.call(self.done)) == 0


def metrics(folder: Path) -> dict:
    """metrics.json of a run."""
    return json.loads((folder / "metrics.json").read_text(encoding="utf-8"))


def same_part(folder: Path) -> dict:
    """What of metrics.json must be the same again."""
    return {key: metrics(folder)[key] for key in SAME}
