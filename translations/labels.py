"""What the ledger says, in another language: its labels and its numbers.

The glossary's phrases translate the labels. One row of theirs, `NUMBER`, shows how the
language writes a number.
"""

import re
from functools import partial

from helpers.course import Wording

NUMBER = "1,234.5%"
UNITS = "s, min, MiB, GiB"  # a row that a glossary may have
UNIT = re.compile(r"(?<=\d )(?:s|min|MiB|GiB)\b")
COMMA = re.compile(r"[,،、]\s*")
# A language says the one or, where the glossary has `NOT_SAID` for it, the other.
MADE_BY_MODELS = "This translation was made and reviewed with language models. Where it"
MADE_BY_MODELS += " differs from the English text, the English text counts."
ENGLISH_COUNTS = "Where this translation differs from the English text, the English"
ENGLISH_COUNTS += " text counts."
NOT_SAID = "-"
OWN_NAME = "This language's own name"
WRITTEN = re.compile(r"(\D*)1([.,\u00a0\u202f]?)234([.,])5(\D*)")


def number_form(written: str) -> tuple[str, str, str, str] | None:
    """How a language writes numbers: (before, group, decimal, after), or None.

    written: its 1,234.5%; before and after: what stands around a percentage, such as
    a no-break space and the sign; None: these are not the digits, or a plain space
    parts them.
    """
    found = WRITTEN.fullmatch(written)
    if not found or found[2] == found[3] or (found[1] + found[4]).strip() != "%":
        return None
    return found.groups()


def wording(language: str, phrases: dict[str, str]) -> Wording:
    """The words and numbers of a language.

    phrases: {English: translation, "" where there is none}; one that shows no number
    as `NUMBER` leaves them as in English.
    """
    if language == "en":
        return Wording(language, {OWN_NAME: "English"})
    form = number_form(phrases.get(NUMBER, ""))
    return Wording(language, phrases, partial(_number, form) if form else format)


def in_units(text: str, words: Wording) -> str:
    """What the ledger says, in a language's units, where its glossary has them."""
    ours = COMMA.split(words.say(UNITS))  # `check` names a row of other than four
    names = dict(zip(UNITS.split(", "), ours, strict=False))
    return UNIT.sub(lambda found: names.get(found[0], found[0]), text)


def disclaimer(words: Wording) -> str:
    """What stands on every page of a language about its translation."""
    made = words.say(MADE_BY_MODELS)
    return words.say(ENGLISH_COUNTS) if made == NOT_SAID else made


def _number(form: tuple[str, str, str, str], value: float, spec: str) -> str:
    """As format(value, spec), in the form of `number_form`."""
    before, group, decimal, after = form
    english = format(value, spec)
    number = english.rstrip("%").translate(str.maketrans({",": group, ".": decimal}))
    return f"{before}{number}{after}" if english.endswith("%") else number
