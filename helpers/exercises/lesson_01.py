"""The checks of lesson 01's exercises."""

from copy import deepcopy

import torch

from helpers.exercises.checking import Exercise, numeric

LAYERS, RANK, WIDTH, VALUE_WIDTH = 32, 16, 4096, 1024  # Llama-3.1-8B
Q, V = WIDTH + WIDTH, WIDTH + VALUE_WIDTH  # d_in + d_out of q_proj and v_proj


def _adapter(d_out: int, d_in: int, r: int) -> dict:
    """Always the same random W, A, B of these sizes, with their r and alpha."""
    generator = torch.Generator().manual_seed(d_out)
    sizes = {"W": (d_out, d_in), "A": (r, d_in), "B": (d_out, r)}
    given = {name: torch.randn(s, generator=generator) for name, s in sizes.items()}
    return given | {"r": r, "alpha": 2.5 * r}


def merges(rule, r: int = 2):
    """A predicate: whether answer(W, A, B, r, alpha) is what a rule gives."""
    given = _adapter(6, 6, r)
    wanted = rule(**given)
    return lambda a: torch.allclose(a(*deepcopy(given).values()), wanted, atol=1e-5)


def keeps_w(answer) -> bool:
    given = _adapter(6, 4, 2)
    before = given["W"].clone()
    answer(*given.values())
    return torch.equal(given["W"], before)


_merges_rightly = merges(lambda W, A, B, r, alpha: W + alpha / r * B @ A)

EXERCISES = {
    "01.1": numeric(
        "a number of parameters",
        right=LAYERS * RANK * (Q + V),
        within=0,
        praise="Whether a higher rank on few layers or a lower rank on all is the "
        "better use of as many parameters is measured in lesson 08.",
        hint="add d_in and d_out of each of the two layers, then multiply by the rank "
        "and by how often the pair occurs.",
        mistakes={
            "look `v_proj` up in the shapes: it has fewer outputs than `q_proj`.": (
                LAYERS * RANK * 2 * Q
            ),
            "right for one layer of the model; it has more of them.": RANK * (Q + V),
            "that is A alone, the side of d_in. Each adapted layer has a B too.": (
                LAYERS * RANK * 2 * WIDTH
            ),
            "the product is the size of the frozen matrices. The rank has not "
            "entered yet.": LAYERS * WIDTH * (WIDTH + VALUE_WIDTH),
        },
    ),
    "01.2": Exercise(
        "a function of W, A, B, r, alpha that returns a tensor",
        right=lambda a: _merges_rightly(a) and keeps_w(a),
        praise="This one line is what `merge_and_unload` of PEFT does to every layer.",
        hint="compare with the equation in front of the class `LoRALinear`.",
        mistakes={
            "the result may be right, but `W` itself has changed; the base must "
            "stay as it was.": lambda a: not keeps_w(a),
            "the change has the right direction and the wrong size: what do r and "
            "alpha do?": merges(lambda W, A, B, r, alpha: W + B @ A),
            "a larger alpha must make the change larger.": merges(
                lambda W, A, B, r, alpha: W + r / alpha * B @ A
            ),
            # Square matrices, where the wrong order raises no error.
            "mind the order: the change must have d_out rows, as B has.": merges(
                lambda W, A, B, r, alpha: W + alpha / r * A @ B, r=6
            ),
            "that is the change; the merged weight holds the old weight too.": merges(
                lambda W, A, B, r, alpha: alpha / r * B @ A
            ),
        },
    ),
    "01.3": numeric(
        "a number, a rank",
        right=WIDTH / 2,
        within=0,
        praise="Beyond it the change itself would be the smaller file.",
        hint="A and B together have r times (d_in + d_out) numbers; when is that d_in "
        "times d_out?",
        mistakes={
            "A and B are two matrices, and each grows with the rank.": WIDTH,
            "that is what the matrix has; now divide by what one more rank costs.": (
                WIDTH**2
            ),
        },
    ),
}
