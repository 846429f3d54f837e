"""A language's glossary: its terms, and the phrases that the tools write."""

import html
import re
from collections import defaultdict
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

from helpers.files import ROOT
from translations.labels import (
    COMMA,
    ENGLISH_COUNTS,
    MADE_BY_MODELS,
    NOT_SAID,
    NUMBER,
    OWN_NAME,
    UNITS,
    number_form,
)
from translations.markdown_blocks import PARSER, blocks
from translations.outputs import BAR, MOVES
from translations.pages import read_text

NAME = "glossary.md"
ENGLISH = "notebooks/glossary.md"  # what each term means, and where a lesson says so
# Further words that are to be translated alike.
WORDS = ("exercise", "field", "hash", "inference", "mask", "message", "parameter")
WORDS += ("solution", "template", "training")
PHRASES = (
    *("Measured", "Predicted, not measured", "on a", "2-core CPU", NUMBER, "not yet"),
    *("lesson", "profile, machine", "seconds"),
    *("peak memory", "exact match before", "after", "training"),
    *("Open in Colab", "Read it as a site"),
    *(OWN_NAME, "All lessons", "Previous", "Next", "Run it", "Download the notebook"),
    *("What the cells print is from", MOVES, BAR),
    *("Not translated yet.", "The English text has changed since."),
    "Out of date: the English text is shown.",
    "Code, and what it prints, stays in English.",
    *(MADE_BY_MODELS, ENGLISH_COUNTS),
)
# Scripts that put no space between words, or write small words as part of the next:
# Hebrew, Arabic; Thai, Lao; Burmese; Hangul; Khmer; Kana, Han, Hangul.
JOINED = re.compile(
    "[\u0590-\u06ff\u0e00-\u0eff\u1000-\u109f\u1100-\u11ff\u1780-\u17ff"
    "\u3040-\u9fff\uac00-\ud7af\U00020000-\U0003ffff]"
)
# Written or left out at will: short vowels of Arabic and Hebrew, and the stroke that
# lengthens an Arabic letter.
VOWELS = re.compile("[\u0591-\u05bd\u05bf\u05c1\u05c2\u0640\u064b-\u0652\u0670]")
ABSENT_CELLS = 4  # cells with a term, none with its translation: surely another word


class Glossary:
    """terms: {English: [translation, other stems]}; phrases: {English: translation}."""

    def __init__(self, terms: dict[str, list[str]], phrases: dict[str, str]) -> None:
        self.terms, self.phrases = terms, phrases
        longest_first = sorted(terms, key=len, reverse=True)
        names = "|".join(map(re.escape, longest_first)) or r"(?!)"
        self._term = re.compile(rf"\b({names})(?:s|es)?\b", re.IGNORECASE)

    def used(self, english: str) -> set[str]:
        """The terms that an English text uses as words, the longest first."""
        lower = {term.lower(): term for term in self.terms}
        return {lower[found.lower()] for found in self._term.findall(_words(english))}

    def kept(self, term: str, translated: str) -> bool:
        """Whether a translated text has the term's translation or a stem."""
        words = _plain(_words(translated))
        return any(_holds(words, _plain(form)) for form in self.terms[term])


def _holds(words: str, form: str) -> bool:
    if len(form) > 3 or JOINED.search(form):
        return form in words
    letter = rf"(?:(?!{JOINED.pattern})\w)"  # of a script that parts its words
    return bool(re.search(rf"(?<!{letter}){re.escape(form)}(?!{letter})", words))


def _plain(text: str) -> str:
    return VOWELS.sub("", text).lower()


def _words(text: str) -> str:
    return " ".join(" ".join(block.prose for block in blocks(text)).split())


def read(folder: Path) -> Glossary:
    """The Glossary of a language's folder: empty where there is no file."""
    tables = _tables(_text(folder))
    terms, phrases = ([_pair(row) for _, row in t[1:]] for t in (tables + [[], []])[:2])
    forms = {term: re.split(r"\s*;\s*", text) for term, text in terms if text}
    phrases = {"on an": dict(phrases).get("on a", "")} | dict(phrases)
    return Glossary(forms, phrases)


def _text(folder: Path) -> str:
    """The text of a folder's glossary, "" without one. Raises PageError."""
    name = f"translations/{folder.name}/{NAME}"
    return read_text(folder.parent.parent, name) if (folder / NAME).exists() else ""


@lru_cache(maxsize=32)  # each edition asks the glossary of every language
def _tables(text: str) -> list[list[tuple[int, list[str]]]]:
    """The tables of a page, each a list of (line from 0, cells), head first."""
    lines = text.split("\n")
    spans = [token.map for token in PARSER.parse(text) if token.type == "table_open"]
    return [
        [(n, _cells(lines[n])) for n in range(start, end) if n != start + 1]
        for start, end in spans
    ]


def _cells(line: str) -> list[str]:
    """The cells of a row. No-break spaces at their ends are part of a phrase."""
    cells = re.split(r"(?<!\\)\|", line.strip())[1:-1]
    return [html.unescape(cell.strip(" \t")) for cell in cells]


def _pair(row: list[str]) -> list[str]:
    return (row + ["", ""])[:2]


def check(folder: Path) -> list[tuple[int, str]]:
    """What is wrong in a folder's glossary, as [(line, message)]."""
    text = _text(folder)
    tables = _tables(text)
    if len(tables) < 2:
        message = "two tables are wanted, of terms and of phrases; copy them from"
        return [(1, f"{message} another language's {NAME}")]
    errors = _stray_rows(text, tables)
    for head, *rows in tables[:2]:
        message = f"a row of this table has {len(head[1])} cells, each between two |"
        errors += [(n + 1, message) for n, row in rows if len(row) != len(head[1])]
    terms, phrases = ({_pair(row)[0]: n for n, row in table} for table in tables[:2])
    lost = [term for term in english_terms() if term not in terms]
    if lost and not errors:
        message = f"no row of the first table is for: {', '.join(lost)}"
        errors.append((tables[0][0][0] + 1, f"{message}; add | {lost[0]} | | |"))
    written = read(folder).phrases.get(NUMBER)
    if written and not number_form(written):
        message = f"{NUMBER} keeps its digits and sign, as in 1.234,5 %, and no plain"
        errors.append((phrases[NUMBER] + 1, f"{message} space parts the digits"))
    units = read(folder).phrases.get(UNITS)
    if units and len(COMMA.split(units)) != len(UNITS.split()):
        message = f"{UNITS}: as many units are wanted, each after a comma"
        errors.append((phrases[UNITS] + 1, message))
    if lost := [phrase for phrase in PHRASES if phrase not in phrases]:
        message = f"no row of the second table is for: {' / '.join(lost)}"
        errors.append((tables[1][0][0] + 1, f"{message}; add | {lost[0]} | |"))
    return sorted(errors)


def _stray_rows(text: str, tables: list) -> list[tuple[int, str]]:
    """[(line, message)] of rows in no table, the first of those that stand together."""
    inside = {n for table in tables for n, _ in table}
    inside |= {table[0][0] + 1 for table in tables}
    rows = [n for n, line in enumerate(text.split("\n")) if line.lstrip()[:1] == "|"]
    stray = [n for n in rows if n not in inside]
    message = "this row is in no table: a table has no empty line, and |---| below"
    firsts = [n for n in stray if n - 1 not in stray]
    return [(n + 1, f"{message} each cell of its head") for n in firsts]


def english_rows() -> list[list[str]]:
    """[term, what it is, link to a lesson]: the rows of the English page."""
    return [row for _, row in _tables(read_text(ROOT, ENGLISH))[0][1:]]


def english_terms() -> list[str]:
    """The English terms that every glossary has a row for."""
    return sorted({*WORDS, *(row[0] for row in english_rows())}, key=str.lower)


def template(known: Iterable[str] = ()) -> str:
    """An empty glossary. known: English terms of another language's."""
    words = sorted({*english_terms(), *known}, key=str.lower)
    terms = "\n".join(f"| {word} | | |" for word in words)
    made = {MADE_BY_MODELS: NOT_SAID}
    phrases = "\n".join(f"| {p} | {made.get(p, '')} |" for p in PHRASES)
    phrases = phrases.replace("|  |", "| |")
    return f"""# Glossary

One name for one thing. Give the translation; after a semicolon, other stems that are
right too. `check` looks for them wherever an English cell uses the term. A row without
a translation is not checked. [What the terms mean](../../notebooks/glossary.md).

| English | translation; stems | note |
|---|---|---|
{terms}

## Phrases that the tools write

`-` in the row that begins "This translation was made" says that people translated. If
language models did, write that sentence there: it then stands on every page.

| English | translation |
|---|---|
{phrases}
"""


def compare(glossary: Glossary, pairs: list[tuple[str, str, str]]) -> tuple:
    """(errors, warnings) of one page, each [(cell id, message)].

    pairs: [(cell id, English text, translated text)] of the translated cells.
    """
    errors, with_term, without = [], defaultdict(list), defaultdict(list)
    for name, english, translated in pairs:
        terms = sorted(glossary.used(english))
        lost = [term for term in terms if not glossary.kept(term, translated)]
        for term in terms:
            (without if term in lost else with_term)[term].append(name)
        if len(lost) > 1 and lost == terms:
            message = f"none of the terms {', '.join(terms)} is in this text; "
            errors.append((name, message + "is it the text of another cell?"))
    warnings = []
    for term, names in without.items():
        forms = " or ".join(map(repr, glossary.terms[term]))
        message = f"glossary: English has {term!r}, the text lacks {forms}"
        if len(names) >= ABSENT_CELLS and not with_term[term]:
            message += " in any cell; correct the text, or the glossary"
            errors.append((names[0], message))
        else:
            total = len(names) + len(with_term[term])
            warnings.append((names[0], f"{message} in {len(names)} of {total} cells"))
    return errors, warnings
