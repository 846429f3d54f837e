"""Checks on a run: what is trained, in which precision, how fast and how long."""

import copy
import inspect
import math
from collections.abc import Iterator

import torch

from helpers.models import adapted_modules, left_out, trainable_table
from helpers.preflight.registry import LOOKED_AT, check_of
from helpers.preflight.report import RUINS, WARNS, Finding

ARGUMENTS = "training arguments"
# Rates that LoRA was found to want with AdamW: 2.5e-3 for 2 million weights, 1e-3 for
# 135 million, 2e-4 for 3.8 billion: about with the cube root of the size. Full
# fine-tuning wants a tenth (Thinking Machines, "LoRA Without Regret", 2025).
RATE, SIZE, ROOT, MOST = 2e-4, 3.8e9, 1 / 3, 2.5e-3
BAND, FAR = 6, 20  # so many times less, or more, is another rate; more ruins a run
FULL_RATE = 2.5e-5  # what is usual for full fine-tuning teaches no LoRA much
FEW_UPDATES = 50  # the course's smallest run that learnt a format made 160
ADAM = ("adamw", "paged_adamw")


@check_of("half-adapted", about="which modules carry LoRA, and how many")
def half_adapted(model) -> Iterator[Finding]:
    """Whether every name of target_modules has found a module."""
    found = adapted_modules(model)
    lora = next(iter(getattr(model, "peft_config", {}).values()), None)
    names = getattr(lora, "target_modules", None) or []
    names = [] if isinstance(names, str) else sorted(names)
    carrying = [n for n, m in model.named_modules() if hasattr(m, "lora_A")]
    idle = [n for n in names if not any(f".{c}".endswith(f".{n}") for c in carrying)]
    # A list for many families misses nothing, and other methods carry no LoRA.
    if found and idle and (missed := left_out(model)):
        what = f"target_modules {', '.join(idle)} match no module; LoRA leaves out "
        what += missed
        why = "a model with fused projections trains a part of itself, and no word"
        mend = 'target_modules="all-linear"'
        yield Finding("half-adapted", RUINS, "model", what, why, mend)
    return ", ".join(f"{kind} {count}" for kind, count in found.items()) or "no LoRA"


@check_of("half-precision", about="the precision of what is trained")
def half_precision(model, arguments=None) -> Iterator[Finding]:
    """Whether weights that are trained have more than 16 bits."""
    if arguments is None and not adapted_modules(model):
        return "nothing is trained"  # as far as one can see: it may be a plain model
    trained = [p for p in model.parameters() if p.requires_grad]
    kinds = {str(p.dtype).removeprefix("torch.") for p in trained}
    if coarse := sorted(kinds & {"float16", "bfloat16"}):
        what = f"what is trained is stored in {', '.join(coarse)}"
        why = "an update smaller than the last bit of a weight is lost, and fp16's"
        why += " gradients overflow"
        mend = "helpers.models.train_in_float32(model), before training"
        level = RUINS if "float16" in coarse else WARNS
        yield Finding("half-precision", level, "model", what, why, mend)
    return ", ".join(sorted(kinds)) or "nothing is trained"


@check_of("rate-too-low", "rate-too-high", about="the learning rate for this size")
def rate(model, arguments) -> Iterator[Finding]:
    """Whether the learning rate is one at which such a model learns."""
    total = trainable_table(model).loc["total"]
    optimizer = str(getattr(arguments.optim, "value", arguments.optim))
    if not total["trainable"] or not optimizer.startswith(ADAM):
        return f"{optimizer}: not judged"
    lora = bool(adapted_modules(model))
    if not lora and getattr(model, "peft_config", None):
        return "not judged: neither LoRA nor full fine-tuning"
    size = total["trainable"] / total["share"]
    usual = min(RATE * (SIZE / size) ** ROOT, MOST)
    low, high = max(usual / BAND, FULL_RATE), usual * BAND
    if not lora:
        usual, low, high = usual / 10, 0, usual
    value, kind = arguments.learning_rate, "LoRA" if lora else "full fine-tuning"
    what = f"{value:g} for {kind} of a model of this size, usual is about {usual:.1g}"
    if value < low:  # more updates, or another start, such as PiSSA's, make up for it
        why = "the loss falls smoothly and the model hardly changes"
        mend = f"learning_rate={usual:.1g}, or more updates"
        yield Finding("rate-too-low", WARNS, ARGUMENTS, what, why, mend)
    if value > high:
        why = "updates overshoot: what the base knew is lost, or the loss is NaN"
        mend = f"learning_rate={usual:.1g}"
        level = RUINS if value >= usual * FAR else WARNS
        yield Finding("rate-too-high", level, ARGUMENTS, what, why, mend)
    return f"{value:g}, usual {usual:.1g}"


@check_of("few-updates", about="updates, epochs and warm-up")
def few_updates(arguments, splits, lengths=None) -> Iterator[Finding]:
    """Whether there are updates enough to learn a format, and to warm up."""
    rows, updates, kind = len(splits["train"]), arguments.max_steps, "rows"
    if not rows:
        return "no training rows"  # which is a finding of `too-few-rows`
    if getattr(arguments, "packing", False):
        tokens = getattr((lengths or {}).get("train"), "tokens", None)
        if not tokens or not arguments.max_length:
            return "not judged with packing"
        rows, kind = math.ceil(sum(tokens) / arguments.max_length), "packed rows"
    batch = arguments.train_batch_size * arguments.world_size
    per = batch * arguments.gradient_accumulation_steps
    if updates <= 0:
        updates = math.ceil(arguments.num_train_epochs * math.ceil(rows / per))
    warm = arguments.get_warmup_steps(updates)
    per = min(per, rows)  # an epoch's last update reads what is left
    found = f"{updates:,} updates, {updates * per / rows:.2g} epochs of {rows:,} {kind}"
    if updates < FEW_UPDATES:
        what = f"{found}: expected {FEW_UPDATES} updates or more"
        why = "so few teach a form at best"
        mend = f"more rows, more epochs, or max_steps: {4 * FEW_UPDATES}"
        yield Finding("few-updates", WARNS, ARGUMENTS, what, why, mend)
    elif 2 * warm > updates:
        what = f"{warm:,} of {updates:,} updates warm up"
        why = "the rate that was asked for is reached late, or never"
        mend = "warmup_steps: 0.03, or more updates"
        yield Finding("few-updates", WARNS, ARGUMENTS, what, why, mend)
    return found


@check_of("accumulation", about="whether the loss is a mean of all tokens of an update")
def accumulation(arguments, model=None, trainer=None) -> Iterator[Finding]:
    """Whether several small batches give the update that one large batch gives."""
    code, steps = "accumulation", arguments.gradient_accumulation_steps
    why = "tokens of short answers count for more than those of long ones, so another"
    why += " split of the same batch trains another model"
    mend = "divide the sum of the loss by num_items_in_batch"
    if trainer is not None:
        one, split = losses(trainer)
        exact = not (arguments.bf16 or arguments.fp16)
        if abs(one - split) > (1e-4 if exact else 1e-2) * abs(one):
            what = f"two rows as one batch have a loss of {one:.4f}, as two {split:.4f}"
            yield Finding(code, RUINS, "trainer", what, why, mend)
        return f"a loss of {one:.4f} at once, {split:.4f} in two"
    if steps > 1 and model is not None and not takes_count(model):
        what = f"{steps} batches an update, and the model takes no num_items_in_batch"
        yield Finding(code, WARNS, "model", what, why, mend)
    shared = getattr(arguments, "average_tokens_across_devices", True)
    if arguments.world_size > 1 and not shared:
        what = "average_tokens_across_devices is False"
        yield Finding(code, WARNS, ARGUMENTS, what, why, "leave it at True")
    return f"{steps} batches an update"


def takes_count(model) -> bool:
    """Whether a model divides its loss by a count that it is given, as Trainer asks."""
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    if hasattr(base, "accepts_loss_kwargs"):
        return base.accepts_loss_kwargs
    known = inspect.signature(base.forward).parameters.values()
    return any(one.kind == one.VAR_KEYWORD for one in known)


def losses(trainer) -> tuple[float, float]:
    """A trainer's loss of two rows: of one batch, and of an update of two batches.

    The rows are those of the shortest and the longest answer of the first few.
    """
    first = range(min(LOOKED_AT, len(trainer.train_dataset)))
    rows = [trainer.train_dataset[place] for place in first]
    rows.sort(key=lambda row: _answer(trainer.data_collator([row])))
    short, long = rows[0], rows[-1]
    kept = copy.deepcopy(getattr(trainer, "_metrics", None))
    training, steps = trainer.model.training, trainer.args.gradient_accumulation_steps
    trainer.model.eval()
    try:
        return _loss(trainer, [[short, long]]), _loss(trainer, [[short], [long]])
    finally:
        trainer.model.train(training)
        trainer.args.gradient_accumulation_steps = steps
        if kept is not None:
            trainer._metrics = kept  # TRL notes every loss


def _loss(trainer, parts: list[list]) -> float:
    """The loss of an update of so many batches, as Trainer.training_step adds it up."""
    trainer.args.gradient_accumulation_steps = len(parts)  # an own loss may ask
    batches = [trainer.data_collator(part) for part in parts]
    counts = trainer.model_accepts_loss_kwargs or trainer.compute_loss_func is not None
    count = torch.tensor(sum(map(_answer, batches))) if counts else None
    total = 0.0
    with torch.no_grad(), trainer.compute_loss_context_manager():
        for batch in batches:
            inputs = trainer._prepare_inputs(batch)
            options = {} if count is None else {"num_items_in_batch": count}
            total += trainer.compute_loss(trainer.model, inputs, **options).item()
    return total if counts else total / len(batches)


def _answer(batch) -> int:
    """How many tokens of a batch have a label."""
    return int((batch["labels"] >= 0).sum())
