"""What to measure on the day a GPU is there, the most important first: one command.

    python -m tests.benchmarks.gpu [--minutes 8] [--output data/results]

All lessons with the profile `tiny` on the GPU; then, with random weights of the true
shapes of Phi-3-mini and Qwen3-8B: training (`training`), decoding (`decoding`) and
memory beside what `helpers.memory` predicts (`memory`). It is sized for a card of
80 GB: on a smaller one some rows end with an error, which is kept. Every row is written
at once, and no row is measured that is there: run it again for what did not fit into
the time.
Exit codes: 0 all is measured, 1 rows are left, 2 no GPU.
"""

import json
import os
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

import torch

from helpers import UserError, run_command
from helpers.config import probe_device
from helpers.course import ledger
from helpers.environment import use_one_gpu
from helpers.files import ROOT
from helpers.models import CONFIGS, quiet
from helpers.sweep import rows
from helpers.sweep.rows import Budget, Part
from tests.benchmarks import flags

BATCHES = [1, 8, 32, 128]
PROMPT, NEW = 128, 32
LESSONS_SECONDS = 200  # of all of them, side by side


def main(argv: list[str] | None = None) -> int:
    """Measures what is missing; the exit code. Raises UserError without a GPU."""
    parser = flags.parser(__doc__)
    parser.add_argument("--minutes", type=float, default=8.0)
    args = parser.parse_args(argv)
    budget = Budget(args.minutes)
    use_one_gpu()
    if probe_device().kind != "cuda":
        raise UserError("no CUDA GPU is here, and what this measures needs one")
    quiet()
    left = lessons(args.output, budget)
    left += rows.measure(plan(), args.output, budget)
    print(f"{left} rows are left: run it again" if left else "all is measured")
    return 1 if left else 0


def lessons(folder: Path, budget: Budget, run=subprocess.run) -> int:
    """Runs all lessons on `tiny` side by side, into the ledger; how many are left."""
    here = ledger.machine()["name"]
    stems = sorted(path.stem for path in (ROOT / "notebooks").glob("[0-9][0-9]_*"))
    stems = [s for s in stems if not (folder / f"{s}.tiny.{here}.json").exists()]
    if not stems or budget.left < LESSONS_SECONDS:
        return len(stems)
    with tempfile.TemporaryDirectory() as build:
        jobs = str(min(len(stems), os.cpu_count() or 1))
        command = [sys.executable, "-m", "helpers.course", "--end-with-parent"]
        command += ["--jobs", jobs, "--output", build, *stems]
        try:
            run(command, cwd=ROOT, timeout=budget.left)
        except subprocess.TimeoutExpired:
            print("the lessons took all of the time", flush=True)
        table = Path(build) / "course.json"
        done = json.loads(table.read_text(encoding="utf-8")) if table.exists() else []
    ledger.store(done, folder)
    return len(stems) - len(done)


def plan() -> list[Part]:
    """Every part, the most important first."""
    from tests.benchmarks import decoding, memory

    small, large = "Phi-3-mini", "Qwen3-8B"
    memory_of = {name: [] for name in (small, large)}
    for part in memory.grid("cuda", batch=2):
        memory_of[part.rows[0]["model"]].append(part)
    decoding_of = {
        name: decoding.grid(name, shape(name), "cuda", BATCHES, PROMPT, NEW)
        for name in (small, large)
    }
    return [
        training_part(small, "lora"),
        *decoding_of[small],
        *memory_of[small],
        training_part(large, "qlora"),
        *memory_of[large],
        *decoding_of[large],
        training_part(large, "lora"),
        training_part(small, "qlora"),
    ]


def training_part(name: str, method: str) -> Part:
    """The training rows of a model and method: ours, and TRL's as they come."""
    from tests.benchmarks import training

    same = {"model": name, "method": method}
    found = [
        same | {"settings": settings, "packing": packing}
        for settings in ("ours", "stock TRL")
        for packing in (False, True)
    ]
    peak = bf16_peak()
    take = partial(training.measure, shape(name), peak=peak)
    about = {"bf16_peak_tflops": round(peak / 1e12, 1)}
    return Part("training", found, take, seconds=20, first=10, about=about)


def shape(name: str):
    """The configuration of a model of that shape."""
    from transformers import AutoConfig

    return AutoConfig.for_model(**CONFIGS[name])


def bf16_peak(width: int | None = None) -> float:
    """FLOP a second of a large matrix product in bf16: the best of some."""
    from tests.benchmarks.decoding import seconds

    device = "cuda" if torch.cuda.is_available() else "cpu"
    width = width or (8192 if device == "cuda" else 512)
    square = torch.randn(width, width, dtype=torch.bfloat16, device=device)
    return 2 * width**3 / min(seconds(lambda: square @ square) for _ in range(10))


if __name__ == "__main__":
    sys.exit(run_command("gpu benchmark", main))
