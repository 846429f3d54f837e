"""The check of appendix 16's exercise."""

from helpers.exercises.checking import numeric

PASSES = 1000e9 / (7.5e9 * 2)  # over the weights of Llama-3.1-8B, a second

EXERCISES = {
    "16.1": numeric(
        "a number of tokens a second",
        right=4 * PASSES,
        within=0.5,
        praise="The limit grows with the batch until arithmetic takes longer than "
        "reading: the ridge of the roofline.",
        hint="how many passes over the weights fit into a second, and how many tokens "
        "does a pass make?",
        mistakes={
            "that is what one of the conversations gets.": PASSES,
            "the conversations do not share a pass's token: each gets its own.": (
                PASSES / 4
            ),
            "how many bytes does a weight take in bf16?": (8 * PASSES, 2 * PASSES),
            "the card's speed is in bytes, and so must be the weights.": (
                PASSES / 2,
                PASSES / 8,
            ),
        },
    ),
}
