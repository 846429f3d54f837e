"""The rules of a translated text, the glossary, and metadata of earlier tools."""

import pytest

from translations import glossary, rules
from translations.markdown_blocks import blocks
from translations.targets import copy_code, headings, sections, slugs

# The metadata of the documents that the course started from: three carry it.


@pytest.mark.parametrize(
    ("english", "translated"),
    [
        ("Ranks 1.5 and 2", "Rangos 2 y 1,5"),  # another order
        ("At $r = 4$, `B` is 0", "`B` vale 0 con $r = 4$"),
        ("2,048 rows", "\u0662,\u0660\u0664\u0668 x"),  # Arabic digits
        ("1,109.5", "\u0661\u066c\u0661\u0660\u0669\u066b\u0665"),  # and marks
        ("At $p = 0.90$, $1.96\\,s$", "A $1{,}96\\,s$ con $p = 0{,}90$"),
        ("See [it](a.md)", "Vea [eso](a.md)"),
        ("It costs $5 and $6", "Cuesta $5 y $6"),
    ],
)
def test_rules_let_good_translations_pass(english, translated):
    assert rules.compare(english, translated) == []


@pytest.mark.parametrize(
    ("english", "translated"),
    [
        ("Ranks 1.5 and 2", "Rangos 1,5 y 3"),
        ("3.800 parts", "3800 partes"),
        ("$a_b$ and $c$", "$a_b$ y $d$"),
        ("At $p = 0.90$", "A $p = 0{,}91$"),
        ("At $p = 0.90$", "A $p = 0,90$"),  # set with a space behind the comma
        ("$$\na\n$$", "$$\nb\n$$"),
        ('<img src="a.png" alt="x">', '<img src="b.png" alt="y">'),
        ("![x](a.png)", "![y](b.png)"),
        ("- a\n- b", "- c"),
        ("a  \n`x`", "c `X`"),
        ("[^n]: word", "[^m]: voz"),
        ("<!-- note -->", "<!-- nota -->"),
    ],
)
def test_rules_find_bad_translations(english, translated):
    assert rules.compare(english, translated)


def test_wide_letters_count_for_more():
    english = "The adapter is small, and the base model stays as it was before."
    assert rules.compare(english, "\u9002\u914d\u5668" * 4) == []
    assert rules.compare(english, "\u9002" * 3) != []


def test_blocks_keep_footnotes_and_formulas_apart_from_markup():
    [block] = blocks(r"A $\lVert a_1 \rVert * b_2$ and *c*[^x]")
    assert block.facts == {
        ("formula", r"$\lVert a_1 \rVert * b_2$"): 1,
        ("footnote", "[^x]"): 1,
    }


def test_code_is_copied_only_where_it_can_be_paired():
    english = "A\n\n```python\nx = 1\n```\n\nB\n\n```\ny\n```"
    assert copy_code(english, english.replace("x = 1", "z")) == english
    assert copy_code(english, "A\n\n```\nx\n```") == "A\n\n```\nx\n```"


@pytest.mark.parametrize(
    "ours", ["A\n\n```\nz\n\nB\n\nC", "A\n\nz\n\nB\n\n    C", "```\nz\n```\n\nA"]
)
def test_text_that_became_code_is_not_copied_over(ours):
    """A fence without its end takes in all that follows."""
    assert copy_code("A\n\n```\nx\n```\n\nB\n\nC", ours) == ours


def test_sections_and_anchors():
    assert [name for name, _ in sections("Hi\n\n# A b\n\n### c\n\n## A b\n")] == [
        *("top", "a-b", "a-b-1")
    ]
    assert headings("# A `b` c\n\n```\n# no\n```\n## D") == ["A b c", "D"]
    assert slugs(["Qu\u00e9 es?", "\u0417\u0430\u0434\u0430\u0447\u0430 1"]) == [
        *("qu\u00e9-es", "\u0437\u0430\u0434\u0430\u0447\u0430-1")
    ]


TERMS = {"adapter": ["adaptador"], "loss": ["p\u00e9rdida"], "rank": ["rango"]}


def compared(*pairs):
    named = [(f"c{i}", *pair) for i, pair in enumerate(pairs)]
    return glossary.compare(glossary.Glossary(TERMS, {}), named)


def test_glossary_lets_inflected_words_and_code_pass():
    pair = ("Adapters and `loss`, glossy", "Los adaptadores y `loss`")
    assert compared(pair) == ([], [])


def test_glossary_warns_once_for_each_term():
    good, bad = ("An adapter", "Un adaptador"), ("An adapter", "Una pieza")
    failed, warned = compared(good, bad, bad)
    assert failed == [] and len(warned) == 1
    assert (
        "English has 'adapter', the text lacks 'adaptador' in 2 of 3 cells"
        in warned[0][1]
    )


def test_glossary_fails_where_a_term_is_plainly_absent():
    failed, _ = compared(*[("An adapter", "Una pieza")] * glossary.ABSENT_CELLS)
    assert len(failed) == 1 and "in any cell" in failed[0][1]
    failed, _ = compared(("The loss of an adapter", "Otra cosa"))
    assert "none of the terms adapter, loss" in failed[0][1]
