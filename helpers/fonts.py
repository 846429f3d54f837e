"""Fonts for the words of a figure: matplotlib's own lack many scripts."""

import re
from functools import cache

from matplotlib import rcParams
from matplotlib.font_manager import FontProperties, findfont, fontManager, get_font

from helpers.language import language

# Where one letter has several shapes: names of fonts that draw it as a language does.
SHAPES = {
    "ja": r"\bJP\b|Hiragino|Yu Gothic|Meiryo|IPA|Takao|VL ",
    "ko": r"\bKR\b|Malgun|Nanum|Apple SD",
    "zh-Hans": r"\bSC\b|YaHei|SimHei|WenQuanYi",
    "zh-Hant": r"\bTC\b|\bHK\b|JhengHei",
}
BOXES = "Last Resort"  # draws any letter as an empty box


@cache
def families(text: str) -> list[str] | None:
    """The fonts that draw a text together; None where this machine lacks a letter."""
    usual = rcParams["font.family"]
    lacking = _lacking(text, findfont(FontProperties()))
    if not lacking:
        return usual
    shapes = SHAPES.get(language(), "")
    found = [font for font in fontManager.ttflist if BOXES not in font.name]
    for font in sorted(found, key=lambda f: not re.search(shapes, f.name)):
        if not _lacking("".join(lacking), font.fname):
            return [*usual, font.name]
    return None


def _lacking(text: str, file: str) -> set[str]:
    """The letters of a text that a font's file does not have."""
    known = _letters(file)
    return {char for char in text if char.isprintable() and ord(char) not in known}


@cache
def _letters(file: str) -> frozenset[int]:
    try:
        return frozenset(get_font(file).get_charmap())
    except (OSError, RuntimeError):  # gone, or no font that matplotlib reads
        return frozenset()
