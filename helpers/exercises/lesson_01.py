"""The checks of lesson 01's exercises."""

import torch

from helpers.exercises.checking import Exercise, Mistake, close

LAYERS, RANK, WIDTH, VALUE_WIDTH = 32, 16, 4096, 1024  # Llama-3.1-8B
Q, V = WIDTH + WIDTH, WIDTH + VALUE_WIDTH  # d_in + d_out of q_proj and v_proj
KEY = "model.layers.0.self_attn.q_proj"


def _adapter(d_out, d_in, r):
    """Always the same random W, A, B of these sizes."""
    generator = torch.Generator().manual_seed(d_out)
    sizes = {"W": (d_out, d_in), "A": (r, d_in), "B": (d_out, r)}
    return {
        name: torch.randn(size, generator=generator) for name, size in sizes.items()
    }


def _merges(answer, change, r=2):
    """Whether answer(W, A, B, r, alpha) is W + change(A, B, r, alpha)."""
    given, alpha = _adapter(6, 6, r), 3 * r
    wanted = given["W"] + change(given["A"], given["B"], r, alpha)
    return torch.allclose(answer(**given, r=r, alpha=alpha), wanted, atol=1e-5)


def _keeps_w(answer):
    given = _adapter(6, 4, 2)
    before = given["W"].clone()
    answer(**given, r=2, alpha=6)
    return torch.equal(given["W"], before)


# What a load reports: (missing, unexpected), and the keys that show a bad one.
REPORTS = [
    ([f"{KEY}.weight"], [], set()),
    ([f"{KEY}.weight", f"{KEY}.lora_B"], [], {f"{KEY}.lora_B"}),
    ([f"{KEY}.weight"], [f"{KEY}.lora_C"], {f"{KEY}.lora_C"}),
    ([f"{KEY}.lora_A"], ["x.lora_A"], {f"{KEY}.lora_A", "x.lora_A"}),
    ([f"{KEY}.weight"], [f"module.{KEY}.weight"], {f"module.{KEY}.weight"}),
]


def _lora(keys):
    return [key for key in keys if "lora_" in key]


def _finds(answer, rule=None):
    """Whether answer(missing, unexpected) finds what a rule finds, else what it must.

    rule: a function of the same two lists that returns a set.
    """
    return all(
        set(answer(list(missing), list(unexpected)))
        == (bad if rule is None else rule(missing, unexpected))
        for missing, unexpected, bad in REPORTS
    )


EXERCISES = {
    "01.1": Exercise(
        expected="a number of parameters",
        right=lambda a: close(a, LAYERS * RANK * (Q + V), within=0),
        praise="Whether a higher rank on few layers or a lower rank on all is the "
        "better use of as many parameters is measured in lesson 08.",
        hint="add d_in and d_out of each of the two layers, then multiply by the rank "
        "and by how often the pair occurs.",
        mistakes=(
            Mistake(
                "took v_proj to be as wide as q_proj",
                lambda a: close(a, LAYERS * RANK * 2 * Q, within=0),
                "look `v_proj` up in the shapes: it has fewer outputs than `q_proj`.",
            ),
            Mistake(
                "one layer only",
                lambda a: close(a, RANK * (Q + V), within=0),
                "right for one layer of the model; it has more of them.",
            ),
            Mistake(
                "counted A alone",
                lambda a: close(a, LAYERS * RANK * 2 * WIDTH, within=0),
                "that is A alone, the side of d_in. Each adapted layer has a B too.",
            ),
            Mistake(
                "multiplied d_in by d_out",
                lambda a: close(a, LAYERS * WIDTH * (WIDTH + VALUE_WIDTH), within=0),
                "the product is the size of the frozen matrices. The rank has not "
                "entered yet.",
            ),
        ),
    ),
    "01.2": Exercise(
        expected="a function of W, A, B, r, alpha that returns a tensor",
        right=lambda a: (
            _merges(a, lambda A, B, r, alpha: alpha / r * B @ A) and _keeps_w(a)
        ),
        praise="This one line is what `merge_and_unload` of PEFT does to every layer.",
        hint="compare with the equation in front of the class `LoRALinear`.",
        mistakes=(
            Mistake(
                "changed W in place",
                lambda a: not _keeps_w(a),
                "the result may be right, but `W` itself has changed; the base must "
                "stay as it was.",
            ),
            Mistake(
                "forgot the scale",
                lambda a: _merges(a, lambda A, B, r, alpha: B @ A),
                "the change has the right direction and the wrong size: what do r and "
                "alpha do?",
            ),
            Mistake(
                "inverted the scale",
                lambda a: _merges(a, lambda A, B, r, alpha: r / alpha * B @ A),
                "a larger alpha must make the change larger.",
            ),
            Mistake(
                "multiplied A by B",
                # Square matrices, where the wrong order raises no error.
                lambda a: _merges(a, lambda A, B, r, alpha: alpha / r * A @ B, r=6),
                "mind the order: the change must have d_out rows, as B has.",
            ),
            Mistake(
                "returned the change alone",
                lambda a: _merges(
                    lambda W, **rest: W + a(W, **rest),
                    lambda A, B, r, alpha: alpha / r * B @ A,
                ),
                "that is the change; the merged weight holds the old weight too.",
            ),
        ),
    ),
    "01.3": Exercise(
        expected="a function of the missing and unexpected keys that returns a list",
        right=_finds,
        praise="Raise an error when this list is not empty, and no adapter will ever "
        "fail to load in silence.",
        hint="go through the cases: a typo, a file with too few layers, one with too "
        "many, a healthy file.",
        mistakes=(
            Mistake(
                "all missing keys",
                lambda a: _finds(a, lambda m, u: {*m, *u}),
                "a healthy LoRA file would be refused: the base weights are missing "
                "from every one of them.",
            ),
            Mistake(
                "only the unexpected keys",
                lambda a: _finds(a, lambda m, u: {*u}),
                "a file with too few layers has no unexpected key, and part of the "
                "model stays untuned.",
            ),
            Mistake(
                "only the missing keys",
                lambda a: _finds(a, lambda m, u: set(_lora(m))),
                "a file with a layer that the model lacks would pass: it belongs to "
                "another model.",
            ),
            Mistake(
                "unexpected keys only where they are LoRA's",
                lambda a: _finds(a, lambda m, u: set(_lora(m + u))),
                "an unexpected key is bad whatever its name: a base weight that does "
                "not fit was saved from another model.",
            ),
        ),
    ),
}
