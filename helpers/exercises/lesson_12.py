"""The checks of lesson 12's exercises."""

from numbers import Real

from helpers.exercises.checking import Exercise, Number, acts_like, numeric, raises

DAILY, PROMPTED, TUNED, PRICE, COST = 1000, 640, 90, 0.25, 11.0
SAVED = DAILY * (PROMPTED - TUNED) * PRICE / 1e6  # euros a day

NEAR = [
    ("It costs 20 euros.", "20 euros"),
    ("It costs 20 euros.", "That is 20.5 euros."),
    ("It costs 19.90 euros.", "19"),
    ("It costs 200 euros.", "About 191 euros."),
]
FAR = [("It costs 20 euros.", "22"), ("It costs 200 euros.", "20 euros")]
FAR += [("It costs 20 euros.", "It costs 18 euros.")]
FIVE = [FAR[0], FAR[2]]  # five units off at most
# The first number, to its decimals, beside 5 % of the expected one.
FIRST = [("It costs 20 euros.", "20 euros, not 30")]
OTHERS = [("It costs 20 euros.", "22, not 20"), ("It costs 1.20 euros.", "1.90")]
OTHERS += [("It costs 200 euros.", "210.4 euros")]
NONE = [("It costs 20 euros.", "I do not know."), ("It costs 20 euros.", "")]

ONE = [{"form": "A", "day": 1}, {"form": "B", "day": 2}, {"form": "B", "day": 3}]
TWO = [{"form": "B", "day": 9}, {"form": "C", "day": 1}]
CASES = [(ONE, TWO, "form"), (ONE, TWO, "day"), (ONE, [], "form"), (ONE, ONE, "day")]


def _gives(answer, cases: list, marks: set) -> bool:
    """Whether a scorer returns one of these marks for every case."""
    given = [answer(*case) for case in cases]
    # None or [] of a search that found nothing is no mark, and as good as 0.
    return all((m if isinstance(m, Real) else bool(m)) in marks for m in given)


def _both(one: list, other: list, column: str) -> set:
    return {row[column] for row in one} & {row[column] for row in other}


EXERCISES = {
    "12.1": numeric(
        "a number of days",
        right=COST / SAVED,
        within=0.5,
        praise="Below some volume a longer prompt is the cheaper model, and it can be "
        "changed in a minute.",
        hint="what does one day cost with either way? Count the tokens of a thousand "
        "letters.",
        mistakes={
            "that is what the long prompts cost alone; the short ones are read "
            "too.": COST / (DAILY * PROMPTED * PRICE / 1e6),
            "that counts letters, not days.": Number(DAILY * COST / SAVED, within=500),
            "that is what is saved in a day, in euros.": Number(SAVED, within=0.01),
        },
    ),
    "12.2": Exercise(
        "a function of the expected text and the answer",
        right=lambda a: (
            _gives(a, NEAR + FIRST, {1}) and _gives(a, FAR + OTHERS + NONE, {0})
        ),
        praise="A tolerance that you chose before you saw the results is a rule, one "
        "that you chose afterwards an excuse.",
        hint="1 where the first number of the answer is within 5 % of the expected "
        "one, else 0; try it on a few texts.",
        mistakes={
            "an answer may hold no number at all. That is a wrong answer, not an "
            "error.": lambda a: raises(lambda: _gives(a, NONE, {0})),
            "that asks for the same number; 5 % off is still right.": (
                lambda a: _gives(a, NEAR[:1], {1}) and _gives(a, NEAR[1:], {0})
            ),
            "five units off is much for a small number and little for a large one: "
            "compare with the expected number.": (
                lambda a: _gives(a, FIVE, {1}) and not _gives(a, NEAR, {1})
            ),
        },
    ),
    "12.3": Exercise(
        "a function of two lists of rows and the name of a column",
        right=acts_like(_both, CASES, same=lambda got, wanted: set(got) == wanted),
        praise="One line, and it would have shown the customers who wrote twice.",
        hint="the values that the column has in both lists, each once.",
        mistakes={
            "these are the values of both lists together; which of them are in "
            "both?": acts_like(
                lambda one, other, column: {r[column] for r in [*one, *other]}, CASES
            ),
            "rows that are equal as a whole are not asked for, only the values of "
            "one column.": lambda a: not any(a(*case) for case in CASES[:2]),
        },
    ),
}
