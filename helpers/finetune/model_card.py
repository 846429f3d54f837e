"""The model card of a training run, every figure in it from metrics.json."""

import json
import os
from pathlib import Path

import yaml

CARD = """# {title}

{method} adapter of rank {r} for `{base}`, trained on `{data}`
({train:,} training examples{epochs}).

## Results

Greedy answers to {test:,} test examples that training never saw; the loss is that of
{validation:,} validation examples, in nats a token.

{results}

Nothing else was measured: not what the model forgot, not safety, not other kinds of
messages. The 95 % intervals are bootstrapped over the test examples.

## Training

{training}

## Use

The adapter belongs to one base, whose weights have the fingerprint
`{fingerprint}`
(`helpers.models.fingerprint`). On any other it gives wrong answers without an error.

```python
{code}
```

## Data and licence

Data: `{data}`, sha256 of its examples `{data_sha256}`.
Licence: {licence}.
"""
NO_LICENCE = (
    "none is stated yet; the base's licence and the data's bind what you may choose"
)
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
    settings, rows = metrics["settings"], metrics["data"]["rows"]
    head = {
        "base_model": metrics["base"]["model"],
        "library_name": "peft",
        "pipeline_tag": "text-generation",
        "tags": ["lora", "trl", "sft"],
    }
    if licence:
        head["license"] = licence
    text = CARD.format(
        title=f"{metrics['base']['model'].split('/')[-1]}: {metrics['data']['name']}",
        method="A QLoRA" if settings["qlora"] else "A LoRA",
        r=settings["peft_config"]["r"],
        base=metrics["base"]["model"],
        data=metrics["data"]["name"],
        epochs=f", {metrics['epochs']:g} epochs" if "epochs" in metrics else "",
        **rows,
        results=results_table(metrics["before"], metrics["after"]),
        training=training_table(metrics),
        fingerprint=metrics["base"]["fingerprint"],
        code=code(metrics),
        data_sha256=metrics["data"]["sha256"],
        licence=licence or NO_LICENCE,
    )
    return f"---\n{yaml.safe_dump(head, sort_keys=False)}---\n\n{text}"


def results_table(before: dict, after: dict) -> str:
    """One row a score of `run_metrics.scores`: before, after, the interval of after."""
    lines = ["| | before | after | 95 % interval |", "|---|---|---|---|"]
    loss = "validation_loss"
    lines.append(f"| validation loss | {before[loss]:.4f} | {after[loss]:.4f} | |")
    for name in after:
        if name in (loss, "intervals"):
            continue
        low, high = after["intervals"].get(name, (None, None))
        interval = "" if low is None else f"{low:.1%} to {high:.1%}"
        pair = f"{before[name]:.1%} | {after[name]:.1%}"
        lines.append(f"| {name.replace('_', ' ')} | {pair} | {interval} |")
    return "\n".join(lines)


def training_table(metrics: dict) -> str:
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
    lines = [f"| {name} | {_plain(value)} |" for name, value in rows.items()]
    return "\n".join(["| | |", "|---|---|", *lines])


def code(metrics: dict) -> str:
    """Python that loads the adapter on its base."""
    name, settings = metrics["base"]["model"], metrics["settings"]
    options = f'dtype="{settings["dtype"]}"'
    classes, before = ["AutoModelForCausalLM", "AutoTokenizer"], ""
    if settings["qlora"]:
        classes.append("BitsAndBytesConfig")
        quantization = settings["quantization_config"].items()
        pairs = ", ".join(f"{key}={value!r}" for key, value in quantization)
        before = f"four_bit = BitsAndBytesConfig({pairs})\n"
        options += ", quantization_config=four_bit"
    return (
        "from peft import PeftModel\n"
        f"from transformers import {', '.join(classes)}\n\n"
        f'{before}base = AutoModelForCausalLM.from_pretrained("{name}", {options})\n'
        'model = PeftModel.from_pretrained(base, "path/to/this/folder").eval()\n'
        'tokenizer = AutoTokenizer.from_pretrained("path/to/this/folder")'
    )


def summary(metrics: dict) -> str:
    """What a run prints at its end."""
    lines = results_table(metrics["before"], metrics["after"]).splitlines()
    cells = [[c.strip() for c in line.strip("|").split("|")] for line in lines]
    rows = [row for row in cells if set(row[0]) != {"-"}]
    width = max(len(row[0]) for row in rows)
    return "\n".join(f"{a:<{width}}  {b:>8}  {c:>8}  {d}" for a, b, c, d in rows)


def tidy_config(path: Path, base: str) -> None:
    """Sorts the layers that an adapter_config.json lists at random; names the base.

    base: relative to the course where it is part of it.
    """
    config = json.loads(path.read_text(encoding="utf-8"))
    config["base_model_name_or_path"] = base
    if isinstance(config["target_modules"], list):
        config["target_modules"].sort()
    part = path.with_name(path.name + ".part")
    part.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    os.replace(part, path)


def _layers(targets) -> str:
    """The types of layers among target_modules, a list of names or a text."""
    if isinstance(targets, str):
        return targets
    return ", ".join(sorted({name.rsplit(".", 1)[-1] for name in targets}))


def _plain(value) -> str:
    """A figure as people write it."""
    return f"{value:,}" if isinstance(value, int) else str(value)
