"""Wrong answers to lesson 09's exercises, by the mistake each makes."""

HEAD = "def answer(targets, names):\n"
LAST = "    last = {name.rpartition('.')[2] for name in names}\n"
GOOD = {"A": "pad-is-end", "B": "padding-side", "C": "zero-b", "D": "leak"}


def but(**wrong: str) -> str:
    """The right diagnosis but for some letters."""
    return f"answer = {GOOD | wrong!r}"


WRONG = {
    "09.2": {
        "those that match": f"{HEAD}{LAST}    return [t for t in targets if t in last]",
        "ends of names": f"{HEAD}"
        "    return [t for t in targets if not any(n.endswith(t) for n in names)]",
        "whole names": f"{HEAD}    return [t for t in targets if t not in names]",
    },
    "09.3": {
        "cut": but(A="cut-answers"),
        "template": but(B="no-template"),
        "another base": but(C="wrong-base"),
        "a lucky run": but(D="few-updates"),
    },
}
OTHERS = {
    "09.2": {
        "any part of a name": f"{HEAD}    return [t for t in targets"
        " if not any(t in n.split('.') for n in names)]",
    },
}
