"""How fast SmolLM2 learns here: as TRL trains it, and as the profile `small` does.

    python -m tests.benchmarks.small_speed [--threads 1 2] [--output data/results]

Same model, rows and machine, in turn, in one run; a row a number of threads, on cores
that have nothing else to do. The limit is a product of two large matrices in the dtype
of the training; the share of it counts the operations that an update really computes.
"""

import statistics
import sys
import tempfile
import time
from collections.abc import Iterator

import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import TrainerCallback

from helpers import run_command
from helpers.config import load_profile
from helpers.files import ROOT
from helpers.formatting import load_splits
from helpers.models import fetch_small_model, free, load_model, load_tokenizer, quiet
from helpers.sweep import rows
from helpers.sweep.rows import Budget, Part
from tests.benchmarks import flags, small

ROWS, ROUNDS, WIDTH = 48, 3, 2048  # training rows of a turn
# Each in place of the profile: what is compared.
WAYS = {
    "profile small": {},
    "the same settings, TRL's own way": {"stock": True},
    small.DEFAULTS: {"stock": True, "defaults": True},
}


def main(argv: list[str] | None = None) -> int:
    """Measures what is missing; the exit code."""
    parser = flags.parser(__doc__)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    args = parser.parse_args(argv)
    quiet()
    fetch_small_model()
    grid = [{"threads": count, "training_rows": ROWS} for count in args.threads]
    part = Part("small_speed", grid, measure, seconds=600)
    return 1 if rows.measure([part], args.output, Budget(120)) else 0


def measure(grid: list[dict]) -> Iterator[dict]:
    """What was found of each row."""
    for row in grid:
        torch.set_num_threads(row["threads"])
        yield compare()


def compare() -> dict:
    """Updates and rows a second by way, the median of several turns, and the limit."""
    found = {"limit_gflops": round(limit() / 1e9, 1)}
    turns = [{name: turn(**way) for name, way in WAYS.items()} for _ in range(ROUNDS)]
    for name, way in WAYS.items():
        times = [one[name] for one in turns]
        mean = {key: statistics.median(t[key] for t in times) for key in times[0]}
        mean["gflops"] = operations(**way) / mean["seconds_an_update"] / 1e9
        mean["share_of_limit"] = mean["gflops"] / found["limit_gflops"]
        found[name] = {key: round(value, 3) for key, value in mean.items()}
    ours = found["profile small"]["rows_per_second"]
    found["times_as_fast"] = {
        name: round(ours / found[name]["rows_per_second"], 2) for name in WAYS
    }
    return found


def limit() -> float:
    """FLOP a second of a large product in the profile's dtype."""
    dtype = getattr(torch, load_profile("small").dtype)
    square = torch.rand(WIDTH, WIDTH).to(dtype)
    times = []
    for _ in range(8):
        start = time.perf_counter()
        square @ square
        times.append(time.perf_counter() - start)
    return 2 * WIDTH**3 / min(times)


def turn(stock: bool = False, defaults: bool = False) -> dict[str, float]:
    """One short training run: the median seconds of an update, rows a second."""
    trainer = trainer_of(stock, defaults)
    clock = Clock()
    trainer.add_callback(clock)
    trainer.train()
    seconds = statistics.median(clock.seconds[1:])  # the first one warms up
    size = trainer.args.per_device_train_batch_size
    free(trainer)
    return {"seconds_an_update": seconds, "rows_per_second": size / seconds}


def operations(stock: bool = False, defaults: bool = False) -> float:
    """The FLOP of all matrix products of an update, recomputed ones too."""
    trainer = trainer_of(stock, defaults)
    with FlopCounterMode(display=False) as counter:
        trainer.train()
    count = counter.get_total_flops() / trainer.state.global_step
    free(trainer)
    return count


class Clock(TrainerCallback):
    """The seconds of every update."""

    def on_train_begin(self, args, state, control, **kwargs) -> None:
        self.seconds, self.last = [], time.perf_counter()

    def on_step_end(self, args, state, control, **kwargs) -> None:
        now = time.perf_counter()
        self.seconds.append(now - self.last)
        self.last = now


def trainer_of(stock: bool, defaults: bool):
    """The SFTTrainer of a way; stock: sdpa and TRL's own head."""
    from peft import LoraConfig
    from transformers import set_seed
    from trl import SFTConfig, SFTTrainer

    from helpers.models import train_fast_on_cpu

    profile = load_profile("small")
    training = dict(profile.training_config)
    if defaults:
        training = {key: training[key] for key in small.KEPT}
    size = training.get("per_device_train_batch_size", 8)  # TRL's default
    training |= {"max_steps": ROWS // size, "disable_tqdm": True}
    training |= {"report_to": "none"}
    training |= {"eval_strategy": "no", "save_strategy": "no"}
    training["logging_strategy"] = "no"
    adapter = {"task_type": "CAUSAL_LM"} if defaults else profile.peft_config
    set_seed(0)
    model = load_model(profile)
    if stock:
        model.set_attn_implementation("sdpa")
    with tempfile.TemporaryDirectory() as folder:
        trainer = SFTTrainer(
            model=model,
            args=SFTConfig(**training | {"output_dir": folder}),
            train_dataset=load_splits(ROOT / "data" / "tickets")["train"],
            processing_class=load_tokenizer(profile),
            peft_config=LoraConfig(**adapter),
        )
    if not stock:
        train_fast_on_cpu(trainer)
    return trainer


if __name__ == "__main__":
    sys.exit(run_command("small speed", main))
