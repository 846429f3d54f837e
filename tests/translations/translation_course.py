"""A small course to translate, and what tests do to its translated pages."""

import json
import shutil

from nbformat import v4

from helpers.course import ledger
from helpers.files import ROOT
from tests.translations.pseudo_translation import LANGUAGE, run
from translations.checking import check_page
from translations.edition import Edition
from translations.pages import read_pages

ENTRY = {
    "lesson": "00_first",
    "profile": "tiny",
    "machine": {"device": "2-core CPU"},
    "seconds": 72.0,
    "peak_rss_mib": 720.0,
    "figures": {},
}
README = f"""# A course

Clone it. [First](notebooks/00_first.ipynb), then [the data](data/README.md#fields), or
straight to [the figures](#what-it-costs).

## What it costs

{ledger.results_block([ENTRY])}

The table is measured.
"""
TITLE = f"""# 00 First: a title

A goal. See [the maths](#the-maths-of-it) and [the next](01_second.ipynb#its-end).

{ledger.measured_line("00_first", [ENTRY])}"""
MATHS = r"""## The maths of it

The change is $W' = W + \frac{\alpha}{r} B A$, with `r` at most 16 of 1,109 rows[^1].

| key | value |
|---|---|
| `rank` of the adapter | 3.8 |

> [!NOTE]
> A loss of 0 is *not* the aim.

[^1]: Counted by hand."""
EXERCISE = """### Exercise 1

How many steps does the run make in one epoch of the shop's training messages?

<details><summary>Solution</summary>

```python
answer = 100 * 4
```

One batch is read in every step of the run.
</details>"""
PLAIN = "The adapter is small, and the base model stays as it was before training."


def notebook(*cells):
    made = [
        v4.new_code_cell(text, id=name)
        if name.startswith("code")
        else v4.new_markdown_cell(text, id=name)
        for name, text in cells
    ]
    for cell in made:
        if cell.id == "code-setup":
            cell.metadata["tags"] = ["setup"]
    return json.dumps(v4.new_notebook(cells=made), indent=1, ensure_ascii=False)


FIRST = {
    "title": TITLE,
    "code-setup": "import os\n\nprint(os.name)  # once",
    "maths": MATHS,
    "plain": PLAIN,
    "code-run": "answer = 42",
    "exercise-1": EXERCISE,
}
SECOND = {"title": "# 01 Second\n\nMore of the same.", "end": "## Its end\n\nThe end."}


def make_course(root):
    """Write the small course, without translations, into an empty folder."""
    for folder in ("notebooks", "data/results"):
        (root / folder).mkdir(parents=True)
    (root / "README.md").write_text(README, encoding="utf-8")
    (root / "CITATION.cff").touch()
    write_lesson(root, "00_first", FIRST)
    write_lesson(root, "01_second", SECOND)
    make_pages(root, [ENTRY])
    (root / "data" / "README.md").write_text("# Data\n\n## Fields\n")


def make_pages(root, entries, url=""):
    """Exchange the ledger and the public address; the English pages quote them."""
    for entry in entries:
        path = root / "data" / "results" / f"{entry['lesson']}.{entry['profile']}.json"
        path.write_text(json.dumps(entry), encoding="utf-8")
    project = f'[project]\nname = "a"\n[project.urls]\nRepository = "{url}"\n'
    (root / "pyproject.toml").write_text(project, encoding="utf-8")
    ledger.quote(entries, root)


def copy_pages(root):
    """Copy the English pages of the course, and what they quote, to an empty folder."""
    for name in ("README.md", "pyproject.toml"):
        shutil.copy(ROOT / name, root)
    for name in ("notebooks", "data/results"):
        shutil.copytree(ROOT / name, root / name)


def write_lesson(root, name, cells):
    path = root / "notebooks" / f"{name}.ipynb"
    path.write_text(notebook(*cells.items()), encoding="utf-8")


def file(root, name="00_first", language=LANGUAGE):
    return root / "translations" / language / f"{name}.md"


def text(root, name="00_first", language=LANGUAGE):
    return file(root, name, language).read_text(encoding="utf-8")


def edit(root, old, new, name="00_first", language=LANGUAGE):
    """Exchange a piece of a translated page that it holds once."""
    content = text(root, name, language)
    assert content.count(old) == 1, content
    path = file(root, name, language)
    path.write_text(content.replace(old, new), encoding="utf-8")


def errors(root, language=LANGUAGE):
    edition = Edition(root, read_pages(root), language)
    return [e for page in edition.own for e in check_page(edition, page)[0]]


def counts(root, name="00_first", language=LANGUAGE):
    pages = read_pages(root)
    [page] = [page for page in pages if page.name == name]
    return Edition(root, pages, language).counts(page)


def said(root, *arguments, capsys):
    """Return (exit code, stdout, stderr) of a command."""
    capsys.readouterr()
    code = run(root, *arguments)
    return code, *capsys.readouterr()
