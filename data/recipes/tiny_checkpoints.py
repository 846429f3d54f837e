"""Rebuilds the shipped checkpoints: pretrain tiny-llama, lay it out again as tiny-phi3.

    python -m data.recipes.tiny_checkpoints [--output data/checkpoints] [--work DIR]

One process, one thread, one seed, a good hour of one CPU core. The run saves its state
every 250 steps in DIR (default: build/pretraining) and goes on from there when it is
started again, so it may be killed at any moment; with a finished state it only exports.
The result is two folders: weights in bf16 safetensors, tokenizer, model card
(README.md), recipe.json (settings, loss curve, digests) and SHA256SUMS.
"""

import sys
import time
from dataclasses import asdict
from pathlib import Path

import torch
from tqdm import trange
from transformers.utils.logging import disable_progress_bar

from data.recipes.checkpoint_export import export
from data.recipes.pretraining import (
    Recipe,
    build_tokenizer,
    make_batch,
    make_optimizers,
    new_model,
    train_step,
)
from helpers import Parser, UserError, run_command
from helpers.files import CHECKPOINTS, ROOT, whole

SAVE_EVERY = 250  # steps
REMEDY = "move it away to start again, or give another --work folder"


class StateError(UserError):
    """A saved state that this run cannot go on from. One line, with the remedy."""


def pretrain(recipe: Recipe, work: Path, steps: int | None = None) -> tuple:
    """Trains up to `steps` (default: the recipe's), from the state in `work` if any.

    Returns (model, log); log: {"losses": [loss of each step], "seconds": float}.
    Raises StateError where work/state.pt is damaged or of another recipe.
    """
    state_file, last = work / "state.pt", steps or recipe.steps
    state = load_state(state_file, recipe)  # first, so that its error comes at once
    tokenizer, model = build_tokenizer(recipe), new_model(recipe)
    optimizers, log = make_optimizers(model, recipe), {"losses": [], "seconds": 0.0}
    if state:
        model.load_state_dict(state["model"])
        for optimizer, saved in zip(optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        log = state["log"]
    first, began = len(log["losses"]), time.monotonic() - log["seconds"]
    bar = trange(first, last, initial=first, total=last, unit="step", mininterval=10)
    for step in bar:
        ids = make_batch(tokenizer, recipe, step)
        log["losses"].append(train_step(model, optimizers, recipe, ids, step))
        bar.set_postfix(loss=f"{log['losses'][-1]:.3f}", refresh=False)
        if (step + 1) % SAVE_EVERY == 0 or step + 1 == last:
            log["seconds"] = time.monotonic() - began
            save_state(state_file, recipe, model, optimizers, log)
    return model, log


def save_state(file: Path, recipe: Recipe, model, optimizers: list, log: dict) -> None:
    """Writes all that the next step needs. The file appears whole or not at all."""
    state = {"recipe": asdict(recipe), "model": model.state_dict(), "log": log}
    state["optimizers"] = [optimizer.state_dict() for optimizer in optimizers]
    with whole(file, "wb") as stream:
        torch.save(state, stream)


def load_state(file: Path, recipe: Recipe) -> dict | None:
    """The state that `save_state` wrote, None where there is no file.

    Raises StateError for a damaged file and for the state of another recipe.
    """
    if not file.exists():
        return None
    try:
        state = torch.load(file, weights_only=True)
        saved = dict(state["recipe"])
        complete = {"model", "optimizers", "log"} <= state.keys()
    except Exception as error:  # zip, pickle and key errors have no common class
        raise StateError(f"{file} is damaged or no saved state: {REMEDY}") from error
    if not complete:
        raise StateError(f"{file} lacks a part of the state: {REMEDY}")
    if saved != asdict(recipe):
        other = [k for k, v in asdict(recipe).items() if saved.get(k) != v]
        what = f"another recipe (different: {', '.join(other) or 'its settings'})"
        raise StateError(f"{file} belongs to {what}: {REMEDY}")
    return state


def main(argv: list[str] | None = None) -> None:
    """Pretrains and exports. Raises UserError where state or folders are unusable."""
    parser = Parser(
        "python -m data.recipes.tiny_checkpoints",
        description=__doc__.splitlines()[0],
    )
    add, at = parser.add_argument, "default: %(default)s"
    work = ROOT / "build" / "pretraining"
    add("--output", type=Path, default=CHECKPOINTS, help=f"for both folders; {at}")
    add("--work", type=Path, default=work, help=f"where the state is kept; {at}")
    args = parser.parse_args(argv)
    disable_progress_bar()  # of saving a file of 4 MB
    torch.set_num_threads(1)  # the order of sums, and so the weights, depend on it
    recipe = Recipe()
    try:
        for folder in (args.work, args.output):  # before an hour of work, not after
            folder.mkdir(parents=True, exist_ok=True)
        model, log = pretrain(recipe, args.work)
        print("wrote", *export(recipe, model, log, args.output))
    except OSError as error:
        raise UserError(str(error)) from error


if __name__ == "__main__":
    sys.exit(run_command("tiny_checkpoints", main))
