"""The checks of lesson 08's exercises."""

from helpers.exercises.checking import Exercise, Number, numeric

# Exercise 2: the scatter of one setting's runs, and the interval asked for, in points.
SCATTER, REACH = 3, 2
RUNS = 2 * (1.96 * SCATTER / REACH) ** 2

# Exercise 3: numbers that one more rank adds to a layer of Phi-3-mini.
WIDTH, INNER = 3072, 8192
ATTENTION = (WIDTH + 3 * WIDTH) + (WIDTH + WIDTH)
MLP = (WIDTH + 2 * INNER) + (INNER + WIDTH)
RANK = 24


def _taken(answer: dict, *pairs: tuple) -> bool:
    """Whether an answer is one of these (rate, r)."""
    return (answer["rate"], answer["r"]) in pairs


EXERCISES = {
    "08.1": Exercise(
        'a dictionary with the keys "rate" and "r"',
        right=lambda a: _taken(a, (2e-3, 4)),
        praise="Of settings that the seeds cannot tell apart, take the cheapest, and a "
        "rate with room above it.",
        hint="which rate is good at every seed? And of the ranks at this rate, which "
        "differ by more than their seeds do?",
        mistakes={
            "there stands the highest score of the table, and beside it a seed that "
            "fell apart.": lambda a: a["rate"] == 4e-3,
            "those seeds scatter no more than the others, but every run of a "
            "neighbouring rate is better.": lambda a: a["rate"] in (5e-4, 1e-3),
            "a good rate. Do the scores of this rank lie outside those of a smaller "
            "one?": lambda a: _taken(a, (2e-3, 16), (2e-3, 64)),
        },
    ),
    "08.2": numeric(
        "a number of runs",
        right=18,
        within=0.75,
        praise="Three runs of each can only show large differences, and one run of "
        "each shows nothing.",
        hint="set 1.96 times the standard deviation of the difference equal to the "
        "reach, and solve for n.",
        mistakes={
            "that is enough for one mean. A difference has the scatter of two.": (
                Number((RUNS / 2, 9), within=0.3)
            ),
            "that brings the standard deviation itself down to the reach; an interval "
            "of 95 % reaches 1.96 times as far.": Number(RUNS / 1.96**2, within=0.4),
            "the scatter of a mean falls with the square root of n.": (
                Number(RUNS**0.5 * 2**0.5, within=0.2)
            ),
            "that counts the runs of both settings.": Number((2 * RUNS, 36), within=1),
        },
    ),
    "08.3": numeric(
        "a number, the rank",
        right=RANK * (ATTENTION + MLP) / ATTENTION,
        within=0.5,
        praise="At equal rank attention alone would have had three eighths of the "
        "parameters, and would have lost for that reason alone.",
        hint="how many numbers does one more rank add to each of the four layers? A "
        "layer of d_in to d_out gets d_in + d_out.",
        mistakes={
            "equal ranks are not equal parameters: attention alone has two of the four "
            "layers.": RANK,
            "the ratio is upside down: fewer layers need a higher rank.": (
                RANK * ATTENTION / (ATTENTION + MLP)
            ),
            "that gives attention as many as the MLP has; all-linear has both.": (
                RANK * MLP / ATTENTION
            ),
            "that is the rank of the MLP alone.": RANK * (ATTENTION + MLP) / MLP,
            "`qkv_proj` is three projections in one: its output is three times as "
            "wide.": RANK * (4 * WIDTH + MLP) / (4 * WIDTH),
            "`gate_up_proj` is two projections in one: its output is twice as wide.": (
                Number(RANK * (ATTENTION + MLP - INNER) / ATTENTION, within=0.2)
            ),
        },
    ),
}
