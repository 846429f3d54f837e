"""What `helpers.ledger` writes, in another language: its labels and its numbers.

The glossary's phrases translate the labels. One row of theirs, `NUMBER`, shows how the
language writes a number; a figure keeps its value. Code and comments stay as they are,
and link targets too, but for the language of the pages that they lead to.
"""

import re

from helpers.course import SITE_BRANCH

NUMBER = "1,234.5%"
ENGLISH_PAGES = f"{SITE_BRANCH}/en/"
KEPT = re.compile(r"(`[^`]*`|<!--.*?-->|\]\([^)]*\))")
FIGURE = re.compile(r"(?<![\w.,])(\d{1,3}(?:,\d{3})+|\d+)(?:\.(\d+))?(%?)(?![.,]?\d)")
WRITTEN = re.compile(r"(\D*)1([.,\u00a0\u202f]?)234([.,])5(\D*)")


def number_form(written):
    """Return how a language writes numbers: (before, group, decimal, after) or None.

    written: its 1,234.5%; before and after: what stands around a percentage, such as
    a no-break space and the sign; None: these are not the digits, or a plain space
    parts them.
    """
    found = WRITTEN.fullmatch(written)
    if not found or found[2] == found[3] or (found[1] + found[4]).strip() != "%":
        return None
    return found.groups()


def labelled(part, phrases):
    """Return a part of the ledger's with labels and numbers as the language has them.

    phrases: {English: translation, "" where there is none}.
    """
    form = number_form(phrases.get(NUMBER, ""))
    known = [p for p in phrases if phrases[p] and p not in (NUMBER, ENGLISH_PAGES)]
    known = "|".join(map(re.escape, sorted(known, key=len, reverse=True)))
    label = re.compile(rf"\b(?:{known or '(?!)'})\b")
    bits = KEPT.split(part)
    for i, bit in enumerate(bits):
        if i % 2:
            pages = phrases.get(ENGLISH_PAGES, ENGLISH_PAGES)
            bits[i] = bit.replace(ENGLISH_PAGES, pages)
        else:
            bit = FIGURE.sub(lambda m: _number(m, form), bit) if form else bit
            bits[i] = label.sub(lambda m: phrases[m[0]], bit)
    # A space, no-break or not, before ** would keep it from ending the bold text.
    return re.sub(r"([\u00a0\u202f]+)\*\*", r"**\1", "".join(bits))


def _number(figure, form):
    """Return an English figure, a match of FIGURE, in another form."""
    before, group, decimal, after = form
    whole, part, percent = figure.groups()
    text = whole.replace(",", group) + (decimal + part if part else "")
    return f"{before}{text}{after}" if percent else text
