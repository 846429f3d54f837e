"""The glossary's file: what is broken in it is named, by its line."""

import pytest

from tests.translations.pseudo_translation import run
from tests.translations.translation_course import edit, errors, file, said, text
from translations import glossary


def line(root, english):
    lines = text(root, "glossary").split("\n")
    return next(n for n, li in enumerate(lines, 1) if li.startswith(f"| {english} |"))


def check_glossary(root):
    """Return what is wrong as "line: message"."""
    return [f"{n}: {message}" for n, message in glossary.check(file(root).parent)]


def test_new_glossary_is_in_order(whole):
    assert check_glossary(whole) == []
    run(whole, "sync", "--new", "fr")
    assert glossary.check(file(whole, language="fr").parent) == []


def test_empty_line_in_a_table_is_an_error(whole):
    edit(whole, "| batch |", "\n| batch |", "glossary")
    [found] = check_glossary(whole)
    assert found.startswith(f"{line(whole, 'batch')}: this row is in no table")


def test_broken_line_below_the_head_is_an_error(whole):
    edit(whole, "|---|---|\n| Measured", "|---|\n| Measured", "glossary")
    assert check_glossary(whole)


@pytest.mark.parametrize(
    "broken",
    ["adapter | nqncgre | |", "| adapter nqncgre | |", "| adapter | nqncgre |"],
)
def test_lost_bar_is_an_error(whole, broken):
    at = line(whole, "adapter")
    edit(whole, "| adapter | nqncgre | |", broken, "glossary")
    [found] = check_glossary(whole)
    assert found.startswith(f"{at}: a row of this table has 3 cells")


def test_bar_that_is_escaped_is_part_of_a_note(whole):
    edit(whole, "| nqncgre | |", r"| nqncgre | not x \| y |", "glossary")
    assert check_glossary(whole) == []


def test_renamed_english_term_is_an_error(whole):
    edit(whole, "| adapter |", "| adaptor |", "glossary")
    [found] = check_glossary(whole)
    assert "no row of the first table is for: adapter; add | adapter | | |" in found


def test_language_may_add_terms(whole):
    edit(whole, "| adapter |", "| roofline | x | |\n| adapter |", "glossary")
    assert check_glossary(whole) == []


def test_absent_phrase_is_an_error(whole, capsys):
    edit(whole, "| after | nsgre |\n", "", "glossary")
    [found] = check_glossary(whole)
    assert "no row of the second table is for: after; add | after | |" in found
    run(whole, "sync")
    code, _, err = said(whole, "check", capsys=capsys)
    assert code == 1 and "translations/qps/glossary.md:" in err


def test_heading_of_the_phrases_is_free(whole):
    edit(whole, "## Phrases that the tools write", "", "glossary")
    assert check_glossary(whole) == [] and errors(whole) == []


@pytest.mark.parametrize("content", [None, "", "# Glossary\n"])
def test_glossary_without_its_tables_is_an_error(whole, capsys, content):
    path = file(whole, "glossary")
    path.unlink()
    if content is not None:
        path.write_text(content, encoding="utf-8")
    code, _, err = said(whole, "check", capsys=capsys)
    assert code == 1 and "glossary.md:1: two tables are wanted" in err
