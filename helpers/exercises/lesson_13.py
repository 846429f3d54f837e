"""The checks of lesson 13's exercises."""

from helpers.exercises.checking import Exercise, acts_like, numeric
from helpers.exercises.lesson_01 import keeps_w, merges

R, WIDTH = 8, 3072  # the rank, and the width of Phi-3-mini
KEY = "model.layers.0.self_attn.q_proj"
# What a load reports: (missing, unexpected).
REPORTS = [
    ([f"{KEY}.weight"], []),  # a healthy file
    ([f"{KEY}.weight", f"{KEY}.lora_B"], []),
    ([f"{KEY}.weight"], [f"{KEY}.lora_C"]),
    ([f"{KEY}.lora_A"], ["x.lora_A"]),
    ([f"{KEY}.weight"], [f"module.{KEY}.weight"]),
]


def _finds(rule):
    """A predicate: whether an answer finds the keys in all reports that a rule does."""
    return acts_like(rule, REPORTS, lambda got, wanted: set(got) == set(wanted))


def _lora(keys: list[str]) -> list[str]:
    return [key for key in keys if "lora_" in key]


_repairs = merges(lambda W, A, B, r, alpha: W - alpha / r * B @ A)

EXERCISES = {
    "13.1": numeric(
        "a number of parameters",
        right=2 * 2 * R * WIDTH,
        within=0,
        praise="A plain `lora.Linear` of that rank on the fused layer trains as many: "
        "it has one A for all three, and in return a B for the key.",
        hint="`enable_lora` says how many parts have an A of 8 rows, and a B of 3,072.",
        mistakes={
            "that is all three parts; the key is not adapted.": 3 * 2 * R * WIDTH,
            "each adapted part has an A of its own.": 3 * R * WIDTH,
            "B has no rows for the part that is not adapted.": 5 * R * WIDTH,
        },
    ),
    "13.2": Exercise(
        "a function of W, A, B, r, alpha that returns a tensor",
        right=lambda a: _repairs(a) and keeps_w(a),
        praise="With the pretrained checkpoint at hand you would compare, and trust "
        "that one.",
        hint="what did `eval()` do to the weight?",
        mistakes={
            "the result may be right, but `W` itself has changed.": (
                lambda a: not keeps_w(a)
            ),
            "now the change is in there twice.": merges(
                lambda W, A, B, r, alpha: W + alpha / r * B @ A
            ),
            "what was added was scaled by alpha / r.": merges(
                lambda W, A, B, r, alpha: W - B @ A
            ),
        },
    ),
    "13.3": Exercise(
        "a function of the missing and unexpected keys that returns a list",
        right=_finds(lambda missing, unexpected: _lora(missing) + unexpected),
        praise="Raise an error when this list is not empty, and no adapter will ever "
        "fail to load in silence.",
        hint="go through the cases: a typo, a file with too few layers, one with too "
        "many, a healthy file.",
        mistakes={
            "a healthy LoRA file would be refused: the base weights are missing "
            "from every one of them.": _finds(lambda missing, extra: missing + extra),
            "a file with too few layers has no unexpected key, and part of the "
            "model stays untuned.": _finds(lambda missing, extra: extra),
            "a file with a layer that the model lacks would pass: it belongs to "
            "another model.": _finds(lambda missing, extra: _lora(missing)),
            "an unexpected key is bad whatever its name: a base weight that does not "
            "fit was saved from another model.": _finds(
                lambda missing, extra: _lora(missing + extra)
            ),
        },
    ),
}
