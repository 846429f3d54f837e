"""How many tokens a second a training run reads, ours and as TRL does by itself.

Random weights of the true shape and the course's tickets, so that rows are as long as
in the lessons; the loop is SFTTrainer's. A row is a model, a method, the settings
("ours": the profile's; "stock TRL": SFTConfig's own), padded or packed.
"""

import gc
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import torch

from helpers.config import load_profile
from helpers.files import ROOT
from helpers.formatting import load_splits
from helpers.models import free, linear_shapes, load_tokenizer, train_in_float32
from tests.benchmarks.memory import random_base

WARM_UP, STEPS, SECONDS = 2, 12, 8.0  # updates before the clock, and at most on it
TICKETS = ROOT / "data" / "tickets"


class Counting:
    """A collator that counts its tokens: all, and those that are no padding."""

    def __init__(self, collator) -> None:
        self.collator, self.all, self.real = collator, 0, 0

    def __call__(self, rows: list) -> dict:
        batch = self.collator(rows)
        mask = batch.get("attention_mask")  # packed rows have none
        self.all += batch["input_ids"].numel()
        self.real += int(batch["input_ids"].numel() if mask is None else mask.sum())
        return batch


def settings(recipe: str, packing: bool, steps: int) -> dict:
    """The arguments of SFTConfig: the profile's, or none but what a measurement needs.

    Nothing is evaluated, saved or logged on the way.
    """
    profile = load_profile("gpu-80gb").training_config if recipe == "ours" else {}
    quiet = {"eval_strategy": "no", "save_strategy": "no", "report_to": "none"}
    quiet |= {"max_steps": steps, "logging_steps": steps, "disable_tqdm": True}
    here = {} if torch.cuda.is_available() else {"use_cpu": True, "bf16": False}
    return profile | quiet | here | {"packing": packing}


def clock(counts: Counting, seconds: float):
    """A callback that notes the time and the tokens after each update, and ends a run.

    Its `marks`: (seconds, tokens, tokens without padding).
    """
    from transformers import TrainerCallback

    class Clock(TrainerCallback):
        marks = []

        def on_step_end(self, args, state, control, **_) -> None:
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            self.marks.append((time.perf_counter(), counts.all, counts.real))
            begin = self.marks[min(WARM_UP, len(self.marks)) - 1]
            control.should_training_stop |= self.marks[-1][0] - begin[0] > seconds

    return Clock()


def speed(model, rows, tokenizer, config: dict, seconds: float = SECONDS) -> dict:
    """Tokens a second without padding, the padded share, and the peak of a run.

    model: a base, which gets an adapter. The first updates are not counted.
    """
    from peft import LoraConfig
    from trl import SFTConfig, SFTTrainer

    with tempfile.TemporaryDirectory() as folder:
        trainer = SFTTrainer(
            model=model,
            args=SFTConfig(**config | {"output_dir": folder}),
            train_dataset=rows,
            processing_class=tokenizer,
            peft_config=LoraConfig(**load_profile("gpu-80gb").peft_config),
        )
        train_in_float32(trainer.model)
        trainer.data_collator = counts = Counting(trainer.data_collator)
        trainer.add_callback(ticks := clock(counts, seconds))
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()
        try:
            trainer.train()
        finally:
            args = trainer.args
            free(trainer)
    (start, all0, real0), *_, (end, all1, real1) = ticks.marks[WARM_UP - 1 :]
    found = {"tokens_per_second": round((real1 - real0) / (end - start), 1)}
    found["padding"] = round(1 - (real1 - real0) / (all1 - all0), 4)
    found["rows_an_update"] = args.per_device_train_batch_size
    found["rows_an_update"] *= args.gradient_accumulation_steps
    found["updates_measured"] = len(ticks.marks) - WARM_UP
    if torch.cuda.is_available():
        found["peak_gib"] = round(torch.cuda.max_memory_allocated() / 2**30, 2)
    return found


def measure(config, rows: list[dict], peak: float, steps: int = STEPS) -> Iterator:
    """What was found of each row; all are of one model.

    config: its configuration; peak: FLOP a second of the device's bf16.
    share_of_peak: of 4 FLOP a parameter and token (LoRA computes no gradients of
    weights), the layers' alone; what checkpointing computes twice does not count.
    """
    tokenizer = load_tokenizer(load_profile("tiny"))
    train = load_splits(Path(TICKETS))["train"]
    device = "cuda" if torch.cuda.is_available() else "cpu"
    for row in rows:
        gc.collect()
        model = random_base(config, row["method"], device=device)
        work = 4 * sum(a * b for a, b in linear_shapes(model).values())
        config_of = settings(row["settings"], row["packing"], WARM_UP + steps)
        found = speed(model, train, tokenizer, config_of)
        share = found["tokens_per_second"] * work / peak
        yield found | {"share_of_peak": round(share, 4)}
