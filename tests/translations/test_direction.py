"""From right to left: frames for editors, and figures that keep their order."""

import json

import pytest

from tests.translations.pseudo_translation import run
from tests.translations.translation_course import PLAIN, edit, errors, file
from translations.direction import FRAME, INSIDE, framed, runs_right, steady
from translations.markdown_blocks import blocks

ARABIC = "المُهايئ صغير، والأوزان المجمَّدة تبقى كما هي."
BLOCK = "```python\na = `1`\n```"


@pytest.mark.parametrize(
    ("text", "right"),
    [
        (ARABIC, True),
        ("המתאם קטן", True),
        ("يضع `SFTTrainer` مُهايئًا", True),
        ("ア ダプター", False),
        ("The word وزن is Arabic", False),
        ("`code`", False),
        ("", False),
    ],
)
def test_direction_is_that_of_most_letters(text, right):
    assert runs_right(text) is right
    assert (framed(text) == text) is not right


def test_code_in_a_frame_runs_from_left_to_right():
    text = f"## عنوان `a`\n\nاكتب `{{x}}` هنا\n\n{BLOCK}\n\nثم ``b`c``"
    inside = framed(text).removeprefix('<div dir="rtl">\n\n').removesuffix("\n\n</div>")
    assert inside.startswith("## عنوان `a`\n")  # links go by headings
    assert "اكتب \u2066`{x}`\u2069 هنا" in inside and "\u2066``b`c``\u2069" in inside
    assert FRAME.format("ltr", BLOCK) in inside


def test_each_paragraph_in_a_frame_stands_at_the_right():
    """In JupyterLab, which sets each one to the left by itself."""
    items = "- بند\n- بند"  # no paragraphs: they follow the frame
    text = f"سطر  \nسطر\n\n> {ARABIC}\n\n{items}\n\nLatin\n\n1. بند\n\n   **فقرة**"
    inside = framed(text).removeprefix('<div dir="rtl">\n\n').removesuffix("\n\n</div>")
    assert inside.replace(INSIDE, "[").replace("</span>", "]") == (
        f"[سطر  \nسطر]\n\n> [{ARABIC}]\n\n{items}\n\nLatin\n\n1. [بند]\n\n   [**فقرة**]"
    )
    # Once in the frame, a text has its words and marks as before.
    plain = [(b.kind, b.prose) for b in blocks(text)]
    kept = [(b.kind, b.prose) for b in blocks(inside)]
    assert [(k, p.split()) for k, p in kept] == [(k, p.split()) for k, p in plain]


def test_lines_of_the_tools_keep_the_order_of_figures():
    line = "**مقيس**: `small` على معالج: 1017 s, 3,478 MiB; `tiny`, 2026-11-29."
    said = "**مقيس**: `small` على معالج: \u200e1017 s\u200f، \u200e3,478 MiB\u200f؛ "
    assert steady(line) == said + "`tiny`، \u200e2026-11-29\u200f."
    hebrew = "נמדד: 1017 s, `tiny`"
    assert steady(hebrew) == "נמדד: \u200e1017 s\u200f, `tiny`"
    names = "على A100-40 GB، v1.2026-11-29"
    assert steady(names) == names
    for other in ("Measured: 1017 s, 3,478 MiB; 2026-11-29", "測定: 37 s, 816 MiB"):
        assert steady(other) == other


def test_built_notebook_tells_editors_of_right_to_left(root):
    run(root, "sync", "--new", "ar")
    edit(root, PLAIN, ARABIC, language="ar")
    run(root, "sync", "ar")
    assert not [e for e in errors(root, "ar") if "plain" in e]
    assert "dir=" not in file(root, language="ar").read_text("utf-8")  # not in the page
    run(root, "build", "ar")
    built = root / "build" / "translations" / "ar" / "notebooks" / "00_first.ipynb"
    cells = json.loads(built.read_text(encoding="utf-8"))["cells"]
    texts = ["".join(c["source"]) for c in cells if c["cell_type"] == "markdown"]
    assert FRAME.format("rtl", f"{INSIDE}{ARABIC}</span>") in texts
    assert sum("dir=" in text for text in texts) == 1  # the others are still English
