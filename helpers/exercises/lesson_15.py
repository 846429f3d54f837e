"""The checks of lesson 15's exercises."""

from helpers.exercises.checking import Number, numeric

SCORES = 32 * 8192**2  # of one layer

EXERCISES = {
    "15.1": numeric(
        "a number, a power of two",
        right=4096,
        within=0.5,
        praise="PyTorch's GradScaler begins with 65,536 and halves it whenever a "
        "gradient overflows.",
        hint="divide the one number by the other, and take the next power of two.",
        mistakes={
            "that power of two is too small by half: the product stays below.": 2048,
            "that is enough, but half of it is too.": 8192,
            "with that it is no longer zero, but far from all its digits.": (2, 4),
            "that is the quotient; a power of two changes no digit.": (
                Number(3050, within=5)
            ),
        },
    ),
    "15.2": numeric(
        "a number of GiB",
        right=SCORES * 2 / 2**30,
        within=0.02,
        praise="And the next layer keeps as much again, until the backward pass.",
        hint="heads, times tokens squared, times the bytes of a number.",
        mistakes={
            "that is one head.": 8192**2 * 2 / 2**30,
            "16 bits are how many bytes?": (SCORES / 2**30, SCORES * 16 / 2**30),
            "that is in float32.": SCORES * 4 / 2**30,
            "that is in GB; a GiB has 2**30 bytes.": SCORES * 2 / 1e9,
        },
    ),
}
