"""The glossary's page: each term has one sentence and a section that introduces it."""

import re
from functools import cache

import pytest

from helpers.files import ROOT
from tests.house import gates
from translations import glossary
from translations.targets import headings, slugs

ROWS = glossary.english_rows()
TERMS = [term for term, *_ in ROWS]
LINK = re.compile(r"\[(\d\d)\]\((\1_\w+\.ipynb)#([\w-]+)\)")


@cache
def sections(name: str) -> dict[str, str]:
    """{anchor: its heading and text} of a lesson's Markdown."""
    texts = [c.source for _, c in gates.cells(ROOT / "notebooks" / name, "markdown")]
    parts = re.split(r"^(?=#{1,6} )", "\n\n".join(texts), flags=re.MULTILINE)[1:]
    titles = [headings(part)[0] for part in parts]
    return dict(zip(slugs(titles), parts, strict=True))


def fault(term: str, link: str) -> str | None:
    """What is wrong with the link of a term, None where all is well."""
    found = LINK.fullmatch(link)
    if not found or not (ROOT / "notebooks" / found[2]).exists():
        return f"no link to a lesson: {link}"
    text = sections(found[2]).get(found[3])
    if text is None:
        return f"{found[2]} has no section {found[3]}"
    # $F_1$ is F1, `attention_mask` an attention mask.
    text = re.sub(r"[*$`]", "", text)
    forms = text, text.replace("_", " "), text.replace("_", "")
    word = re.compile(rf"(?<![\w-]){re.escape(term)}(?:s|es)?(?![\w-])", re.IGNORECASE)
    return (
        None if any(map(word.search, forms)) else f"section {found[3]} lacks {term!r}"
    )


@pytest.mark.parametrize(("term", "meaning", "link"), ROWS, ids=TERMS)
def test_term_has_a_sentence_and_its_section_holds_it(term, meaning, link):
    assert re.fullmatch(r"[A-Z][^|]*[^.|]\.", meaning) and ". " not in meaning
    assert fault(term, link) is None


def test_terms_are_in_order_and_stand_there_once():
    assert TERMS == sorted(TERMS, key=str.lower) and len(TERMS) > 80
    assert len({term.lower() for term in TERMS}) == len(TERMS)


@pytest.mark.parametrize(
    ("term", "link", "said"),
    [
        ("packing", "[02](02_prepare_chat_data.ipynb#gone)", "no section gone"),
        ("packing", "[02](02_gone.ipynb#the-chat-template)", "no link"),
        ("roofline", "[02](02_prepare_chat_data.ipynb#the-chat-template)", "lacks"),
    ],
)
def test_a_wrong_row_is_seen(term, link, said):
    assert said in fault(term, link)


def test_every_language_names_every_term():
    for path in (ROOT / "translations").glob("*/glossary.md"):
        assert glossary.check(path.parent) == []
        rows = set(re.findall(r"^\| ([^|]+?) \|", path.read_text("utf-8"), re.M))
        assert set(TERMS) <= rows, path
