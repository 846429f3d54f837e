"""What the ledger says in another language: labels, numbers and links."""

import re

import pytest

from helpers.course import Wording, address, ledger
from tests.translations.pseudo_translation import LANGUAGE, make_language, run
from tests.translations.translation_course import (
    ENTRY,
    README,
    counts,
    errors,
    file,
    make_course,
    make_pages,
    said,
    text,
)
from translations import glossary
from translations.labels import NUMBER, UNITS, number_form, wording
from translations.pages import emptied, filled

URL = "https://github.com/someone/training-1.5"
SPACE = "\u00a0"
FIGURES = {"base_exact_match": 0.0, "tuned_exact_match": 0.858}
PREDICTED = {"lesson": "00_first", "profile": "gpu-16gb", "card": "T4"}
PREDICTED |= {"minutes": 5.2, "gib": 10.3}
ROW = ENTRY | {"seconds": 36.2, "peak_rss_mib": 1092.0, "figures": FIGURES}
BADGES = address.badges_block(URL)
TABLE = ledger.results_block([ROW])


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    """A small course that quotes a ledger and an address, and its translation."""
    course = tmp_path_factory.mktemp("template")
    make_course(course)
    readme = README.replace("Clone it.", f"{address.badges_block('')}\n\nClone it.")
    (course / "README.md").write_text(readme, encoding="utf-8")
    make_pages(course, [ROW], URL)
    make_language(course)
    return course


def phrase(root, english, translation):
    """Give a phrase of the glossary another translation."""
    path = file(root, "glossary")
    row = rf"^\| {re.escape(english)} \| [^|]*\|$"
    new = f"| {english} | {translation} |"
    content, count = re.subn(row, new, text(root, "glossary"), flags=re.MULTILINE)
    assert count == 1
    path.write_text(content, encoding="utf-8")


def measured(root):
    return next(li for li in text(root).split("\n") if "<!-- measured" in li)


# Numbers

FORMS = {
    "1.234,5%": ("1.092", "85,8%", "12.345,25", "1234"),
    f"1{SPACE}234,5{SPACE}%": (
        *(f"1{SPACE}092", f"85,8{SPACE}%", f"12{SPACE}345,25", "1234"),
    ),
    "1234.5 %": ("1092", "85.8 %", "12345.25", "1234"),
    "%1.234,5": ("1.092", "%85,8", "12.345,25", "1234"),
}
# As the ledger asks for them: value, and how English writes it.
VALUES = [(1092.0, ",.0f"), (0.858, ".1%"), (12345.25, ",.2f"), (1234.4, ".0f")]


@pytest.mark.parametrize("written", FORMS)
def test_numbers_are_written_as_the_glossary_shows(written):
    number = wording(LANGUAGE, {NUMBER: written}).number
    assert tuple(number(*value) for value in VALUES) == FORMS[written]


@pytest.mark.parametrize("written", FORMS)
def test_numbers_keep_their_value(written):
    _, group, decimal, _ = number_form(written)
    number = wording(LANGUAGE, {NUMBER: written}).number
    for value in (0, 7, 36, 999, 1000, 65536, 1234567.89, 0.5):
        shown = number(value, ",.2f")
        plain = shown.replace(group, "") if group else shown
        assert float(plain.replace(decimal, ".")) == value


@pytest.mark.parametrize("written", ["", "1 234,5%", "1,234,5%", "1.235,5%", "1.234,5"])
def test_number_that_cannot_be_read_leaves_the_english_form(written):
    number = wording(LANGUAGE, {NUMBER: written}).number
    assert number(1092.0, ",.0f") == "1,092" and number(0.858, ".1%") == "85.8%"


def test_measured_figures_follow_the_glossary_and_make_nothing_stale(whole):
    phrase(whole, NUMBER, f"1{SPACE}234,5{SPACE}%")
    assert counts(whole)["stale"] == 0 and len(errors(whole)) == 2
    assert run(whole, "sync") == 0 == run(whole, "check")
    assert f"36 s, 1{SPACE}092 MiB." in measured(whole)
    readme = text(whole, "README")
    assert f"| 36 | 1{SPACE}092 MiB | 0,0{SPACE}% | 85,8{SPACE}% |" in readme


def test_number_of_the_glossary_with_a_plain_space_is_an_error(whole, capsys):
    phrase(whole, NUMBER, "1 234,5 %")
    code, _, err = said(whole, "check", capsys=capsys)
    lines = text(whole, "glossary").split("\n")
    at = next(n for n, li in enumerate(lines, 1) if li.startswith(f"| {NUMBER} |"))
    assert code == 1 and f"glossary.md:{at}: {NUMBER} keeps its digits and sign" in err


def add_units(root, units):
    path, last = file(root, "glossary"), "\n| lesson |"
    content = text(root, "glossary").replace(last, f"\n| {UNITS} | {units} |{last}")
    path.write_text(content, encoding="utf-8")


def test_units_are_those_of_the_language_where_its_glossary_has_them(whole):
    make_pages(whole, [ROW | {"figures": {"training_seconds": 9}}, PREDICTED], URL)
    add_units(whole, "с, мин, МиБ, ГиБ")
    assert run(whole, "sync") == 0 == run(whole, "check")
    assert ": 36 с, 1,092 МиБ." in measured(whole)
    assert "6 мин, 11 ГиБ." in measured(whole)
    row = next(li for li in text(whole, "README").split("\n") if "МиБ" in li)
    assert row.endswith("| 9 с |")
    assert not re.search(r"\d (s|min|[MG]iB)\b", measured(whole) + row)


def test_units_that_are_not_four_are_an_error(whole, capsys):
    add_units(whole, "с, мин, МиБ")
    assert run(whole, "sync") == 0
    code, _, err = said(whole, "check", capsys=capsys)
    assert code == 1 and f"{UNITS}: as many units are wanted" in err


# Labels


def test_no_break_space_before_a_colon_is_kept_and_the_text_stays_bold(whole):
    phrase(whole, "Measured", f"Mesur\u00e9{SPACE}")
    phrase(whole, "2-core CPU", f"CPU{SPACE}2{SPACE}")
    assert run(whole, "sync") == 0 == run(whole, "check")
    assert measured(whole).startswith(f"**Mesur\u00e9**{SPACE}: `tiny` ba n CPU")
    assert f"CPU{SPACE}2{SPACE}: 36 s" in measured(whole)


@pytest.mark.parametrize(
    ("device", "words"),
    [
        ("2-core CPU", "on a 2-core"),
        ("8-core CPU", "on an 8-core"),
        ("11-core CPU", "on an 11-core"),
        ("18-core CPU", "on an 18-core"),
        ("80-core CPU", "on an 80-core"),
        ("16-core CPU", "on a 16-core"),
        ("180-core CPU", "on a 180-core"),
        ("NVIDIA H100", "on an NVIDIA"),
        ("Tesla T4", "on a Tesla"),
    ],
)
def test_article_fits_the_machine_and_is_translated_alike(device, words):
    row = ROW | {"machine": {"device": device}}
    assert f"`tiny` {words}" in ledger.measured_line("00_first", [row])
    french = Wording("fr", {"on a": "sur un", "on an": "sur un"})
    line = ledger.measured_line("00_first", [row], "", french)
    assert f"`tiny` sur un {device}:" in line


def test_glossary_translates_both_articles_by_one_row(whole):
    phrase(whole, "on a", "sur un")
    assert glossary.read(file(whole).parent).phrases["on an"] == "sur un"


@pytest.mark.parametrize("entries", [[], [ROW, PREDICTED]])
def test_whatever_the_ledger_says_has_a_row_in_the_glossary(entries):
    class Recorded(Wording):
        def say(self, phrase):
            said.add(phrase)
            return phrase

    said, words = set(), Recorded()
    ledger.measured_line("00_first", entries, URL, words)
    ledger.results_block(entries, words)
    address.badges_block(URL, words)
    assert "Measured" in said and said <= {*glossary.PHRASES, "on an"}
    assert ("Predicted, not measured" in said) == (PREDICTED in entries)


# The public address


def test_badges_are_copied_and_their_links_are_of_the_language(whole):
    readme = text(whole, "README")
    block = readme[readme.index(address.BEGIN) : readme.index(address.END)]
    assert block.count(URL) == 2 and "[Ernq vg nf n fvgr](" in block
    start = address.colab(LANGUAGE, "00_start_here", URL)
    assert f"]({start})" in block and "/en/" not in block


def test_measured_line_opens_the_lesson_of_the_language_in_colab(whole):
    link = f"[Bcra va Pbyno]({address.colab(LANGUAGE, '00_first', URL)})"
    assert f"{link} <!-- measured -->" in measured(whole)


def test_address_that_holds_a_label_stays_as_it_is(whole):
    assert URL.endswith("training-1.5") and f"{URL}/actions" in text(whole, "README")


def test_set_address_changes_every_language_and_makes_nothing_stale(whole):
    before = counts(whole, "README")
    make_pages(whole, [ROW], "")
    assert URL not in (whole / "README.md").read_text(encoding="utf-8")
    assert counts(whole, "README") == before and run(whole, "check") == 1
    assert run(whole, "sync") == 0 == run(whole, "check")
    assert f"{address.BEGIN}\n{address.END}" in text(whole, "README")


def test_blocks_of_the_ledger_are_taken_out_by_name():
    page = f"A\n\n{BADGES}\n\nB\n\n{TABLE}\n\nC"
    kept = emptied(page)
    assert kept == "A\n\n<!-- badges -->\n\nB\n\n<!-- results -->\n\nC"
    parts = {"<!-- badges -->": BADGES, "<!-- results -->": TABLE}
    assert filled(kept, parts) == page
    assert emptied(page.replace(address.END, "")).count(URL) == BADGES.count(URL)
