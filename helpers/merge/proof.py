"""Whether a merged model is the one that was trained: asked in a new process."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from safetensors import safe_open

from helpers import UserError
from helpers.files import write_json

# Of the adapter's own effect on the logits, on average: what rounding may take of it.
MOST_LOST = 0.25  # bf16 takes 0.01 to 0.15, NF4 0.6 and more
SAME = 1e-4  # of the largest logit: what another order of sums takes in float32


class MergeError(UserError):
    """A merge that is refused, or whose proof failed. One line, with the remedy."""


def ask(folder: Path, asked: dict, device: str) -> dict:
    """What a new process finds in the folder. Raises MergeError with its last line."""
    beside = {"prefix": f"{folder.name}.", "suffix": ".proof", "dir": folder.parent}
    with tempfile.TemporaryDirectory(**beside) as work:
        files = [os.path.join(work, n) for n in ("request.json", "result.safetensors")]
        write_json(files[0], asked)
        fresh = [sys.executable, str(Path(__file__).with_name("fresh.py")), str(folder)]
        done = subprocess.run(
            [*fresh, *files, device],
            cwd=work,
            env=os.environ | {"HF_HUB_OFFLINE": "1", "PYTHONPATH": ""},
            capture_output=True,
            text=True,
        )
        if done.returncode:
            why = (done.stderr.strip() or "killed").rpartition("\n")[2]
            raise MergeError(f"a new process cannot use what was merged: {why}")
        with safe_open(files[1], "pt") as result:
            # Copies: on Windows a file that is still mapped cannot be removed.
            names = map(str, range(len(asked["rows"])))
            logits = [result.get_tensor(name).clone() for name in names]
            return {
                "logits": logits,
                "answers": json.loads(result.metadata()["answers"]),
            }


def compare(wanted: dict, found: dict) -> dict:
    """How far the merged model is from base and adapter, in logits and in answers."""
    pairs = list(zip(wanted["tuned"], found["logits"], strict=True))
    if any(a.shape != b.shape for a, b in pairs):
        raise MergeError("the merged model reads other tokens: its tokenizer differs")
    gap = torch.cat([(a - b).abs().flatten() for a, b in pairs])
    both = zip(wanted["tuned"], wanted["base"], strict=True)
    effect = torch.cat([(a - b).abs().flatten() for a, b in both])
    same = [a == b for a, b in zip(wanted["answers"], found["answers"], strict=True)]
    return {
        "largest_difference": gap.max().item(),
        "largest_logit": max(a.abs().max().item() for a, _ in pairs),
        "share_of_the_effect": (gap.mean() / effect.mean()).item(),
        "equal_answers": sum(same),
        "answers": len(same),
    }


def check(proof: dict) -> None:
    """Raises MergeError where the merged model is not the one that was trained."""
    exact = proof["dtype"] == proof["trained_in"] == "float32"
    near = proof["largest_difference"] <= SAME * proof["largest_logit"]
    same = near and proof["equal_answers"] == proof["answers"]
    if not (same if exact else proof["share_of_the_effect"] <= MOST_LOST):
        what = f"the merged model is another one, nothing was written: {figures(proof)}"
        raise MergeError(what + ("" if exact else ": give a wider --dtype"))


def figures(proof: dict) -> str:
    """The measured distance in words."""
    return (
        f"logits differ by {proof['largest_difference']:.1e} at most (of "
        f"{proof['largest_logit']:.1f}), on average {proof['share_of_the_effect']:.1%} "
        f"of what the adapter changes; {proof['equal_answers']} of {proof['answers']} "
        "answers are equal"
    )


def summary(proof: dict) -> str:
    """What the command prints."""
    base = proof["base"]
    return (
        f"merged {proof['adapter']} into {base['model']}, trained in "
        f"{proof['trained_in']}, written in {proof['dtype']}\n"
        f"a new process: {figures(proof)}\n"
        f"the base is untouched, fingerprint {base['fingerprint'][:8]} before and after"
    )
