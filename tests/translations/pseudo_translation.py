"""A translation by machine for tests: every letter of the prose goes 13 places on.

It changes every word, headings and their anchors too, and nothing that a translator
must keep. The language is called qps, a code that BCP 47 leaves to private use.
"""

import codecs
import re

from helpers import run_command
from translations import glossary, lessons

LANGUAGE = "qps"
KEPT = re.compile(
    r"(^ {0,3}(`{3,}).*?^ {0,3}\2$|`[^`]+`|\$\$.+?\$\$|\$[^\s$](?:[^$]*[^\s$])?\$"
    r"|\]\([^)]*\)|<[^>]+>|\[!\w+\]|\[\^\w+\]|&\w+;|https?://\S+)",
    re.MULTILINE | re.DOTALL,
)

# How Co-op Translator once marked a page: date, source, language.
INLINE = """<!--
CO_OP_TRANSLATOR_METADATA:
{
  "original_hash": "50b6a55a0831b417835087d8b57759fe",
  "translation_date": "%s",
  "source_file": "%s",
  "language_code": "%s"
}
-->
# A title
"""


def rot13(text):
    return codecs.encode(text, "rot13")


def translated(text):
    """Return a Markdown text with its prose changed."""
    parts, at = [], 0
    for kept in KEPT.finditer(text):
        parts += [rot13(text[at : kept.start()]), kept.group()]
        at = kept.end()
    return "".join([*parts, rot13(text[at:])])


def translate_missing(page):
    """Return a translated page's text with every missing cell translated."""
    cells = re.split(r"^(?=<!-- cell:)", page, flags=re.MULTILINE)
    for i, cell in enumerate(cells):
        head, _, text = cell.partition("\n")
        if "source: missing" in head:
            cells[i] = f"{head}\n{translated(text)}"
    return "".join(cells)


def make_language(root, language=LANGUAGE):
    """Make a whole translation of the course at root, as a contributor would."""
    lessons = sorted(path.stem for path in (root / "notebooks").glob("*.ipynb"))
    assert run(root, "sync", "--new", language, "README", *lessons) == 0
    folder = root / "translations" / language
    words = glossary.template()
    for term in re.findall(r"^\| ([^|]+) \| \|", words, flags=re.MULTILINE):
        forms = rot13(term if len(term) > 3 else f"{term}; {term}s")  # a whole word
        words = words.replace(f"| {term} | |", f"| {term} | {forms} |")
    (folder / "glossary.md").write_text(words, encoding="utf-8")
    for path in folder.glob("*.md"):
        if path.name != "glossary.md":
            text = translate_missing(path.read_text(encoding="utf-8"))
            path.write_text(text, encoding="utf-8")
    assert run(root, "sync", language) == 0
    return folder


def run(root, *arguments):
    """Run lessons.py on the course at root; return its exit code."""
    return run_command("lessons.py", lessons.main, [*arguments, "--root", str(root)])
