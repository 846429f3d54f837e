"""The checks of lesson 09's exercises."""

import math
from collections.abc import Callable

from helpers.exercises.checking import Exercise, Number, acts_like, numeric

TOKENS = 40
LOSS = (math.log(8) + math.log(4)) / TOKENS

LLAMA = ["model.layers.0.self_attn.q_proj", "model.layers.0.self_attn.o_proj"]
PHI3 = ["model.layers.0.self_attn.qkv_proj", "model.layers.0.self_attn.o_proj"]
CASES = [
    (["q_proj", "o_proj"], LLAMA),
    (["q_proj", "o_proj"], PHI3),
    (["k_proj", "v_proj"], PHI3),
    (["o_proj", "lm_head"], [*PHI3, "lm_head"]),
    (["proj"], LLAMA),
    (["self_attn", "q_proj"], LLAMA),
    ([], LLAMA),
]


def idle(targets: list[str], names: list[str]) -> list[str]:
    """The targets that are the last part of no name."""
    return [t for t in targets if t not in {name.rpartition(".")[2] for name in names}]


def _like(rule: Callable) -> Callable:
    """A predicate: whether an answer finds what a rule does, in any order."""
    return acts_like(rule, CASES, lambda got, wanted: sorted(got) == sorted(wanted))


FITS = {
    "A": {"pad-is-end", "no-end-token"},
    "B": {"padding-side"},
    "C": {"zero-b", "lost-keys"},
    "D": {"leak"},
}


def _misses(letter: str) -> Callable:
    """A predicate: whether an answer's diagnosis is none of those that fit."""
    return lambda answer: answer.get(letter) not in FITS[letter]


EXERCISES = {
    "09.1": numeric(
        "a number, in nats a token",
        right=LOSS,
        within=0.0006,
        praise="A mean over all tokens hides the two that matter.",
        hint="a guess among n equal choices costs the natural logarithm of n; the "
        "other tokens cost nothing, and still count in the mean.",
        mistakes={
            "that is the sum. The loss is a mean over all tokens of the answer.": (
                Number(LOSS * TOKENS, within=0.01)
            ),
            "that is the mean of the two codes alone. The sure tokens count, "
            "too.": Number(LOSS * TOKENS / 2, within=0.01),
            "nats go with the natural logarithm.": LOSS / math.log(2),
            "two guesses in a row multiply their chances: the logarithms add.": (
                Number(math.log(12) / TOKENS, within=0.0006)
            ),
        },
    ),
    "09.2": Exercise(
        "a function of targets and names",
        right=_like(idle),
        praise="PEFT is content with one match; a check of three lines is not.",
        hint="a target matches a module whose name's last part, behind the last dot, "
        "is the target. Return the list of those that match none.",
        mistakes={
            "those match. Return the ones that do not.": _like(
                lambda targets, names: [t for t in targets if t not in idle([t], names)]
            ),
            "`qkv_proj` ends with `v_proj` and is another module: compare the whole "
            "last part.": _like(
                lambda targets, names: [
                    t for t in targets if not any(n.endswith(t) for n in names)
                ]
            ),
            "a target may be the end of a longer name. Compare with the part behind "
            "the last dot.": _like(
                lambda targets, names: [t for t in targets if t not in names]
            ),
        },
    ),
    "09.3": Exercise(
        "a dictionary from the letters A to D to codes",
        right=lambda answer: not any(_misses(letter)(answer) for letter in FITS),
        praise="A symptom names a handful of suspects; the check that finds one "
        "costs a second.",
        hint="look at the last table: which of its codes would show like that?",
        mistakes={
            "A writes the right answer and then goes on. What has it never seen "
            "trained?": _misses("A"),
            "B: what differs between one message and a batch of several?": _misses("B"),
            "C answers to the letter as the base. What does BA add then?": _misses("C"),
            "D: where could it have seen the validation answers?": _misses("D"),
        },
    ),
}
