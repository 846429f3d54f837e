"""Texts that run from right to left: Arabic, Hebrew and their kin.

Whoever shows a text decides where it begins, and in it figures and code keep their own
order, from left to right; Unicode's marks and a frame say so where nothing else does.
"""

import re
import unicodedata
from itertools import pairwise

from translations.markdown_blocks import PARSER, blocks

RIGHT_TO_LEFT = ("R", "AL")  # Unicode's classes: Hebrew and its kin, Arabic
LEFT, RIGHT = "\u200e", "\u200f"  # as a letter of that direction, and not to be seen
APART, END = "\u2066", "\u2069"  # what stands between has an order of its own
FRAME = '<div dir="{}">\n\n{}\n\n</div>'
# JupyterLab's style sets each paragraph to the left, whatever stands around it. Its
# sanitiser lets this pass, which counts as it stands inside; others may drop the style.
INSIDE = '<span style="display:block;text-align:right">'
FENCE = re.compile(r"^(```.*\n(?:.*\n)*?```)$", re.MULTILINE)
CODE = re.compile(r"(?<!`)(`+)(?!`).+?(?<!`)\1(?!`)")
# What the tools write: 1017 s, 3,478 MiB, 2026-11-29.
UNIT = re.compile(r"(?<![\w.,-])(\d[\d.,]* [A-Za-z]+)\b")
DATE = re.compile(r"(?<![\w.,-])(\d{4}-\d\d-\d\d)\b")
COMMAS = str.maketrans({",": "،", ";": "؛"})


def runs_right(text: str) -> bool:
    """Whether most letters of a Markdown text's prose run from right to left."""
    letters = (char for block in blocks(text) for char in block.prose)
    sides = [unicodedata.bidirectional(char) for char in letters if char.isalpha()]
    return sum(side in RIGHT_TO_LEFT for side in sides) > len(sides) / 2


def framed(text: str) -> str:
    """A notebook's text, in a frame where it runs from right to left.

    JupyterLab and Colab begin every text at the left, whatever its script, and let its
    code fall apart. Headings stay as they are: links go by them.
    """
    if not runs_right(text):
        return text
    parts = FENCE.split(text)  # prose and code blocks by turns
    parts[1::2] = [FRAME.format("ltr", part) for part in parts[1::2]]
    for n, part in enumerate(parts[::2]):
        lines = [
            line if line.startswith("#") else CODE.sub(rf"{APART}\g<0>{END}", line)
            for line in part.split("\n")
        ]
        parts[2 * n] = "\n".join(lines)
    return FRAME.format("rtl", _at_the_right("".join(parts)))


def _at_the_right(text: str) -> str:
    """A text whose paragraphs stand at the right, those of a script from there."""
    lines = text.split("\n")
    for opened, inline in pairwise(PARSER.parse(text)):
        # A hidden one is an item of a list, and no paragraph.
        shown = opened.type == "paragraph_open" and not opened.hidden
        if shown and _has_right(inline.content):
            first, last = opened.map[0], opened.map[1] - 1
            head = inline.content.partition("\n")[0].rstrip()
            at = len(lines[first].rstrip()) - len(head)  # behind "> " or "- "
            lines[first] = f"{lines[first][:at]}{INSIDE}{lines[first][at:]}"
            lines[last] = f"{lines[last].rstrip()}</span>"
    return "\n".join(lines)


def _has_right(text: str) -> bool:
    return any(unicodedata.bidirectional(char) in RIGHT_TO_LEFT for char in text)


def steady(line: str) -> str:
    """A line that the tools wrote, its figures in their order and commas of the script.

    Arabic letters would turn "1017 s" and a date round.
    """
    if not _has_right(line):
        return line
    for pattern in (UNIT, DATE):
        line = pattern.sub(rf"{LEFT}\1{RIGHT}", line)
    if "AL" in map(unicodedata.bidirectional, line):
        line = re.sub(r"[,;](?= )", lambda found: found[0].translate(COMMAS), line)
    return line
