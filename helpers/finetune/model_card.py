"""The model card of a training run, every figure in it from metrics.json."""

from pathlib import Path

from huggingface_hub import CardData, ModelCard

TEMPLATE = Path(__file__).with_name("model_card.md.jinja")
TRAINING = {
    "steps": "updates",
    "best_step": "update kept (lowest validation loss)",
    "epochs": "epochs",
    "tokens": "tokens read",
    "training_seconds": "seconds of training",
    "tokens_per_second": "tokens a second",
    "trainable_parameters": "trained parameters",
    "device": "device",
    "processes": "processes",
    "peak_gpu_mib": "peak GPU memory (MiB)",
    "peak_rss_mib": "peak main memory (MiB)",
}


def card(metrics: dict, licence: str | None = None) -> str:
    """The README.md of an adapter, in Markdown; its head is what the Hub reads.

    metrics: the content of metrics.json. licence: a Hub identifier such as "cc0-1.0".
    """
    head = CardData(
        base_model=metrics["base"]["model"],
        library_name="peft",
        pipeline_tag="text-generation",
        tags=["lora", "trl", "sft"],
        license=licence,
    )
    four_bit = metrics["settings"].get("quantization_config") or {}
    text = ModelCard.from_template(
        head,
        str(TEMPLATE),
        **metrics,
        shares=shares(metrics["before"], metrics["after"]),
        training=training(metrics),
        four_bit=", ".join(f"{key}={value!r}" for key, value in four_bit.items()),
    )
    return f"{text}\n"


def shares(before: dict, after: dict) -> list[tuple[str, str, str, str]]:
    """(name, before, after, the 95 % interval of after) of each share in the scores."""
    rows = []
    for name in after:
        if name not in ("validation_loss", "intervals"):
            ends = after["intervals"].get(name, ())
            interval = " to ".join(f"{end:.1%}" for end in ends)
            pair = f"{before[name]:.1%}", f"{after[name]:.1%}"
            rows.append((name.replace("_", " "), *pair, interval))
    return rows


def training(metrics: dict) -> dict[str, str]:
    """What was trained, how, and what it took; what metrics lacks is left out."""
    peft = metrics["settings"]["peft_config"]
    config, rows = metrics["settings"].get("training_config"), {}
    if config:
        batch = config["per_device_train_batch_size"] * metrics["processes"]
        rows = {
            "learning rate": config["learning_rate"],
            "examples an update": batch * config["gradient_accumulation_steps"],
            "seed": config["seed"],
        }
    rows["rank, alpha"] = f"{peft['r']}, {peft['lora_alpha']}"
    rows["adapted layers"] = _layers(peft["target_modules"])
    rows |= {TRAINING[k]: metrics[k] for k in TRAINING if metrics.get(k) is not None}
    rows["versions"] = ", ".join(f"{k} {v}" for k, v in metrics["versions"].items())
    return {name: _plain(value) for name, value in rows.items()}


def summary(metrics: dict) -> str:
    """What a run prints at its end."""
    before, after = metrics["before"], metrics["after"]
    losses = [f"{scores['validation_loss']:.4f}" for scores in (before, after)]
    rows = [("", "before", "after", "95 % interval"), ("validation loss", *losses, "")]
    rows += shares(before, after)
    width = max(len(row[0]) for row in rows)
    return "\n".join(f"{a:<{width}}  {b:>8}  {c:>8}  {d}" for a, b, c, d in rows)


def _layers(targets: str | list[str]) -> str:
    """The types of layers among target_modules, a list of names or a text."""
    if isinstance(targets, str):
        return targets
    return ", ".join(sorted({name.rsplit(".", 1)[-1] for name in targets}))


def _plain(value) -> str:
    """A figure as people write it."""
    return f"{value:,}" if isinstance(value, int) else str(value)
