"""One row of a sweep: a model trained with SFTTrainer, scored on validation rows."""

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

from helpers import models
from helpers.config import Profile
from helpers.evaluation import answer_loss, evaluate
from helpers.files import ROOT, TICKETS
from helpers.formatting import load_splits
from helpers.sweep.grids import profile_of

PROBE = 10  # updates that tell how long one takes
ANSWER = 56  # tokens of an answer at most
# What PEFT is told of a method; "lora+" is an optimiser, "loftq" a start.
METHODS = dict.fromkeys(("lora", "lora+", "full", "qlora", "loftq"), {})
METHODS |= {
    "rslora": {"use_rslora": True},  # alpha / sqrt(r) for alpha / r (arXiv 2312.03732)
    "dora": {"use_dora": True},  # a length and a direction (arXiv 2402.09353)
    "pissa": {"init_lora_weights": "pissa"},  # A, B: the SVD's head (arXiv 2404.02948)
}
IN_4_BIT = ("qlora", "loftq")


class Watch(TrainerCallback):
    """Notes the CPU time of each update, and what `look()` sees every so many."""

    def __init__(self, every: int = 0, look=None) -> None:
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
    return load_splits(TICKETS)


def answer(row: dict, profile: str) -> dict:
    """What was found of a row: scores on validation rows, CPU seconds of updates."""
    models.quiet()
    disable_progress_bars()

    def trainer_for(updates: int) -> SFTTrainer:
        changed = profile_of(row | {"updates": updates}, profile)
        train = tickets()["train"]
        train = train.select(range(row.get("train_rows", len(train))))
        ratio = row.get("loraplus_lr_ratio", 1)
        return make_trainer(changed, row["method"], train, ratio)

    if (updates := row.get("updates")) is None:
        probe = trainer_for(PROBE)
        probe.add_callback(watch := Watch())
        probe.train()
        models.free(probe)
        updates = max(1, round(row["cpu_budget"] / statistics.median(watch.seconds)))
    trainer = trainer_for(updates)
    found = train_and_score(trainer, row["scored"], row.get("look_every", 0))
    models.free(trainer)
    return {"updates": updates} | found


def make_trainer(
    profile: Profile, method: str, train, ratio: float = 1, tokenizer=None
) -> SFTTrainer:
    """The SFTTrainer of a method on a profile's model; training rows as prompts.

    ratio: of the rate of B to that of A, for "lora+".
    """
    quantized = method in IN_4_BIT
    lora = LoraConfig(**profile.peft_config | METHODS[method])
    set_seed(profile.training_config["seed"])
    with tempfile.TemporaryDirectory() as folder:
        config = profile.training_config | {"output_dir": folder}
        trainer = SFTTrainer(
            model=models.load_model(profile, quantized),
            args=SFTConfig(**config),
            train_dataset=train,
            processing_class=tokenizer or models.load_tokenizer(profile, quantized),
            peft_config=None if method == "full" else lora,
        )
    trainer.remove_callback(PrinterCallback)
    models.train_in_float32(trainer.model)
    if method == "loftq":
        start_as_loftq(trainer.model, profile)
    if method == "lora+":  # arXiv 2402.12354
        kind, betas = torch.optim.AdamW, (0.9, config["adam_beta2"])
        options = {"lr": config["learning_rate"], "loraplus_lr_ratio": ratio}
        trainer.optimizer = create_loraplus_optimizer(
            trainer.model, kind, **options, betas=betas, weight_decay=0.0
        )
    model = trainer.model if method == "full" else trainer.model.get_base_model()
    models.score_trained_positions(model)  # the same loss, in 7 parts of the time of 10
    return trainer


def start_as_loftq(model, profile: Profile) -> None:
    """Lets the adapters of a 4-bit base begin with what its rounding lost.

    LoftQ (arXiv 2310.08659) with one iteration, as `peft.replace_lora_weights_loftq`
    does it; that one asks for CUDA (PEFT 0.21.2) and leaves out the scale alpha / r.
    """
    from bitsandbytes.functional import dequantize_4bit
    from peft.tuners.lora import Linear4bit

    layers = [x for x in model.named_modules() if isinstance(x[1], Linear4bit)]
    file = ROOT / profile.qlora_model / "model.safetensors"
    with safe_open(file, "pt") as weights, torch.no_grad():
        for name, layer in layers:
            name = name.removeprefix("base_model.model.")
            whole = weights.get_tensor(f"{name}.weight")
            rounded = dequantize_4bit(layer.weight.data, layer.weight.quant_state)
            lost = whole.to(rounded.device).float() - rounded.float()
            u, s, v = torch.linalg.svd(lost, full_matrices=False)
            r, root = layer.r["default"], (s / layer.scaling["default"]).sqrt()
            layer.lora_B["default"].weight.copy_(u[:, :r] * root[:r])
            layer.lora_A["default"].weight.copy_(root[:r, None] * v[:r])


def train_and_score(trainer: SFTTrainer, scored: int, look_every: int = 0) -> dict:
    """Trains, then scores validation rows; with look_every also on the way.

    train_loss: the mean of the last quarter of the updates, in nats a token.
    """
    model, tokenizer = trainer.model, trainer.processing_class
    rows = tickets()["validation"].select(range(scored))

    def look() -> dict:
        found = {"validation_loss": answer_loss(model, tokenizer, rows)}
        found |= evaluate(model, tokenizer, rows, ANSWER).metrics()
        return {name: round(value, 4) for name, value in found.items()}

    trainer.add_callback(watch := Watch(look_every, look))
    found = {"trainable": sum(p.numel() for p in model.parameters() if p.requires_grad)}
    trainer.train()
    losses = [log["loss"] for log in trainer.state.log_history if "loss" in log]
    found["cpu_seconds"] = round(sum(watch.seconds), 1)
    found["seconds_an_update"] = round(statistics.median(watch.seconds), 4)
    found["train_loss"] = round(statistics.mean(losses[-len(losses) // 4 :]), 4)
    return found | look() | ({"curve": watch.curve} if watch.curve else {})
