"""What the code says: found in the sources, kept for each language, checked."""

import json
import re

import pytest

from helpers.exercises.checking import find
from helpers.files import ROOT
from tests.exercises.test_exercises import NAMES
from tests.translations.pseudo_translation import LANGUAGE, rot13, run
from tests.translations.translation_course import FIRST, make_course, said, write_lesson
from translations import catalogue
from translations.edition import COMPLETE, Edition
from translations.pages import read_pages

LESSON = """
from helpers.exercises.checking import LATE, Exercise, numeric

EXERCISES = {
    "00.1": numeric(
        "a number of rows", right=2, within=0, percent=LATE,
        praise="All `rows` of 95 % of it.", hint="Count the rows "
        "of the batch.", mistakes={"that is `one` row.": 1, f"{2} too many.": 4},
    ),
    "00.2": Exercise("a text", right=len, praise="Yes.", hint="try {it} again."),
}
"""
HELPER = 'LATE = "the right idea."\nUNUSED = "No hint."\nlocalized("row {n}", n=1)\n'
FIGURE = """%pip list
title = f"{len(rows)} runs" if rows else "no runs"
ax.set(xlabel="update step", title=title, ylim=(0, "k:"))
before_after({"base": rows}, f"{a}: {b}")
title = f"{n} seeds: "
ax.set_title(title + "all")
slider(draw, "ab", "first", "model")
"""
TEXTS = {
    *("the right idea.", "row {n}", "a number of rows", "All `rows` of 95 % of it."),
    *("Count the rows of the batch.", "that is `one` row.", "{0} too many."),
    *("a text", "Yes.", "try {it} again.", "{0} runs", "no runs"),
    *("update step", "base", "model", "Send"),
}


def add_code(root):
    """Gives the small course code that says something."""
    folder = root / "helpers" / "exercises"
    folder.mkdir(parents=True)
    (folder / "lesson_00.py").write_text(LESSON, encoding="utf-8")
    (folder / "checking.py").write_text(HELPER, encoding="utf-8")
    (root / "helpers" / "files.py").write_text('set_title("Not said")\n')
    (root / "helpers" / "show.py").write_text('localized(label or "Send")\n')
    write_lesson(root, "00_first", FIRST | {"code-run": FIGURE})


@pytest.fixture
def code(tmp_path):
    """The small course with code that says something, begun in a language."""
    make_course(tmp_path)
    add_code(tmp_path)
    assert run(tmp_path, "sync", "--new", LANGUAGE) == 0
    return tmp_path


def file(root, language=LANGUAGE):
    return root / "translations" / language / catalogue.NAME


def kept(root):
    return file(root).read_text(encoding="utf-8")


def translate(root, change=rot13, language=LANGUAGE):
    """Fills a catalogue; what is no word stays."""
    keep = re.compile(r"(`[^`]*`|\{\w+\})")
    path = file(root, language)

    def filled(found):
        text = "".join(json.loads(line) for line in found[1].split("\n"))
        parts = [p if keep.fullmatch(p) else change(p) for p in keep.split(text)]
        said = json.dumps("".join(parts), ensure_ascii=False)
        return f"msgid {found[1]}\nmsgstr {said}\n\n"

    entry = re.compile(r'^msgid ((?:"[^\n]+"\n?)+?)\nmsgstr ""\n\n', re.MULTILINE)
    content = path.read_text(encoding="utf-8") + "\n"
    path.write_text(entry.sub(filled, content).rstrip() + "\n", encoding="utf-8")
    assert run(root, "sync", language) == 0


def edit(root, old, new, path=None):
    path = path or file(root)
    content = path.read_text(encoding="utf-8")
    assert content.count(old) == 1, content
    path.write_text(content.replace(old, new), encoding="utf-8")


def status(root):
    return catalogue.counts(Edition(root, read_pages(root), LANGUAGE))


def checked(root, language=LANGUAGE):
    return catalogue.check(Edition(root, read_pages(root), language))


def test_texts_are_found_without_running_anything(code):
    found = catalogue.texts(Edition(code, read_pages(code), LANGUAGE))
    assert set(found) == TEXTS
    assert found["no runs"] == ["notebooks/00_first.ipynb"]


def test_all_that_the_exercises_of_the_course_say_is_found():
    edition = Edition(ROOT, read_pages(ROOT), "es")
    found, spoken = catalogue.texts(edition), set()
    forms = [re.escape(t) for t in found if "{0}" in t]
    computed = re.compile("|".join(re.sub(r"\\{\d+\\}", ".+", f) for f in forms))
    for exercise in map(find, NAMES):
        spoken |= {exercise.expected, exercise.praise, exercise.hint}
        spoken |= {*exercise.mistakes}
    assert len(spoken) > 250
    assert {t for t in spoken - set(found) if not computed.fullmatch(t)} == set()


def test_all_that_is_localized_is_a_text_to_be_found():
    """A call with a name in it finds only what stands elsewhere as a text."""
    named = re.compile(r"(?:localized|drawable)\((?!f?[\"'\n])(.*)")
    files = [p for p in (ROOT / "helpers").rglob("*.py") if p.stem != "language"]
    calls = {c for p in files for c in named.findall(p.read_text("utf-8"))}
    assert {re.match(r"[\w.]+", call)[0] for call in calls} == {
        *("exercise.expected", "exercise.praise", "exercise.hint", "hint"),
        *("label", "text.get_text", "english"),
    }


def test_missing_texts_are_reported_and_an_error_only_where_all_must_be_whole(
    code, capsys
):
    [], [warning] = checked(code)
    assert f"{len(TEXTS)} of {len(TEXTS)} texts that the code says" in warning
    line = int(warning.split(":")[1])
    assert kept(code).split("\n")[line - 1] == 'msgid "row {n}"'
    _, out, _ = said(code, "status", capsys=capsys)
    assert out.split("\n")[1].endswith(f"0 of {len(TEXTS)}")
    run(code, "sync", "--new", COMPLETE[0])
    [error], [] = checked(code, COMPLETE[0])
    assert "shown in English" in error


def test_whole_catalogue_is_without_fault(code, capsys):
    translate(code)
    assert checked(code) == ([], []) and "python-format" not in kept(code)
    assert rot13("Count the rows of the batch.") in kept(code)
    before = kept(code)
    assert run(code, "sync") == 0 and kept(code) == before
    _, out, _ = said(code, "status", capsys=capsys)
    assert out.split("\n")[1].endswith(f"{len(TEXTS)} of {len(TEXTS)}")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("ebj {n}", "ebj {m}", "the parts {m} should be {n}"),
        ("ebj {n}", "ebj {{n}}", "the parts {, {n}, } should be {n}"),
        ("ebj {n}", "ebj {n} {", "the parts {, {n} should be {n}"),
        ("`rows` bs 95", "`ebjf` bs 95", "inline code `ebjf` should be `rows`"),
        ("`rows` bs 95", "`rows` bs 59", "number 59 should be 95"),
        (
            rot13("Count the rows of the batch."),
            "Count the rows of the batch.",
            "still",
        ),
        ('msgstr "Lrf."', 'msgstr "Lrf.', 'wanted is msgid "...", msgstr'),
        ('msgid "Yes."', 'msgid "No."', "not all texts of today's code"),
        ("#: notebooks", "# Mine\n#: other", "or not as `sync` would write it"),
    ],
)
def test_slip_is_named_with_its_line(code, old, new, words):
    translate(code)
    path = file(code)
    content = kept(code).replace(old, new, 1)
    assert content != kept(code)
    path.write_text(content, encoding="utf-8")
    [error], [] = checked(code)
    assert re.match(rf"translations/{LANGUAGE}/messages.po:\d+: ", error)
    assert words in error
    assert ("wanted is" in words) == ("cannot be read" in status(code))


def test_glossary_is_asked(code):
    folder = file(code).parent
    edit(code, "| batch | |", "| batch | lote |", folder / "glossary.md")
    translate(code)
    [], [warning] = checked(code)
    assert "English has 'batch', the text lacks 'lote'" in warning


def test_changed_text_is_stale_and_keeps_its_translation(code):
    translate(code)
    source = code / "helpers" / "exercises" / "lesson_00.py"
    edit(code, "of the batch.", "of the 2 batches.", source)
    assert checked(code) == (
        [f"translations/{LANGUAGE}/messages.po:1: {catalogue.FORM}"],
        [],
    )
    assert run(code, "sync") == 0
    assert kept(code).count(rot13("Count the rows of the batch.")) == 1
    [error], [] = checked(code)
    assert "stale: the English has changed" in error
    assert status(code) == f"{len(TEXTS) - 1} of {len(TEXTS)}"
    edit(code, "#, fuzzy\n", "")
    edit(code, rot13("of the batch."), rot13("of the 2 batches."))
    assert run(code, "sync") == 0 and checked(code) == ([], [])


def test_file_that_is_no_python_is_named(code):
    (code / "helpers" / "show.py").write_text('localized("Send"\n')
    [error], [] = checked(code)
    assert error.startswith("helpers/show.py: ") and run(code, "sync") == 1


def test_new_text_that_is_like_another_is_no_stale_one(code):
    translate(code)
    source = code / "helpers" / "exercises" / "lesson_00.py"
    edit(code, 'hint="try', 'hint="Count the rows of the batches.", x="try', source)
    assert run(code, "sync") == 0 and "fuzzy" not in kept(code)
    assert 'msgid "Count the rows of the batches."\nmsgstr ""' in kept(code)


def test_text_that_is_gone_is_kept_and_comes_back(code):
    translate(code)
    before = kept(code)
    source = code / "helpers" / "exercises" / "lesson_00.py"
    edit(code, '"Yes."', '"No."', source)
    run(code, "sync")
    assert '#~ msgid "Yes."' in kept(code)
    edit(code, '"No."', '"Yes."', source)
    run(code, "sync")
    assert kept(code) == before


def test_pages_can_do_without_babel(code, capsys, monkeypatch):
    monkeypatch.setattr(catalogue, "Catalog", None)
    before = kept(code)
    status, out, _ = said(code, "check", LANGUAGE, capsys=capsys)
    assert status == 0 and "needs one more package: pip install babel" in out
    status, out, _ = said(code, "sync", LANGUAGE, capsys=capsys)
    assert status == 0 and "pip install babel" in out and kept(code) == before
    run(code, "sync", "--new", "ja")
    status, out, _ = said(code, "sync", capsys=capsys)  # once, not for each language
    assert status == 0 and out.count("pip install babel") == 1
    assert said(code, "status", capsys=capsys)[0] == 0


def test_code_that_says_nothing_needs_no_catalogue(root):
    run(root, "sync", "--new", LANGUAGE)
    assert not file(root).exists() and checked(root) == ([], [])


def test_catalogue_is_the_same_whatever_babel_wrote_it(code):
    path = code / "translations" / LANGUAGE / "messages.po"
    text = path.read_text(encoding="utf-8")
    assert "Generated-By" not in text
    old = text.replace('"MIME', '"Generated-By: Babel 1.0\\n"\n"MIME', 1)
    path.write_text(old, encoding="utf-8")
    assert run(code, "sync") == 0 and path.read_text(encoding="utf-8") == text
