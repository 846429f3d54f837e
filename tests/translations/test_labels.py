"""Labels, numbers and links of what `helpers.ledger` writes"""

import re

import pytest

from helpers.course import address, ledger
from tests.translations.pseudo_translation import LANGUAGE, make_language, run
from tests.translations.translation_course import (
    FIRST,
    README,
    TITLE,
    counts,
    errors,
    file,
    make_course,
    said,
    text,
    write_lesson,
)
from translations import glossary
from translations.labels import ENGLISH_PAGES, NUMBER, labelled, number_form
from translations.pages import emptied

URL = "https://github.com/someone/training-1.5"
SPACE = "\u00a0"
ROW = {
    "lesson": "00_first",
    "profile": "tiny",
    "machine": {"device": "2-core CPU"},
    "seconds": 36.2,
    "peak_rss_mib": 1092.0,
    "figures": {"base_exact_match": 0.0, "tuned_exact_match": 0.858},
}
BADGES = f"{address.BEGIN}\n{address.badges(URL)}\n{address.END}"
TABLE = f"{ledger.BEGIN}\n{ledger.results_table([ROW])}\n{ledger.END}"


@pytest.fixture
def whole(tmp_path):
    """A small course that quotes a ledger and an address, and its translation."""
    make_course(tmp_path)
    readme = README.replace("Clone it.", f"{BADGES}\n\nClone it.")
    readme = re.sub("<!-- results.*results -->", TABLE, readme, flags=re.DOTALL)
    (tmp_path / "README.md").write_text(readme, encoding="utf-8")
    line = ledger.measured_line("00_first", [ROW], URL)
    title = ledger.MEASURED.sub(line, TITLE)
    write_lesson(tmp_path, "00_first", FIRST | {"title": title})
    make_language(tmp_path)
    return tmp_path


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
    "1.234,5%": ("1.092 MiB", "85,8%", "12.345,25"),
    f"1{SPACE}234,5{SPACE}%": (f"1{SPACE}092 MiB", f"85,8{SPACE}%", "12\u00a0345,25"),
    "1234.5 %": ("1092 MiB", "85.8 %", "12345.25"),
    "%1.234,5": ("1.092 MiB", "%85,8", "12.345,25"),
}


@pytest.mark.parametrize("written", FORMS)
def test_numbers_are_written_as_the_glossary_shows(written):
    english = ("1,092 MiB", "85.8%", "12,345.25")
    for number, wanted in zip(english, FORMS[written], strict=True):
        assert labelled(number, {NUMBER: written}) == wanted


@pytest.mark.parametrize("written", FORMS)
def test_numbers_keep_their_value(written):
    _, group, decimal, _ = number_form(written)
    for number in ("0", "7", "36", "999", "1,000", "65,536", "1,234,567.89", "0.5"):
        shown = labelled(f"is {number} s", {NUMBER: written})[3:-2]
        plain = shown.replace(group, "") if group else shown
        assert float(plain.replace(decimal, ".")) == float(number.replace(",", ""))


def test_code_comments_targets_and_versions_keep_their_numbers():
    kept = "`1,234` <!-- 1,234 --> [x](a/1,234.5) 2.13.0 v1.2"
    assert labelled(kept, {NUMBER: "1.234,5%"}) == kept


@pytest.mark.parametrize("written", ["", "1 234,5%", "1,234,5%", "1.235,5%", "1.234,5"])
def test_number_that_cannot_be_read_leaves_the_english_form(written):
    assert labelled("1,092 MiB, 85.8%", {NUMBER: written}) == "1,092 MiB, 85.8%"


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
    measured_line = ledger.measured_line("00_first", [row])
    assert f"`tiny` {words}" in measured_line
    phrases = {"on a": "sur un", "on an": "sur un"}
    assert f"`tiny` sur un {device}:" in labelled(measured_line, phrases)


def test_glossary_translates_both_articles_by_one_row(whole):
    phrase(whole, "on a", "sur un")
    assert glossary.read(file(whole).parent).phrases["on an"] == "sur un"


# The public address


def test_badges_are_copied_and_their_links_are_of_the_language(whole):
    readme = text(whole, "README")
    block = readme[readme.index(address.BEGIN) : readme.index(address.END)]
    assert block.count(URL) == 2 and "[Ernq vg nf n fvgr](" in block
    start = address.colab(LANGUAGE, "00_start_here", URL)
    assert f"]({start})" in block and ENGLISH_PAGES not in block


def test_measured_line_opens_the_lesson_of_the_language_in_colab(whole):
    link = f"[Bcra va Pbyno]({address.colab(LANGUAGE, '00_first', URL)})"
    assert f"{link} <!-- measured -->" in measured(whole)


def test_address_that_holds_a_label_stays_as_it_is(whole):
    assert URL.endswith("training-1.5") and f"{URL}/actions" in text(whole, "README")


def test_set_address_changes_every_language_and_makes_nothing_stale(whole):
    new = README.replace("Clone it.", f"{address.BEGIN}\n{address.END}\n\nClone it.")
    new = re.sub("<!-- results.*results -->", TABLE, new, flags=re.DOTALL)
    before = counts(whole, "README")
    (whole / "README.md").write_text(new, encoding="utf-8")
    assert counts(whole, "README") == before and run(whole, "check") == 1
    assert run(whole, "sync") == 0 == run(whole, "check")
    assert f"{address.BEGIN}\n{address.END}" in text(whole, "README")


def test_blocks_of_the_ledger_are_taken_out_by_name():
    page = f"A\n\n{BADGES}\n\nB\n\n{TABLE}\n\nC"
    kept, parts = emptied(page)
    assert kept == "A\n\n<!-- badges -->\n\nB\n\n<!-- results -->\n\nC"
    assert parts == {"<!-- badges -->": BADGES, "<!-- results -->": TABLE}
