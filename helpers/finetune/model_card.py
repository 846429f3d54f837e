"""The model card of a training run, every figure in it from metrics.json."""

from pathlib import Path

from huggingface_hub import CardData, ModelCard

from helpers.models import changes_base

TEMPLATE = Path(__file__).with_name("model_card.md.jinja")


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
    split = metrics.get("scored", "test")
    four_bit = metrics["settings"].get("quantization_config") or {}
    text = ModelCard.from_template(
        head,
        str(TEMPLATE),
        **{"scored": split, "unfinished": [], "preflight": {}} | metrics,
        starts_from=changes_base(metrics["settings"]["peft_config"]),
        scored_rows=metrics["data"]["rows"][split],
        shares=shares(metrics["before"], metrics["after"]),
        layers=_layers(metrics["settings"]["peft_config"]),
        four_bit=", ".join(f"{key}={value!r}" for key, value in four_bit.items()),
    )
    return f"{text}\n"


def shares(before: dict, after: dict) -> list[tuple[str, str, str, str]]:
    """(name, before, after, the 95 % interval of after) of each share in the scores.

    "" for what a scorer named at one time only.
    """
    rows = []
    for name in after | before:
        if name not in ("validation_loss", "intervals"):
            ends = after["intervals"].get(name, ())
            interval = " to ".join(f"{end:.1%}" for end in ends)
            known = (scores.get(name) for scores in (before, after))
            pair = ("" if share is None else f"{share:.1%}" for share in known)
            rows.append((name.replace("_", " "), *pair, interval))
    return rows


def summary(metrics: dict) -> str:
    """What a run prints at its end."""
    before, after = metrics["before"], metrics["after"]
    split = metrics.get("scored", "test")
    rows = metrics["data"]["rows"][split]
    lines = [f"answers to {rows:,} {split} rows"]
    if "epochs" in metrics:
        lines[0] += f", {metrics['steps']:,} updates, {metrics['epochs']:.3g} epochs"
    losses = [f"{scores['validation_loss']:.4f}" for scores in (before, after)]
    rows = [("", "before", "after", "95 % interval"), ("validation loss", *losses, "")]
    rows += shares(before, after)
    width = max(len(row[0]) for row in rows)
    lines += [f"{a:<{width}}  {b:>8}  {c:>8}  {d}" for a, b, c, d in rows]
    lines += [f"not finished: {reason}" for reason in metrics.get("unfinished", [])]
    if split == "validation":
        lines.append("the test split was left alone: --resume --test scores it")
    return "\n".join(lines)


def _layers(peft_config: dict) -> str | None:
    """What is adapted: target_modules, a text or types of layers, and parameters."""
    modules = peft_config.get("target_modules") or []
    kinds = [modules] if isinstance(modules, str) else _kinds(modules)
    kinds += _kinds(peft_config.get("target_parameters") or [])
    return ", ".join(kinds) or None


def _kinds(names: list[str]) -> list[str]:
    """The last parts of dotted names, each once, sorted."""
    return sorted({n.removesuffix(".weight").rsplit(".", 1)[-1] for n in names})
