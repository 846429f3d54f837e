"""Translations: sync keeps every text, check names every fault, build shows no lie."""

import hashlib
import json
import re
import subprocess
import sys

import pytest

from helpers.files import ROOT
from tests.house.gates import link_targets
from tests.translations.pseudo_translation import (
    INLINE,
    LANGUAGE,
    make_language,
    rot13,
    run,
    translate_missing,
)
from tests.translations.translation_course import (
    ENTRY,
    FIRST,
    MATHS,
    PLAIN,
    counts,
    edit,
    errors,
    file,
    make_pages,
    said,
    text,
    write_lesson,
)
from translations import glossary, sidecar, sync
from translations.checking import COMPLETE
from translations.edition import Edition, languages
from translations.labels import ENGLISH_COUNTS
from translations.pages import digest
from translations.targets import slugs

# A new language


def test_new_language_has_its_first_lesson_and_says_what_is_missing(root):
    assert languages(root) == [] and run(root, "check") == run(root, "sync") == 0
    assert run(root, "sync", "--new", "fr") == 0
    names = {p.name for p in (root / "translations" / "fr").iterdir()}
    assert names == {"00_first.md", "glossary.md", sidecar.NAME}
    assert counts(root, language="fr") == {"current": 2, "stale": 0, "missing": 4}
    assert "*Not translated yet.*" in text(root, language="fr")
    assert PLAIN in text(root, language="fr")
    hashed = digest(FIRST["code-run"])
    code = f"<!-- cell: code-run source: {hashed} -->\n```python\nanswer = 42\n```\n"
    assert code in text(root, language="fr")


def test_a_language_not_begun_is_no_error_unless_it_must_be_whole(root, capsys):
    run(root, "sync", "--new", "fr")
    code, out, _ = said(root, "check", capsys=capsys)
    assert code == 0 and "fr: 0 errors, 0 warnings, 1 page, 1 of them not" in out
    run(root, "sync", "--new", COMPLETE[0])
    code, _, err = said(root, "check", COMPLETE[0], capsys=capsys)
    assert code == 1 and "00_first.md" in err and "plain: not translated" in err


def test_a_lesson_may_be_translated_alone_but_not_in_part(root):
    run(root, "sync", "--new", "fr")
    edit(root, PLAIN, rot13(PLAIN), language="fr")
    assert any("plain: translated since the last" in e for e in errors(root, "fr"))
    run(root, "sync", "fr")
    assert {e.split()[1] for e in errors(root, "fr")} == {
        *("title:", "maths:", "exercise-1:")
    }
    path = file(root, language="fr")
    path.write_text(translate_missing(text(root, language="fr")), encoding="utf-8")
    assert run(root, "sync", "fr") == 0 and errors(root, "fr") == []
    assert counts(root, "01_second", "fr")["missing"] == 2
    assert run(root, "check") == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["sync", "--new", "german"], "'german' is not a language code"),
        (["sync", "--new", "pt-br"], "such as fr, pt-BR"),
        (["sync", "--new", LANGUAGE], "exists already"),
        (["sync", "--new", "fr", "de"], "no page 'de' (there: README, 00_first, 01"),
        (["sync", "--run", "build", LANGUAGE], "--run is for all languages"),
        (["build", "--run", "build"], "--run belongs to sync"),
        (["sync", "--new", "en"], "'en' is not a language code"),
        (["check", "--new", "fr"], "belongs to sync"),
        (["check", "xx"], "no translation into 'xx' (there: qps)"),
        (["translate"], "invalid choice"),
        (["check", "--fast"], "unrecognized arguments"),
    ],
)
def test_bad_request_is_one_line_and_code_2(whole, capsys, arguments, words):
    try:
        code, _, err = said(whole, *arguments, capsys=capsys)
    except SystemExit as stop:
        code, err = stop.code, capsys.readouterr().err
    assert code == 2 and words in err and err.count("\n") == 1
    assert languages(whole) == [LANGUAGE]


def test_a_broken_english_notebook_is_a_bad_request(whole, capsys):
    (whole / "notebooks" / "01_second.ipynb").write_text('{"cells": [{}]}')
    code, _, err = said(whole, "sync", capsys=capsys)
    assert code == 2 and "01_second.ipynb: not a notebook" in err


# The English changes


def test_one_changed_sentence_makes_that_cell_stale_in_every_language(root, capsys):
    for language in ("qps", "qpx"):
        make_language(root, language)
    assert run(root, "check") == 0
    write_lesson(root, "00_first", FIRST | {"plain": PLAIN + " Always."})
    for synced in (False, True):
        assert not synced or run(root, "sync") == 0
        code, _, err = said(root, "check", capsys=capsys)
        found = [line for line in err.splitlines() if ": stale: " in line]
        assert code == 1 and len(found) == 2
        for line, language in zip(found, ("qps", "qpx"), strict=True):
            name = rf"translations/{language}/00_first\.md:\d+: plain: stale: "
            assert re.match(name, line)
            assert counts(root, language=language)["stale"] == 1
    others = [line for line in err.splitlines() if ": stale: " not in line]
    assert others == []


def test_one_changed_code_cell_needs_sync_alone(root):
    for language in ("qps", "qpx"):
        make_language(root, language)
    write_lesson(root, "00_first", FIRST | {"code-run": "answer = 43"})
    assert run(root, "check") == 1 and run(root, "sync") == 0 == run(root, "check")
    assert all("answer = 43" in text(root, language=x) for x in ("qps", "qpx"))


def test_stale_text_is_kept_beside_the_english_until_done(whole):
    new = PLAIN + " Always --> [so](01_second.ipynb)."
    write_lesson(whole, "00_first", FIRST | {"plain": new})
    run(whole, "sync")
    content = text(whole)
    assert rot13(PLAIN) in content and " Always --&gt; [so](01_second.md)." in content
    assert "*Gur Ratyvfu grkg unf punatrq fvapr.*" in content
    run(whole, "sync")
    assert text(whole) == content
    edit(whole, rot13(PLAIN), rot13(PLAIN) + " Nyjnlf --> [fb](01_second.md).")
    edit(whole, f"source: {digest(PLAIN)} now", "source: done now")
    assert run(whole, "sync") == 0 == run(whole, "check")
    assert f"<!-- cell: plain source: {digest(new)} -->\n{rot13('The')}" in text(whole)


def test_done_counts_for_the_english_that_was_shown(whole):
    write_lesson(whole, "00_first", FIRST | {"plain": PLAIN + " Always."})
    run(whole, "sync")
    edit(whole, f"source: {digest(PLAIN)} now", "source: done now")
    write_lesson(whole, "00_first", FIRST | {"plain": PLAIN + " Never."})
    run(whole, "sync")
    assert counts(whole)["stale"] == 1
    write_lesson(whole, "00_first", FIRST | {"plain": PLAIN + " Always."})
    assert run(whole, "sync") == 0 and counts(whole)["stale"] == 0


def test_hash_that_check_names_counts_for_that_english_alone(whole, capsys):
    write_lesson(whole, "00_first", FIRST | {"plain": PLAIN + " Always."})
    _, _, err = said(whole, "check", LANGUAGE, capsys=capsys)
    [named] = re.findall("plain: stale: .* write `source: (.*?)` in", err)
    assert named == digest(PLAIN + " Always.")
    edit(whole, f"plain source: {digest(PLAIN)}", f"plain source: {named}")
    write_lesson(whole, "00_first", FIRST | {"plain": PLAIN + " Never."})
    assert run(whole, "sync") == 0 and counts(whole)["stale"] == 1
    write_lesson(whole, "00_first", FIRST | {"plain": PLAIN + " Always."})
    assert run(whole, "sync") == 0 == run(whole, "check")


@pytest.mark.parametrize("state", ["done", "missing"])
def test_text_that_names_no_english_is_left_alone_until_it_does(whole, state, capsys):
    """The English may have changed since the translator looked at it."""
    edit(whole, f"plain source: {digest(PLAIN)}", f"plain source: {state}")
    write_lesson(whole, "00_first", FIRST | {"plain": PLAIN + " Always."})
    before, named = text(whole), digest(PLAIN + " Always.")
    for command in ("check", "sync"):
        code, _, err = said(whole, command, LANGUAGE, capsys=capsys)
        [found] = [line for line in err.splitlines() if "which English" in line]
        assert code == 1 and f"plain: {sync.UNDATED.format(named)}" in found
        assert text(whole).split("\n")[int(found.split(":")[1]) - 1] == rot13(PLAIN)
    assert text(whole) == before and counts(whole)["current"] < len(FIRST)
    edit(whole, f"plain source: {state}", f"plain source: {digest(PLAIN)}")
    assert run(whole, "sync") == 0 and counts(whole)["stale"] == 1


def test_done_beside_the_english_that_was_shown_counts_for_it(root):
    run(root, "sync", "--new", LANGUAGE)
    edit(root, "plain source: missing", "plain source: done")
    write_lesson(root, "00_first", FIRST | {"plain": PLAIN + " Always."})
    assert run(root, "sync") == 0 and counts(root)["stale"] == 1


@pytest.mark.parametrize("state", ["done", "missing"])
def test_text_that_goes_and_comes_back_keeps_its_english(root, state):
    run(root, "sync", "--new", LANGUAGE)
    edit(root, "plain source: missing", f"plain source: {state}")
    edit(root, PLAIN, rot13(PLAIN))
    less = {name: cell for name, cell in FIRST.items() if name != "plain"}
    write_lesson(root, "00_first", less)
    assert run(root, "sync") == 0 and "removed" in text(root)
    write_lesson(root, "00_first", FIRST | {"plain": PLAIN + " Always."})
    assert run(root, "sync") == 0 and counts(root)["stale"] == 1
    write_lesson(root, "00_first", FIRST)
    assert run(root, "sync") == 0 and counts(root)["stale"] == 0
    assert rot13(PLAIN) in text(root)


def test_english_that_goes_back_is_current_again(whole):
    before = text(whole)
    write_lesson(whole, "00_first", FIRST | {"plain": "Other."})
    run(whole, "sync")
    write_lesson(whole, "00_first", FIRST)
    run(whole, "sync")
    assert text(whole) == before


def test_translation_of_an_english_text_that_changed_meanwhile_is_stale(root):
    run(root, "sync", "--new", LANGUAGE)
    edit(root, PLAIN, rot13(PLAIN))
    write_lesson(root, "00_first", FIRST | {"plain": PLAIN + " Always."})
    run(root, "sync")
    assert counts(root)["stale"] == 1 and rot13(PLAIN) in text(root)


def test_untouched_english_is_renewed(root):
    run(root, "sync", "--new", LANGUAGE)
    write_lesson(root, "00_first", FIRST | {"plain": "Other [it](01_second.ipynb)."})
    run(root, "sync")
    link = "[it](../../notebooks/01_second.ipynb)"  # not begun: there is no page
    assert f"Other {link}." in text(root) and PLAIN not in text(root)
    assert counts(root) == {"current": 2, "stale": 0, "missing": 4}


def test_renamed_moved_and_removed_cells_lose_no_text(whole, capsys):
    cells = dict(reversed(FIRST.items())) | {"simple": PLAIN}
    del cells["plain"], cells["maths"], cells["code-run"]
    write_lesson(whole, "00_first", cells)
    assert run(whole, "sync") == 0
    content = text(whole)
    assert rot13("A loss of") in content and "removed" in content
    assert f"cell: simple source: {digest(PLAIN)} -->\n{rot13(PLAIN)}" in content
    assert "cell: code-run" not in content and "cell: plain" not in content
    code, out, _ = said(whole, "check", capsys=capsys)
    assert code == 0 and "maths: gone from the English" in out
    write_lesson(whole, "00_first", cells | {"maths": MATHS})
    assert run(whole, "sync") == 0 == run(whole, "check")
    assert counts(whole)["missing"] == 0


def test_measured_figures_are_copied_and_make_nothing_stale(whole):
    entries = [ENTRY | {"seconds": 81.2}, ENTRY | {"lesson": "01_second"}]
    make_pages(whole, entries)
    assert "81 s" in (whole / "notebooks" / "00_first.ipynb").read_text("utf-8")
    assert counts(whole)["stale"] == 0 and run(whole, "check") == 1
    assert run(whole, "sync") == 0 == run(whole, "check")
    line = "**Zrnfherq**: `tiny` ba n 2-pber PCH: 81 s, 720 MiB. <!-- measured -->"
    assert line in text(whole)
    readme = text(whole, "README")
    assert "| yrffba | cebsvyr, znpuvar | frpbaqf | crnx zrzbel |" in readme
    row = "`tiny`, 2-pber PCH | {} | 720 MiB |  |  |  |\n"
    assert f"| 00 | {row}| 01 | {row}<!-- end".format(81, 72) in readme


def test_lost_figures_are_asked_for_and_come_back(whole, capsys):
    line = next(li for li in text(whole).splitlines() if "<!-- measured -->" in li)
    edit(whole, line, "")
    code, _, err = said(whole, "check", capsys=capsys)
    assert code == 1 and "put, at the end of the cell, a line <!-- measured -->" in err
    edit(
        whole,
        "(01_second.md#vgf-raq).\n",
        "(01_second.md#vgf-raq).\n\n<!-- measured -->",
    )
    assert run(whole, "sync") == 0 == run(whole, "check") and line in text(whole)


# Texts that cannot be placed are not touched


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("<!-- cell: plain ", "<!-- cell: title ", "title comes twice"),
        ("<!-- cell: plain source:", "<!-- cell: plain, source", "its form is"),
        ("<!-- Made by", "Hello\n<!-- Made by", "holds this text; move it"),
        ("answer = 42\n```\n", "answer = 42\n```\nA note\n", "move what is not code"),
        ("<!-- cell: plain ", "<!-- cell: plain\n", "its form is"),
    ],
)
def test_sync_leaves_alone_what_it_does_not_understand(whole, capsys, old, new, words):
    edit(whole, old, new)
    before = text(whole)
    code, _, err = said(whole, "sync", capsys=capsys)
    assert code == 1 and words in err and err.count("\n") == 1
    assert (
        re.match(r"translations/qps/00_first.md:\d+: ", err) and text(whole) == before
    )
    code, _, err = said(whole, "check", capsys=capsys)
    assert code == 1 and words in err
    assert run(whole, "build") == 0


def test_file_that_is_not_utf8_is_named(whole, capsys):
    file(whole).write_bytes(text(whole).encode() + "\u00e9".encode("latin-1"))
    code, _, err = said(whole, "sync", capsys=capsys)
    assert code == 1 and "00_first.md" in err and "is not UTF-8" in err
    assert run(whole, "status", LANGUAGE) == 0


def test_whole_file_translation_without_cells_is_not_overwritten(whole, capsys):
    file(whole).write_text("# Gbqb\n\nUn texto.\n", encoding="utf-8")
    code, _, err = said(whole, "sync", capsys=capsys)
    assert code == 1 and ":1: no cell holds this text" in err
    assert text(whole) == "# Gbqb\n\nUn texto.\n"


def test_page_with_the_old_metadata_is_told_what_to_do(whole, capsys):
    page = INLINE % ("2025-03-27T13:56:45+00:00", "md/03.md", "es")
    file(whole).write_text(page, encoding="utf-8")
    code, _, err = said(whole, "sync", capsys=capsys)
    assert (
        code == 1
        and "a page of Co-op Translator's, of 2025-03-27; move the file" in err
    )
    assert text(whole) == page


def test_windows_line_ends_change_nothing(whole):
    before = file(whole).read_bytes()
    file(whole).write_bytes(before.replace(b"\n", b"\r\n"))
    assert errors(whole) == [] and run(whole, "sync") == 0
    assert file(whole).read_bytes() == before


# Links


def test_links_and_anchors_fit_the_folder_and_the_language(whole):
    assert f"](#{slugs([rot13('The maths of it')])[0]})" in text(whole)
    assert "](01_second.md#vgf-raq)" in text(whole)
    readme = text(whole, "README")
    assert "](00_first.md)" in readme and "](../../data/README.md#fields)" in readme
    assert "](#jung-vg-pbfgf)" in readme


def test_anchors_follow_a_heading_that_is_worded_anew(whole):
    edit(whole, "## Gur znguf bs vg", "## Qvr Zngurzngvx")
    assert any("target #gur-znguf-bs-vg should be #qvr" in e for e in errors(whole))
    assert run(whole, "sync") == 0 and "](#qvr-zngurzngvx)" in text(whole)
    assert run(whole, "check") == 0


def test_link_copied_from_the_english_page_is_put_right(whole):
    edit(whole, "](01_second.md#vgf-raq)", "](01_second.ipynb#its-end)")
    assert "01_second.ipynb#its-end should be 01_second.md#vgf" in errors(whole)[0]
    assert run(whole, "sync") == 0 == run(whole, "check")


# The rules


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("1,109", "1,108", "number 1,108 should be 1,109; keep every"),
        (
            r"\frac{\alpha}{r}",
            r"\frac{\beta}{r}",
            r"B A$ should be $W'",
        ),
        ("`r` ng", "`s` ng", "inline code `s` should be `r`"),
        ("answer = 100", "answer = 101", "code is never translated"),
        ("print(os.name)", "print(os.sep)", "run `sync`, which copies it"),
        ("</details>", "", 'html block missing or of another kind: "</details>"'),
        ("> [!NOTE]", "> [!NOTA]", "callout [!NOTA] should be [!NOTE]"),
        ("ebjf[^1]", "ebjf", "footnote [^1] is missing"),
        ("## Gur znguf", "### Gur znguf", "heading 2 missing or of another kind"),
        (
            "| `rank` bs gur nqncgre | 3.8 |\n",
            "",
            "one row too few (English 1, here 0)",
        ),
        ("*abg*", "*abg", "mark * is not in the English; some markup"),
        (rot13(PLAIN), PLAIN, 'still in English: "The adapter is small'),
        (rot13(PLAIN), "Fubeg.", "far shorter than the English"),
        (rot13(PLAIN), "", "missing or of another kind"),
        (rot13(PLAIN), rot13(PLAIN) + "\n\nMore.", 'not in the English: "More."'),
        ("42\n```", "42", ""),
    ],
)
def test_hand_edit_is_named_with_file_line_and_remedy(whole, old, new, words):
    edit(whole, old, new)
    [found] = errors(whole)
    name, line, message = found.split(":", 2)
    assert name == "translations/qps/00_first.md" and words in message
    lines = text(whole).split("\n")
    cell = message.split(":")[0].strip()
    start = next(
        i for i, li in enumerate(lines) if li.startswith(f"<!-- cell: {cell} ")
    )
    assert start < int(line) <= start + 22
    if new and words and "sync" not in words:
        near = "\n".join(lines[int(line) - 1 : int(line) + 1])
        assert new.split("\n")[-1] in near


@pytest.mark.parametrize("written", ["1.109", "1109", "1\u00a0109", "1\u202f109"])
def test_numbers_may_be_written_as_the_language_does(whole, written):
    edit(whole, "1,109", written)
    edit(whole, "| 3.8 |", "| 3,8 |")
    assert errors(whole) == []


def test_code_with_a_fence_inside_gets_a_longer_fence(root):
    code = 'text = """\n```python\nx\n```\n"""'
    write_lesson(root, "00_first", FIRST | {"code-run": code})
    make_language(root)
    assert "````python\n" in text(root) and run(root, "check") == 0


def fold_setup(root):
    """Fold the set-up cell of the lesson, as the lessons of the course have it."""
    path = root / "notebooks" / "00_first.ipynb"
    book = json.loads(path.read_text(encoding="utf-8"))
    book["cells"][1]["metadata"]["jupyter"] = {"source_hidden": True}
    path.write_text(json.dumps(book), encoding="utf-8")


def test_folded_code_is_folded_and_nothing_else_changes(whole):
    before = text(whole)
    fold_setup(whole)
    assert len(errors(whole)) == 1 and run(whole, "sync") == 0 == run(whole, "check")
    code = "```python\nimport os\n\nprint(os.name)  # once\n```"
    head = "<details><summary><code>code-setup</code></summary>"
    assert text(whole) == before.replace(code, f"{head}\n\n{code}\n\n</details>")


@pytest.mark.parametrize("lost", ["\n\nA note", "\nA note", "\n\n<p>A note</p>"])
def test_text_below_folded_code_is_not_overwritten(whole, capsys, lost):
    fold_setup(whole)
    run(whole, "sync")
    edit(whole, "# once\n```\n\n</details>", f"# once\n```\n\n</details>{lost}")
    code, _, err = said(whole, "sync", capsys=capsys)
    assert code == 1 and "move what is not code" in err and "A note" in text(whole)


def test_glossary_file_is_read_and_new_ones_copy_its_terms(whole):
    edit(
        whole,
        "| adapter | nqncgre |",
        "| adapter | nqncgre; nqnc | a note |",
        "glossary",
    )
    read = glossary.read(whole / "translations" / LANGUAGE)
    assert read.terms["adapter"] == ["nqncgre", "nqnc"]
    assert read.phrases["Measured"] == "Zrnfherq"
    edit(whole, "| adapter |", "| my own term | x | |\n| adapter |", "glossary")
    run(whole, "sync", "--new", "fr")
    assert "| my own term | | |" in text(whole, "glossary", "fr")


# Build


def built(root, name="00_first"):
    folder = root / "build" / "translations" / LANGUAGE / "notebooks"
    cells = json.loads((folder / f"{name}.ipynb").read_text(encoding="utf-8"))["cells"]
    return {cell["id"]: cell | {"source": "".join(cell["source"])} for cell in cells}


def test_built_notebook_has_the_code_of_the_english_cell_for_cell(whole):
    assert run(whole, "build") == 0
    cells = built(whole)
    assert list(cells) == list(FIRST)
    for name, source in FIRST.items():
        code = name.startswith("code")
        assert (cells[name]["cell_type"] == "code") == code
        assert (cells[name]["source"] == source) == code
    assert cells["code-setup"]["metadata"] == {"tags": ["setup"]}
    assert cells["plain"]["source"] == rot13(PLAIN)
    assert "](#gur-znguf-bs-vg)" in cells["title"]["source"]
    assert "](01_second.ipynb#vgf-raq)" in cells["title"]["source"]
    assert "<!--" not in cells["title"]["source"]


def test_built_links_exist(whole, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    for output in (whole / "build" / "translations", elsewhere):
        assert run(whole, "build", "--output", str(output)) == 0
        readme = output / LANGUAGE / "README.md"
        targets = link_targets(readme.read_text(encoding="utf-8"))
        files = [t.partition("#")[0] for t in targets if t[0] != "#"]
        assert len(files) == 2
        assert all((readme.parent / target).exists() for target in files)


@pytest.mark.parametrize("broken", [False, True])
def test_built_page_shows_english_with_a_notice_for_what_is_not_right(whole, broken):
    if broken:
        edit(whole, "1,109", "1,108")
        english = MATHS
    else:
        english = MATHS.replace("at most 16", "at most 32")
        write_lesson(whole, "00_first", FIRST | {"maths": english})
    for _ in range(2):
        run(whole, "build")
        shown = built(whole)["maths"]["source"]
        head, _, rest = english.partition("\n")
        notice = f"> *{rot13('Out of date: the English text is shown.')}*"
        assert shown == f"{head}\n\n{notice}\n\n{rest.strip()}"
        assert "](#the-maths-of-it)" in built(whole)["title"]["source"]
        run(whole, "sync")


def test_built_page_says_what_is_not_translated(root):
    run(root, "sync", "--new", LANGUAGE)
    edit(root, MATHS.split("\n")[0], rot13(MATHS.split("\n")[0]))
    run(root, "build")
    assert built(root)["plain"]["source"] == f"> *Not translated yet.*\n\n{PLAIN}"


def test_page_that_nobody_has_begun_is_not_built_but_readme_is_in_english(root):
    run(root, "sync", "--new", LANGUAGE)
    run(root, "build")
    folder = root / "build" / "translations" / LANGUAGE
    assert not list(folder.rglob("*.ipynb"))
    readme = (folder / "README.md").read_text(encoding="utf-8")
    assert readme.count("*Not translated yet.*") == 1 and "Clone it." in readme
    assert "](../../../notebooks/00_first.ipynb)" in readme


# Co-op Translator


def test_sidecar_is_true(whole):
    folder = whole / "translations" / LANGUAGE
    entries = sidecar.read(folder)
    assert list(entries) == sorted(entries) and len(entries) == 3
    source = "notebooks/00_first.ipynb"
    content = (whole / source).read_bytes()
    assert entries[source] == {
        "original_hash": hashlib.md5(content).hexdigest(),
        "translation_date": entries[source]["translation_date"],
        "source_file": source,
        "language_code": LANGUAGE,
    }
    date = entries[source]["translation_date"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", date)


def test_sidecar_keeps_the_old_hash_while_a_cell_is_stale(whole):
    folder = whole / "translations" / LANGUAGE
    before = sidecar.read(folder)
    write_lesson(whole, "00_first", FIRST | {"plain": PLAIN + " Always."})
    run(whole, "sync")
    assert sidecar.read(folder) == before
    edit(whole, f"source: {digest(PLAIN)} now", "source: done now")
    run(whole, "sync")
    changed = {k for k, v in sidecar.read(folder).items() if v != before[k]}
    assert changed == {"notebooks/00_first.ipynb"}


def test_sidecar_that_lies_is_an_error(whole, capsys):
    path = whole / "translations" / LANGUAGE / sidecar.NAME
    entries = json.loads(path.read_text())
    entries["README.md"]["original_hash"] = "0" * 32
    path.write_text(json.dumps(entries))
    assert "not tell the state of today" in said(whole, "check", capsys=capsys)[2]
    path.write_text("[]")
    assert "not Co-op Translator's" in said(whole, "check", capsys=capsys)[2]


def test_every_page_says_which_text_counts(whole):
    sentence = Edition(whole, [], LANGUAGE).glossary.phrases[ENGLISH_COUNTS]
    for name, english in {
        "README": "README.md",
        "00_first": "notebooks/00_first.ipynb",
    }.items():
        head = file(whole, name).read_text("utf-8").partition("<!-- cell:")[0]
        assert f"\n*{sentence}* [English](../../{english}) <!-- notice -->\n" in head
        assert (file(whole, name).parent / f"../../{english}").exists()
    run(whole, "build")
    built = whole / "build" / "translations" / LANGUAGE / "notebooks" / "00_first.ipynb"
    title = "".join(json.loads(built.read_text("utf-8"))["cells"][0]["source"])
    assert sentence and title.endswith(f"\n\n*{sentence}*")


# The course itself


def test_the_languages_of_the_course_are_there():
    assert set(COMPLETE) <= set(languages(ROOT))


def test_commands_of_the_readme_work(root, capsys):
    readme = (ROOT / "translations" / "README.md").read_text(encoding="utf-8")
    calls = re.findall(r"python translations/lessons\.py (.+)", readme)
    assert calls[0] == "sync --new de" and len(calls) == 4
    assert [run(root, *call.split()) for call in calls] == [0] * 4


def test_command_line():
    script = ROOT / "translations" / "lessons.py"
    call = [sys.executable, str(script), "status"]
    done = subprocess.run(call, capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.startswith("language")
    done = subprocess.run([*call, "zz"], capture_output=True, text=True)
    assert done.returncode == 2 and "sync --new zz" in done.stderr
