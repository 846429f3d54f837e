"""What metrics.json says of a training run."""

import hashlib
import json
import math
from contextlib import nullcontext
from itertools import chain
from pathlib import Path

from datasets import DatasetDict

from helpers.config import Profile, probe_device
from helpers.evaluation import Report
from helpers.files import shown, shown_model, write_json
from helpers.finetune.errors import RunError
from helpers.finetune.machine import quantised, versions
from helpers.finetune.settings import Settings
from helpers.formatting import render
from helpers.models import SCALE, left_out

SETTINGS = (
    *("profile", "qlora", "dtype", "patience"),
    *("training_config", "peft_config", "quantization_config"),
)
SPARE = 8  # tokens: an answer may be a little longer than the longest expected one


def longest_answer(tokenizer, *splits) -> int:
    """Tokens that an answer may take: the longest expected one, and some to spare."""
    longest = 0
    for row in chain(*splits):
        prompt, ids = render(tokenizer, row), render(tokenizer, row, answered=True)
        longest = max(longest, len(ids) - len(prompt))
    return longest + SPARE


def data_name(data: Path) -> str:
    """What the card calls the data: a path as others know it, a Hub name as it is."""
    return str(data) if str(data).startswith("hub:") else shown(Path(data).resolve())


def measure(trainer, splits: DatasetDict, scored: str, scorer=None) -> dict:
    """Validation loss and scores of the model as it is, by name.

    scored: the split whose rows are answered. Not with trainer.evaluate(): called
    before train() it marks the model as prepared, and several processes would then
    train without exchanging gradients.
    """
    from helpers.evaluation import answer_loss, evaluate

    model, tokenizer = trainer.model, trainer.processing_class
    batch_size, rows = trainer.args.per_device_eval_batch_size, splits[scored]
    validation = splits["validation"]
    longest = longest_answer(tokenizer, validation, rows)
    progress = not trainer.args.disable_tqdm
    options = {"scorer": scorer, "progress": progress}
    with in_mixed_precision(trainer):
        loss = answer_loss(model, tokenizer, validation, batch_size)
        check_finite(loss, model)
        report = evaluate(model, tokenizer, rows, longest, **options)
    return scores(loss, report)


def in_mixed_precision(trainer):
    """The precision of training, where more than LoRA is trained; else that of weights.

    Whole layers (`modules_to_save`) and biases are trained in fp32, by which a base in
    16 bit cannot multiply without it.
    """
    trained = (n for n, p in trainer.model.named_parameters() if p.requires_grad)
    whole = any("lora_" not in name for name in trained)
    return trainer.accelerator.autocast() if whole else nullcontext()


def check_finite(loss: float, model) -> None:
    """Raises RunError for a loss that says that the model computes no numbers."""
    if not math.isfinite(loss):
        what = f"the validation loss is {loss}, the weights are {model.dtype}"
        way = "before any update the base overflows, and needs bfloat16 or float32"
        raise RunError(f"{what}: {way}; later, lower the learning_rate")


def scores(validation_loss: float, report: Report) -> dict:
    """{name: value} of one model: its loss in nats a token, shares from 0 to 1.

    Field shares, and that of valid JSON, only where the expected answers are JSON
    objects; or what a scorer names. "intervals" holds {name: [low, high]}, 95 %.
    """
    shares = {"exact_match": report.exact_match, "stopped": report.stopped}
    if report.field_accuracy:
        shares |= report.field_accuracy
        if report.valid_json is not None:  # no scorer of the reader's own
            shares["valid_json"] = report.valid_json
    intervals = {n: list(report.intervals[n]) for n in shares if n in report.intervals}
    return {"validation_loss": validation_loss, **shares, "intervals": intervals}


def describe(trainer, settings: Settings, identity: dict, scores: dict) -> dict:
    """The content of metrics.json.

    scores: {"before": ..., "after": ...}, each of `scores`. Seconds and memory are
    those of training alone, over all sessions of a run, device and versions its last
    session's; tokens are the ones that training read, padding aside.
    """
    state = trainer.state
    clock = state.stateful_callbacks["Clock"]
    took = clock["attributes"]  # a run that an older version trained has seconds alone
    seconds, sessions = took["seconds"], took.get("sessions", [])
    tokens = state.num_input_tokens_seen
    return {
        **scores,
        "scored": "test" if settings.test else "validation",
        # Some schedules look for a best update too, and none of them keeps it.
        "best_step": state.best_global_step if settings.patience else None,
        "tokens": tokens,
        "training_seconds": round(seconds, 1),
        "tokens_per_second": round(tokens / seconds, 1),
        **describe_training(trainer, identity, data_name(settings.data)),
        **next(iter(sessions[-1:]), {}),
        **({"sessions": sessions} if len(sessions) > 1 else {}),
        **clock["args"],
        **took.get("peaks", {}),
    }


def describe_training(trainer, identity: dict, data: str) -> dict:
    """What metrics.json says of a training without clock and scores.

    identity: as `recipe.identify` gives it, with "base". data: the name of the data.
    """
    state = trainer.state
    lora = trained(identity["peft_config"], trainer.model.peft_config["default"])
    return {
        "steps": state.global_step,
        "epochs": state.epoch,
        "trainable_parameters": trainer.model.get_nb_trainable_parameters()[0],
        "left_out": left_out(trainer.model),
        "processes": 1,
        "distributed": "NO",
        "device": probe_device().name,
        "versions": versions(),
        "base": {
            "model": identity["model"],
            "fingerprint": identity["base"],
            **quantised(trainer.model),
        },
        "data": {
            "name": data,
            "sha256": identity["data_sha256"],
            "rows": identity["rows"],
        },
        "settings": {key: identity[key] for key in SETTINGS} | {"peft_config": lora},
        "history": history(state.log_history),
    }


def trained(asked: dict, lora) -> dict:
    """A run's peft_config, with what PEFT decided: scales, and layers left to it.

    asked: the profile's. lora: the LoraConfig that the model was trained with; stacks
    of experts get a rank and an alpha of their own (PEFT 0.21.2).
    """
    found = {key: getattr(lora, key) for key in SCALE}
    changed = {k: v for k, v in found.items() if v != asked.get(k, SCALE[k])}
    if (chosen := lora.target_modules) and not asked.get("target_modules"):
        chosen = chosen if isinstance(chosen, str) else sorted(chosen)
        changed["target_modules"] = chosen
    return asked | changed


def describe_adapter(
    folder: Path,
    profile: Profile,
    fingerprint: str,
    data: str,
    splits: DatasetDict,
    before: tuple[float, Report],
    after: tuple[float, Report],
) -> dict:
    """Writes metrics.json of an adapter that was scored by hand; returns its content.

    What the folder's metrics.json says of the training stays.
    fingerprint: that of the base. data: the name of the splits. before, after: the
        validation loss, in nats a token, and the test report, without and with adapter.
    """
    file, config = folder / "metrics.json", folder / "adapter_config.json"
    known = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    peft_config = json.loads(config.read_text(encoding="utf-8"))
    settings = {"qlora": False, "dtype": profile.dtype, "peft_config": peft_config}
    rows = {name: len(split) for name, split in splits.items()}
    metrics = {"settings": settings, "versions": versions()} | known
    metrics |= {
        "before": scores(*before),
        "after": scores(*after),
        "scored": "test",
        "base": {"model": shown_model(profile.model), "fingerprint": fingerprint},
        "data": {"name": data, "sha256": digest(splits), "rows": rows},
    }
    write_json(file, metrics)
    return metrics


def digest(splits: DatasetDict) -> str:
    """The sha256 of every example, in hex."""
    found = hashlib.sha256()
    for name, rows in splits.items():
        found.update(f"{name} {len(rows)}\n".encode())
        for row in rows:
            found.update(json.dumps(row, sort_keys=True).encode())
    return found.hexdigest()


def history(log: list[dict]) -> list[dict]:
    """Losses and scores of a log history, by update step, each once."""
    keep, found = ("step", "loss", "eval_loss", "scores"), {}
    for entry in log:
        kept = {key: entry[key] for key in keep if key in entry}
        if len(kept) > 1:
            found[tuple(kept), kept["step"]] = kept
    return list(found.values())


def tested(metrics: dict) -> bool:
    """Whether these metrics are of the test split."""
    return metrics.get("scored", "test") == "test"
