"""Random edits to the translations of the course: each is caught, or harmless.

A kind of edit takes a page's text and a random generator and returns the edited text,
or None where the page has nothing of its kind.
"""

import copy
import functools
import random
import re
import shutil
import time

import pytest

from helpers.files import ROOT
from tests.translations.pseudo_translation import KEPT
from tests.translations.translation_course import copy_pages
from translations import checking, lessons, rules
from translations.checking import COMPLETE, check_page
from translations.edition import Edition, begun_pages, languages
from translations.pages import read_pages

EDITS = 20  # of each kind
CELLS = re.compile(r"^(?=<!-- cell:)", re.MULTILINE)


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    """A copy of the English pages and their translations; the pages as read."""
    root = tmp_path_factory.mktemp("course")
    copy_pages(root)
    for language in begun_pages(ROOT):  # each page links those of all languages
        folder = root / "translations" / language
        shutil.copytree(ROOT / "translations" / language, folder)
    return root, read_pages(root)


def is_code(cell):
    return bool(re.match(r"<!--[^\n]*\n`{3,}python\n", cell))


def in_prose(change):
    """Make an edit of a page from one of the body of a random text cell."""

    def edit(text, rng):
        cells = CELLS.split(text)
        chosen = [i for i, c in enumerate(cells) if i and not is_code(c)]
        rng.shuffle(chosen)
        for i in chosen:
            head, _, body = cells[i].partition("\n")
            changed = change(body, rng)
            if changed not in (None, body):
                cells[i] = f"{head}\n{changed}"
                return "".join(cells)
        return None

    return edit


def at_random(pattern, replacement):
    """Make an edit that replaces one random match; replacement: of (match, rng)."""

    def change(body, rng):
        found = list(re.finditer(pattern, body, flags=re.MULTILINE | re.DOTALL))
        if not found:
            return None
        match = rng.choice(found)
        new = replacement(match, rng)
        return body[: match.start()] + new + body[match.end() :]

    return in_prose(change)


def other_digit(match, rng):
    return rng.choice([d for d in "0123456789" if d != match.group()])


def one_character_less(match, rng):
    """Drop one letter or digit of the match, never its marks."""
    text = match.group()
    at = rng.choice([i for i, c in enumerate(text) if c.isalnum()])
    return text[:at] + text[at + 1 :]


def drop_paragraph(body, rng):
    """Drop one paragraph of a cell that has more of them, but no code or tags."""
    parts = body.strip("\n").split("\n\n")
    prose = [i for i, p in enumerate(parts) if p[:1] not in "`<" and p]
    if len(parts) < 2 or not prose or "```" in body:
        return None
    del parts[rng.choice(prose)]
    return "\n\n".join(parts) + "\n\n"


def drop_line(body, rng):
    """Drop one item of a list or row of a table."""
    lines = body.split("\n")
    found = [i for i, li in enumerate(lines) if re.match(r"- |\| (?!---)", li)]
    if not found:
        return None
    del lines[rng.choice(found)]
    return "\n".join(lines)


def code_line(text, rng):
    """Change, drop or double one line of a code cell."""
    cells = CELLS.split(text)
    i = rng.choice([i for i, cell in enumerate(cells) if i and is_code(cell)] or [0])
    if not i:
        return None
    lines = cells[i].split("\n")
    last = max(j for j, line in enumerate(lines) if line.startswith("```"))
    at = rng.choice([j for j in range(2, last) if lines[j].strip()])
    new = {"drop": [], "double": [lines[at]] * 2, "change": [lines[at] + " + 1"]}
    lines[at : at + 1] = new[rng.choice(sorted(new))]
    cells[i] = "\n".join(lines)
    return "".join(cells)


def swap_texts(text, rng):
    """Exchange the texts of two cells; their comments stay."""
    cells = CELLS.split(text)
    prose = [i for i, cell in enumerate(cells) if i and not is_code(cell)]
    i, j = rng.sample(prose, 2)
    heads, bodies = zip(*(cells[k].split("\n", 1) for k in (i, j)), strict=True)
    cells[i], cells[j] = f"{heads[0]}\n{bodies[1]}", f"{heads[1]}\n{bodies[0]}"
    return "".join(cells)


def swap_cells(text, rng):
    """Exchange two cells, comments and all."""
    cells = CELLS.split(text)
    i, j = rng.sample(range(1, len(cells)), 2)
    cells[i], cells[j] = cells[j].rstrip("\n") + "\n\n", cells[i].rstrip("\n") + "\n\n"
    return "".join(cells)


def drop_cell(text, rng):
    cells = CELLS.split(text)
    del cells[rng.randrange(1, len(cells))]
    return "".join(cells)


def other_word(body, rng):
    """Write one word of the prose in another way: harmless to every rule."""
    free, at = [], 0
    for kept in [*KEPT.finditer(body), None]:
        end = kept.start() if kept else len(body)
        words = re.finditer(r"(?<=[ \n])[^\W\d_]{6,}(?=[ .,])", body[at:end])
        free += [at + word.start() for word in words]
        at = kept.end() if kept else at
    if not free:
        return None
    i = rng.choice(free)
    return body[:i] + ("b" if body[i] != "b" else "c") + body[i + 1 :]


FENCE = r"(?<=```python\n).*?(?=\n```)"
KINDS = {
    "a digit": at_random(r"\d", other_digit),
    "a formula": at_random(r"(?<=[\s(])\$[^$\n]*\w[^$\n]*\$", one_character_less),
    "inline code": at_random(r"(?<!`)`[^`\n]*\w[^`\n]*`(?!`)", one_character_less),
    "a link": at_random(r"(?<=\]\()[^)]+(?=\))", one_character_less),
    "a link's brackets": at_random(r"\]\(", lambda m, rng: rng.choice(["] (", "]"])),
    "a code line": code_line,
    "code of a solution": at_random(FENCE, one_character_less),
    "a dropped paragraph": in_prose(drop_paragraph),
    "a dropped row or item": in_prose(drop_line),
    "swapped texts": swap_texts,
    "swapped cells": swap_cells,
    "a dropped cell": drop_cell,
    "a heading's level": at_random(r"^#{1,3}(?= )", lambda m, rng: m.group() + "#"),
    "a tag": at_random(r"</?(details|summary)>", lambda m, rng: "<div>"),
}


def edited(course, kind, edit, number):
    """Yield (language, page, text before, text after) of random edits of one kind."""
    root, pages = course
    rng = random.Random(f"{kind} 0")
    while number:
        page, language = rng.choice(pages), rng.choice(COMPLETE)
        path = root / "translations" / language / f"{page.name}.md"
        before = path.read_text(encoding="utf-8")
        after = edit(before, rng)
        if after is not None and after != before:
            number -= 1
            yield language, page, before, after


def test_translations_of_the_course_are_true():
    """First, for its time is that of parsing; what is parsed serves the edits."""
    pages, seconds = read_pages(ROOT), {}
    for language in ("en", *languages(ROOT)):
        start = time.process_time()
        assert lessons.check_edition(Edition(ROOT, pages, language)) == [], language
        seconds[language] = time.process_time() - start
    assert len(COMPLETE) >= 4  # languages of the whole course, in three to five seconds
    assert sum(seconds[language] for language in COMPLETE) < 8 * len(COMPLETE) / 4


@pytest.fixture(scope="module")
def errors(course):
    """errors(language, page, text): those of `check` when a page has this text.

    What is read of the other pages is read once.
    """
    root, pages = course
    whole = {language: Edition(root, pages, language) for language in COMPLETE}
    for edition in whole.values():
        check_page(edition, pages[0])  # it knows now where each page is, and the ledger

    def errors(language, page, text):
        usual = whole[language]
        edition = copy.copy(usual)
        for name in ("entries", "texts", "links"):
            own, known = getattr(Edition, name), getattr(usual, name)
            own = functools.partial(own, edition)
            fresh = functools.partial(_either, page, functools.cache(own), known)
            setattr(edition, name, fresh)
        edition.text = functools.partial(_either, page, lambda _: text, usual.text)
        edition.anchors = functools.partial(Edition.anchors, edition)
        return check_page(edition, page)[0]

    with pytest.MonkeyPatch.context() as patch:  # all cells but one stay as they are
        patch.setattr(checking.rules, "compare", functools.cache(rules.compare))
        yield errors


def _either(page, own, known, asked):
    """What one function says of a page, and another one of the others."""
    return own(asked) if asked == page else known(asked)


def difference(before, after):
    """Return the first line that an edit changed, as "old -> new"."""
    pairs = zip(before.split("\n"), after.split("\n"), strict=False)
    return next((f"{a[:90]!r} -> {b[:90]!r}" for a, b in pairs if a != b), "the end")


@pytest.mark.parametrize("kind", KINDS)
def test_every_edit_is_caught(course, errors, kind):
    survivors = []
    for language, page, before, after in edited(course, kind, KINDS[kind], EDITS):
        said = errors(language, page, after)
        if not said:
            where = f"{language}/{page.name}"
            survivors.append(f"{where}: {difference(before, after)}")
        for message in said:
            start = rf"translations/{language}/{page.name}\.md:\d+: \S"
            assert re.match(start, message) and "\n" not in message
    print(*survivors, sep="\n")
    # Two headings, or two plain sentences, that no fact tells apart may change places.
    assert len(survivors) <= (2 if kind == "swapped texts" else 0), survivors


def test_another_word_is_the_translators_business(course, errors):
    edit = in_prose(other_word)
    for language, page, _, after in edited(course, "a word", edit, EDITS):
        assert errors(language, page, after) == []
