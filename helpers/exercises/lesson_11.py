"""The checks of lesson 11's exercises."""

from collections.abc import Callable

from helpers.exercises.checking import Exercise, numeric

FITS = {"A": {"ddp"}, "B": {"fsdp_qlora"}, "C": {"fsdp2", "zero3"}}


def _file(answer: dict, letter: str) -> str:
    """The file of a letter, without its ending."""
    return str(answer.get(letter)).removesuffix(".yaml")


def _misses(letter: str) -> Callable:
    """A predicate: whether an answer's file fits not."""
    return lambda answer: _file(answer, letter) not in FITS[letter]


EXERCISES = {
    "11.1": numeric(
        "a number of accumulation steps",
        right=4,
        within=0,
        praise="The global batch is what an update knows; who computes it, it does "
        "not.",
        hint="how many rows had an update before, and how many do all cards take at "
        "a time now?",
        mistakes={
            "two machines have eight cards between them.": 8,
            "fewer rows fit a card now than before.": 2,
            "each card is a process with rows of its own: they multiply.": 32,
            "that is how many rows all cards take at a time, or the old setting: "
            "divide by it.": 16,
            "that is the global batch itself.": 64,
        },
    ),
    "11.2": Exercise(
        "a dictionary from the letters A to C to names of files",
        right=lambda answer: not any(_misses(letter)(answer) for letter in FITS),
        praise="Whole copies while they fit, shares when they do not.",
        hint="what does a process hold with each file, and does it fit a card?",
        mistakes={
            "A fits one card. What is the cheapest way to use two?": _misses("A"),
            "B has a 4-bit base, and it must be shared out.": _misses("B"),
            "C is not trained in 4 bit.": lambda a: _file(a, "C") == "fsdp_qlora",
            "C: whole weights fit, but leave the long rows no room.": _misses("C"),
        },
    ),
    "11.3": numeric(
        "a number of updates",
        right=32,
        within=0,
        praise="Rows, batch and updates say how many trained, whatever was asked for.",
        hint="how many rows do four processes take for one update?",
        mistakes={
            "that is what one process made.": 125,
            "the last batch is smaller, and an update like the others.": (31, 31.25),
            "more processes make fewer updates of an epoch, not more.": 500,
        },
    ),
}
