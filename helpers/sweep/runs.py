"""One row of a sweep: an adapter trained with SFTTrainer, scored on validation rows."""

import statistics
import tempfile
import time
from functools import cache

import torch
from datasets import disable_progress_bars
from peft import LoraConfig
from peft.optimizers import create_loraplus_optimizer
from safetensors import safe_open
from transformers import PrinterCallback, TrainerCallback, set_seed
from trl import SFTConfig, SFTTrainer

from helpers.config import Profile
from helpers.evaluation import answer_loss, evaluate
from helpers.files import ROOT
from helpers.formatting import load_splits
from helpers.models import (
    free,
    load_model,
    load_tokenizer,
    quiet,
    score_trained_positions,
    train_in_float32,
)
from helpers.sweep.grids import profile_of

PROBE = 16  # updates that tell how long one takes
ANSWER = 56  # tokens of an answer at most
# What PEFT is told of a method; "lora+" is an optimiser, "loftq" a start.
METHODS = {
    "rslora": {"use_rslora": True},  # alpha / sqrt(r) for alpha / r (arXiv 2312.03732)
    "dora": {"use_dora": True},  # a length and a direction (arXiv 2402.09353)
    "pissa": {"init_lora_weights": "pissa"},  # A, B: the SVD's head (arXiv 2404.02948)
}
IN_4_BIT = ("qlora", "loftq")


class Watch(TrainerCallback):
    """Notes the CPU time of each update, and what `look()` sees every so many."""

    def __init__(self, every: int, look) -> None:
        self.every, self.look, self.seconds, self.curve = every, look, [], []

    def on_step_begin(self, args, state, control, **_) -> None:
        self.start = time.process_time()

    def on_step_end(self, args, state, control, **_) -> None:
        self.seconds.append(time.process_time() - self.start)
        if self.every and state.global_step % self.every == 0:
            self.curve.append({"updates": state.global_step} | self.look())


@cache
def tickets():
    """The splits of the course's data."""
    return load_splits(ROOT / "data" / "tickets")


def answer(row: dict, profile: str) -> dict:
    """What was found of a row: scores on validation rows, CPU seconds."""
    quiet()
    disable_progress_bars()
    train = tickets()["train"]
    train = train.select(range(row.get("train_rows", len(train))))
    if "cpu_budget" in row:
        probe = make_trainer(row | {"updates": PROBE}, profile, train)
        probe.add_callback(watch := Watch(0, None))
        probe.train()
        free(probe)
        updates = row["cpu_budget"] / statistics.median(watch.seconds)
        row = row | {"updates": max(1, round(updates))}
    trainer = make_trainer(row, profile, train)
    found = train_and_score(trainer, row["scored"], row.get("look_every", 0))
    free(trainer)
    return {"updates": row["updates"]} | found


def make_trainer(row: dict, profile: str, train) -> SFTTrainer:
    """The SFTTrainer of a row's method, its base as the profile loads it."""
    method, changed = row["method"], profile_of(row, profile)
    lora = LoraConfig(**changed.peft_config | METHODS.get(method, {}))
    set_seed(row["seed"])
    with tempfile.TemporaryDirectory() as folder:
        trainer = SFTTrainer(
            model=load_model(changed, quantized=method in IN_4_BIT),
            args=SFTConfig(**changed.training_config | {"output_dir": folder}),
            train_dataset=train,
            processing_class=load_tokenizer(changed, quantized=method in IN_4_BIT),
            peft_config=None if method == "full" else lora,
        )
    trainer.remove_callback(PrinterCallback)
    train_in_float32(trainer.model)
    if method == "loftq":
        start_as_loftq(trainer.model, changed)
    if method == "lora+":  # B at a multiple of A's rate (arXiv 2402.12354)
        trainer.optimizer = create_loraplus_optimizer(
            trainer.model,
            torch.optim.AdamW,
            lr=row["learning_rate"],
            loraplus_lr_ratio=row["loraplus_lr_ratio"],
            betas=(0.9, changed.training_config["adam_beta2"]),
            weight_decay=0.0,
        )
    model = trainer.model if method == "full" else trainer.model.get_base_model()
    score_trained_positions(model)  # the same loss in two thirds of the time
    return trainer


def start_as_loftq(model, profile: Profile) -> None:
    """Lets the adapters of a 4-bit base begin with what its rounding lost.

    LoftQ (arXiv 2310.08659) with one iteration, as `peft.replace_lora_weights_loftq`
    does it; that one asks for CUDA (PEFT 0.21.2) and leaves out the scale alpha / r.
    """
    from bitsandbytes.functional import dequantize_4bit
    from peft.tuners.lora import Linear4bit

    file = ROOT / profile.qlora_model / "model.safetensors"
    with safe_open(file, "pt") as weights, torch.no_grad():
        for name, layer in model.named_modules():
            if isinstance(layer, Linear4bit):
                name = f"{name.removeprefix('base_model.model.')}.weight"
                rounded = layer.weight
                lost = weights.get_tensor(name).float()
                lost -= dequantize_4bit(rounded.data, rounded.quant_state).float()
                u, s, v = torch.linalg.svd(lost, full_matrices=False)
                r, root = layer.r["default"], s.sqrt() / layer.scaling["default"] ** 0.5
                layer.lora_B["default"].weight.copy_(u[:, :r] * root[:r])
                layer.lora_A["default"].weight.copy_(root[:r, None] * v[:r])


def train_and_score(trainer: SFTTrainer, scored: int, look_every: int = 0) -> dict:
    """Trains, then scores validation rows; with look_every also on the way.

    train_loss: the mean of the last quarter of the updates, in nats a token.
    """
    rows = tickets()["validation"].select(range(scored))

    def look() -> dict:
        model, tokenizer = trainer.model, trainer.processing_class
        report = evaluate(model, tokenizer, rows, ANSWER).metrics()
        found = {"validation_loss": answer_loss(model, tokenizer, rows)} | report
        return {name: round(value, 4) for name, value in found.items()}

    trainer.add_callback(watch := Watch(look_every, look))
    trained = [p.numel() for p in trainer.model.parameters() if p.requires_grad]
    trainer.train()
    losses = [log["loss"] for log in trainer.state.log_history if "loss" in log]
    found = {"trainable": sum(trained)}
    found["cpu_seconds"] = round(sum(watch.seconds), 1)
    found["seconds_an_update"] = round(statistics.median(watch.seconds), 4)
    found["train_loss"] = round(statistics.mean(losses[-len(losses) // 4 :]), 4)
    found |= look()
    return found | ({"curve": watch.curve} if watch.curve else {})
