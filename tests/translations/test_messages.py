"""What a newcomer gets wrong in a translation: each slip is named with its remedy."""

import re

import pytest

from tests.translations.pseudo_translation import LANGUAGE, make_language, rot13, run
from tests.translations.translation_course import (
    FIRST,
    PLAIN,
    edit,
    errors,
    file,
    make_course,
    said,
    text,
    write_lesson,
)
from translations import rules
from translations.edition import languages
from translations.pages import digest

LESSON = FIRST | {
    "plain": PLAIN,
    "plain-after": "It is read again in every step, and then the run goes on.",
    "code-data": "rows = [1]\n\nprint(rows)",
    "task-after": "Each row is one message of the shop.\n\nThe last is a question.",
}


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    """A small course, with a code cell between two texts, and its translation."""
    course = tmp_path_factory.mktemp("template")
    make_course(course)
    write_lesson(course, "00_first", LESSON)
    make_language(course)
    return course


def cut_comment(root, cell):
    """Delete the line of a cell's comment; return the first line of its text."""
    lines = text(root).split("\n")
    at = next(i for i, li in enumerate(lines) if li.startswith(f"<!-- cell: {cell} "))
    first = lines[at + 1]
    del lines[at]
    file(root).write_text("\n".join(lines), encoding="utf-8")
    return first


def line_of(root, message):
    """Return the line of the page that a message names."""
    return text(root).split("\n")[int(message.split(":")[1]) - 1]


@pytest.mark.parametrize("cell", ["task-after", "title"])
def test_deleted_comment_is_offered_again_at_the_text(whole, cell):
    before = text(whole)
    first = cut_comment(whole, cell)
    [found] = errors(whole)
    assert f"was the comment of {cell} deleted?" in found
    assert line_of(whole, found) == first
    [offered] = re.findall("`(<!--.*?-->)` above it", found)
    edit(whole, first, f"{offered}\n{first}")
    assert run(whole, "sync") == 0 == run(whole, "check")
    assert text(whole) == before


def test_mistyped_comment_below_code_is_named_by_its_cell(whole):
    edit(whole, "<!-- cell: task-after ", "<!-- zelle: task-after ")
    [found] = errors(whole)
    assert "was the comment of task-after deleted?" in found
    assert line_of(whole, found).startswith("<!-- zelle: task-after")


def test_text_above_code_is_not_offered_to_the_cell_below(whole):
    cut_comment(whole, "task-after")
    edit(whole, "```python\nrows", "Ubyn.\n\n```python\nrows")
    [found] = errors(whole)
    assert "move what is not code into another cell" in found
    assert line_of(whole, found) == "Ubyn."


def test_comment_deleted_between_two_texts_is_mended_with_and_without_sync(whole):
    before = text(whole)
    first = cut_comment(whole, "plain-after")
    long, absent = errors(whole)
    assert ": exercise-1: paragraph not in the English" in long
    assert ": plain-after: this cell is not in the file; its text seems" in absent
    form = f"<!-- cell: plain-after source: {digest(LESSON['plain-after'])} -->"
    assert f"`{form}` above it" in absent
    run(whole, "sync")
    long, missing = errors(whole)
    assert (
        "not translated, and exercise-1 is too long: if the text is there, cut"
        in missing
    )
    english = LESSON["plain-after"]
    edit(whole, f"\n{first}", "")
    edit(whole, english, first)
    assert run(whole, "sync") == 0 and text(whole) == before


def test_cell_that_is_only_not_translated_is_not_said_to_be_elsewhere(whole):
    cut_comment(whole, "plain-after")
    edit(whole, rot13(LESSON["plain-after"]), "")
    [found] = errors(whole)
    assert found.endswith("plain-after: this cell is not in the file; run `sync`")


@pytest.mark.parametrize(
    ("english", "translated", "words"),
    [
        ("- a\n- b\n- c", "- a\n- c", "one list item too few (English 3, here 2)"),
        ("1. a\n2. b", "1. a\n2. b\n3. c\n4. d", "2 list items too many (English 2, h"),
        ("- a\n\n  b\n- c\n- d", "- a\n\n  b\n- c", "too few (English 3, here 2)"),
        ("- a\n- b\n\nEnd", "End", "2 list items too few (English 2, here 0)"),
        ("- a\n\nT\n\n- b\n- c", "- a\n\nT\n\n- b", "too few (English 2, here 1)"),
    ],
)
def test_list_items_are_counted(english, translated, words):
    [(_, message)] = rules.compare(english, translated)
    assert words in message


def test_rows_are_counted_and_the_table_is_named():
    table = "T\n\n| a | b |\n|---|---|\n| 1 | x |\n| 2 | y |\n| 3 | z |\n\nEnd"
    dropped = table.replace("| 2 | y |\n", "")
    assert rules.compare(table, dropped) == [
        (4, "one row too few (English 3, here 2); keep their order")
    ]


def test_paragraph_lost_from_a_list_item_is_no_lost_item():
    [(_, message)] = rules.compare("- a\n\n  b\n- c", "- a\n- c")
    assert "list item missing or of another kind" in message and "few" not in message


@pytest.mark.parametrize("written", ["1 109", "uhaqreq"])
def test_number_in_words_or_with_a_plain_space_is_explained(whole, written):
    edit(whole, "1,109", written)
    [found] = errors(whole)
    assert "words stay words, figures stay figures; a plain space parts" in found


def test_changed_phrase_is_named_as_a_cause(whole):
    edit(whole, "| Measured | Zrnfherq |", "| Measured | Gemessen |", "glossary")
    [found] = errors(whole)
    assert "phrases of the glossary" in found
    assert run(whole, "sync") == 0 and "**Gemessen**" in text(whole)
    old = "Code, and what it prints, stays in English."
    edit(whole, rot13(old), "Code bleibt englisch.", "glossary")
    assert any("has a phrase of the glossary changed?" in e for e in errors(whole))


def test_lost_measured_line_is_asked_for_where_it_belongs(whole):
    lines = text(whole).split("\n")
    at = next(i for i, line in enumerate(lines) if line.startswith("**Zrnfherq**"))
    edit(whole, lines[at], "")
    [found] = errors(whole)
    assert "put, at the end of the cell, a line <!-- measured -->" in found
    assert int(found.split(":")[1]) == at - 1


def test_lost_table_of_readme_is_asked_for_between_its_paragraphs(whole):
    content = text(whole, "README")
    table = re.search("<!-- results.*end of results -->\n\n", content, re.DOTALL)
    edit(whole, table.group(), "", "README")
    [found] = errors(whole)
    assert "put, as paragraph 2 of the cell, a line <!-- results -->" in found
    line = content[: table.start()].count("\n") - 1
    assert int(found.split(":")[1]) == line


# Files and folders


def test_page_that_has_another_name_is_an_error(whole, capsys):
    file(whole).rename(file(whole, "00_commencez"))
    run(whole, "sync")
    file(whole, "notes").write_text("Later.", encoding="utf-8")
    code, _, err = said(whole, "check", capsys=capsys)
    folder = f"translations/{LANGUAGE}"
    assert code == 1
    assert f"{folder}/00_commencez.md:1: no English page has this name; its" in err
    assert "its name is 00_first.md" in err
    assert f"{folder}/notes.md:1: no English page has this name; rename or" in err


def test_folder_that_is_no_language_is_an_error(whole, capsys):
    folder = file(whole).parent
    folder.rename(folder.with_name("french"))
    code, _, err = said(whole, "check", capsys=capsys)
    assert code == 1 and "translations/french: not a language code of BCP 47" in err
    code, _, err = said(whole, "check", "french", capsys=capsys)
    assert code == 2 and "such as fr, pt-BR" in err and "--new" not in err
    assert languages(whole) == []


def test_mark_of_utf_8_at_the_head_of_a_file_changes_nothing(whole):
    before = file(whole).read_bytes()
    for name in ("00_first", "glossary"):
        path = file(whole, name)
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert run(whole, "check") == 0 == run(whole, "sync")
    assert file(whole).read_bytes() == before


@pytest.mark.parametrize("name", ["00_first", "glossary"])
def test_file_in_another_encoding_is_named_from_the_root(whole, capsys, name):
    file(whole, name).write_text(text(whole, name), encoding="utf-16")
    code, _, err = said(whole, "check", capsys=capsys)
    assert code and f"translations/{LANGUAGE}/{name}.md:1: byte 0 is not UTF-8" in err
    assert str(whole) not in err and err.count("\n") == 1


def test_one_error_is_not_called_errors(whole, capsys):
    edit(whole, "1,109", "1,108")
    _, out, _ = said(whole, "check", capsys=capsys)
    assert f"{LANGUAGE}: 1 error, 0 warnings, 3 pages, 0 of them" in out


def test_new_language_ends_with_the_next_step(whole, capsys):
    _, out, _ = said(whole, "sync", "--new", "fr", capsys=capsys)
    last = " ".join(" ".join(out.splitlines()[-2:]).split())
    assert last.startswith("next: fill in translations/fr/glossary.md, translate a")
    assert last.endswith("run: sync fr, and check")
