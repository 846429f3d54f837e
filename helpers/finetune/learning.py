"""Whether a run has learnt what it could: its curve, and fields at chance."""

import json
from collections import Counter

from helpers.evaluation import field_name, json_object
from helpers.formatting import answer_text

FELL = 0.9  # of the loss before: less than that is no standstill
KNOWN = 0.9  # an exact match from which on nobody needs more updates
LABELS = 4  # times as many rows as different answers: they are labels, no free text


def chance(rows) -> dict[str, float]:
    """{field: the share of rows that its commonest value alone gets right}.

    rows: of a split, their answers JSON objects. Where the answers are labels it is
    {"exact_match": ...}, {} for other texts.
    """
    texts = [answer_text(row["completion"][-1]).strip() for row in rows]
    answers = [json_object(text) or {} for text in texts]
    if not any(answers) and LABELS * len(counts := Counter(texts)) <= len(texts):
        return {"exact_match": counts.most_common(1)[0][1] / len(texts)}
    fields = dict.fromkeys(name for answer in answers for name in answer)
    values = {f: Counter(json.dumps(a[f]) for a in answers if f in a) for f in fields}
    most = {f: counts.most_common(1)[0][1] for f, counts in values.items()}
    return {field_name(f): count / len(answers) for f, count in most.items()}


def same_kind(config: dict) -> bool:
    """Whether a training_config evaluates the mean surprise at the answers' tokens."""
    other = config.get("loss_type") not in (None, "nll", "chunked_nll")
    other = other or config.get("label_smoothing_factor")
    return not other and config.get("completion_only_loss") is not False


def unfinished(metrics: dict, guessed: dict[str, float]) -> list[str]:
    """Why a run has not finished learning, a line a reason; [] where it may have.

    metrics: as `describe` makes them. guessed: what `chance` gives for the same rows.
    """
    before, after, steps = metrics["before"], metrics["after"], metrics["steps"]
    entries = metrics["history"]
    curve = {0: before["validation_loss"]}
    curve |= {e["step"]: e["eval_loss"] for e in entries if "eval_loss" in e}
    kept = metrics["best_step"] or steps
    curve = {s: loss for s, loss in curve.items() if s < kept}
    (since, earlier), now = max(curve.items()), after["validation_loss"]
    found = []
    # Another loss of training is no match for the one before and after it.
    alike = same_kind(metrics.get("settings", {}).get("training_config", {}))
    falls = alike and now < FELL * earlier
    which = "the last" if since else "the only look at it, after"
    if falls and after["exact_match"] < KNOWN and kept == steps:
        found.append(
            f"validation loss still fell, from {earlier:.4f} to {now:.4f} in {which} "
            f"{steps - since} updates, and exact match is {after['exact_match']:.1%}: "
            f"go on longer, such as max_steps: {2 * steps} in a --config file"
        )
    idle = [
        f"{field.replace('_', ' ')} ({after[field]:.1%} right, its commonest value "
        f"alone {share:.1%})"
        for field, share in guessed.items()
        if after.get(field, 1.0) <= share < 1
    ]
    if idle:
        way = "more updates, more rows, or look at the answers"
        found.append(f"no better than chance at {', '.join(idle)}: {way}")
    return found
