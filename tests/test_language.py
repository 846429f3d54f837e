"""What the code says in the reader's language, and how it knows which that is."""

import json
import sys
from types import SimpleNamespace

import matplotlib.pyplot as plt
import pandas as pd
import pytest

from helpers import exercises, fonts, language, plotting
from helpers.exercises import checking, lesson_03
from helpers.language import localized

CATALOGUE = """
msgid ""
msgstr "Content-Type: text/plain; charset=utf-8\\n"

msgid "row {number}"
msgstr "fila {number}"

msgid "wrong"
msgstr "mal {nummer}"

msgid "broken {a}"
msgstr "roto {b}"

#, fuzzy
msgid "old"
msgstr "viejo"

msgid "deep {a}"
msgstr "hondo {a.b}"

msgid "empty"
msgstr ""

msgid "odd: {0}"
msgstr "raro: {1}"

msgid "best at {0}"
msgstr "lo mejor en {0}"

msgid "best at rank {0}"
msgstr "lo mejor con rango {0}"

msgid "{0} runs of {1}"
msgstr "{1}: {0} ejecuciones"

msgid "update step"
msgstr "paso de actualización"

msgid "answered code"
msgstr "código respondido"

msgid "Exercise {name}: {said}"
msgstr "Ejercicio {name}: {said}"
"""


@pytest.fixture
def course(tmp_path, monkeypatch):
    """A course with a Spanish catalogue; forgets what was found out about others."""
    file = tmp_path / "translations" / "es" / "messages.po"
    file.parent.mkdir(parents=True)
    file.write_text(CATALOGUE, encoding="utf-8")
    monkeypatch.setattr(language, "ROOT", tmp_path)
    forget = (language.messages.cache_clear, language._of_the_notebook.cache_clear)
    [clear() for clear in forget]
    yield tmp_path
    [clear() for clear in forget]


@pytest.fixture
def spanish(course, monkeypatch):
    monkeypatch.setenv(language.VARIABLE, "es")
    return course


@pytest.mark.parametrize(
    ("english", "values", "said"),
    [
        ("row {number}", {"number": 3}, "fila 3"),
        ("3 runs of SmolLM2", {}, "SmolLM2: 3 ejecuciones"),
        ("best at rank 8", {}, "lo mejor con rango 8"),
        ("best at 8", {}, "lo mejor en 8"),
        ("3 runs, of SmolLM2", {}, "3 runs, of SmolLM2"),
        ("3 runs of a\nb", {}, "a\nb: 3 ejecuciones"),
        ("a {brace} of JSON", {}, "a {brace} of JSON"),
        ("wrong", {}, "mal {nummer}"),  # no value is asked for: said as it is
        # English where there is no translation, an old one, or one with other fields.
        *[(text, {}, text) for text in ("old", "empty", "not there", "")],
        ("broken {a}", {"a": 1}, "broken 1"),
        ("deep {a}", {"a": 1}, "deep 1"),
        ("odd: {'a': 1}", {}, "odd: {'a': 1}"),
        ("{0} and {b", {}, "{0} and {b"),
        ("row {number}", {"number": "{x}"}, "fila {x}"),
        ("not there {a}", {"a": 1}, "not there 1"),
    ],
)
def test_text_is_said_in_spanish_or_else_in_english(spanish, english, values, said):
    assert localized(english, **values) == said


def test_english_reader_gets_english(course):
    assert language.language() == "en"
    assert localized("row {number}", number=3) == "row 3"


def test_language_without_a_catalogue_is_english(course, monkeypatch):
    monkeypatch.setenv(language.VARIABLE, "xx")
    assert localized("row {number}", number=3) == "row 3"


@pytest.mark.parametrize("content", [b"\xff", CATALOGUE.replace("utf-8", "x").encode()])
def test_catalogue_that_cannot_be_read_leaves_the_english(spanish, content):
    (spanish / "translations" / "es" / "messages.po").write_bytes(content)
    assert localized("row {number}", number=3) == "row 3"


def opened(monkeypatch, folder, **environment):
    """As if a kernel had begun in a folder."""
    shell = SimpleNamespace(starting_dir=str(folder))
    ipython = SimpleNamespace(get_ipython=lambda: shell)
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    for name, value in environment.items():
        monkeypatch.setenv(name, str(value))
    return language.language()


def test_built_notebook_is_known_by_its_place(course, monkeypatch):
    built = course / "build" / "translations" / "es" / "notebooks"
    assert opened(monkeypatch, built) == "es"


@pytest.mark.parametrize(
    "place", ["notebooks", "build/qps/notebooks", "es", "es/data", "."]
)
def test_other_places_say_nothing(course, monkeypatch, place):
    assert opened(monkeypatch, course / place) == "en"


def test_course_in_a_folder_named_like_a_language_is_english(course, monkeypatch):
    monkeypatch.setattr(language, "ROOT", course / "es")
    catalogue = course / "es" / "translations" / "es" / "messages.po"
    catalogue.parent.mkdir(parents=True)
    catalogue.touch()
    assert opened(monkeypatch, course / "es" / "notebooks") == "en"


@pytest.mark.parametrize(
    ("metadata", "found"), [({language.KEY: {"language": "es"}}, "es"), ({}, "en")]
)
def test_downloaded_notebook_is_known_by_what_it_says(
    course, monkeypatch, metadata, found
):
    book = course / "a.ipynb"
    book.write_text(json.dumps({"metadata": metadata, "cells": []}))
    assert opened(monkeypatch, course, JPY_SESSION_NAME=book) == found


def test_the_variable_goes_before_what_the_notebook_says(course, monkeypatch):
    notebook = course / "build" / "es" / "notebooks"
    monkeypatch.setenv(language.VARIABLE, "en")
    assert opened(monkeypatch, notebook) == "en"
    monkeypatch.delenv(language.VARIABLE)
    assert opened(monkeypatch, notebook) == "es"


@pytest.mark.parametrize("content", [None, "{", "[]", '{"cells": []}'])
def test_notebook_that_cannot_be_read_is_known_by_its_place(
    course, monkeypatch, content
):
    book = course / "a.ipynb"
    if content:
        book.write_text(content)
    built = course / "build" / "es" / "notebooks"
    assert opened(monkeypatch, built, JPY_SESSION_NAME=book) == "es"


def test_command_that_a_notebook_starts_says_it_in_english(course, monkeypatch):
    book = course / "a.ipynb"
    metadata = {language.KEY: {"language": "es"}}
    book.write_text(json.dumps({"metadata": metadata, "cells": []}))
    monkeypatch.setitem(
        sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: None)
    )
    monkeypatch.setenv("JPY_SESSION_NAME", str(book))
    assert language.language() == "en"


def test_colab_is_asked_for_the_notebook(course, monkeypatch):
    metadata = {language.KEY: {"language": "es"}}
    answers = {"get_ipynb": {"ipynb": {"metadata": metadata}}}
    ask = SimpleNamespace(blocking_request=lambda what, timeout_sec: answers[what])
    for name in ("google.colab", "google.colab._message"):
        monkeypatch.setitem(sys.modules, name, ask)
    assert opened(monkeypatch, course) == "es"
    language._of_the_notebook.cache_clear()
    answers.clear()  # another Colab, which does not know the question
    assert opened(monkeypatch, course) == "en"


def test_figure_speaks_the_language(spanish):
    fig, ax = plt.subplots()
    ax.set(xlabel="update step", ylabel="share", title="8 runs of SmolLM2")
    ax.plot([1, 2], label="row {number}")
    ax.legend()
    plotting.finished(fig, ax)
    assert ax.get_xlabel() == "paso de actualización" and ax.get_ylabel() == "share"
    assert ax.get_title() == "SmolLM2: 8 ejecuciones"
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["fila {number}"]


def labelled(label):
    """The words of a figure whose axis has an English label, and their fonts."""
    fig, ax = plt.subplots()
    ax.set(xlabel=label)
    plotting.finished(fig, ax)
    fig.canvas.draw()  # warns of a letter without a font
    return ax.get_xlabel(), ax.xaxis.label.get_fontfamily()


def test_figure_takes_a_font_that_has_the_letters(spanish):
    letter = "\u1d81"  # in STIXGeneral, which comes with matplotlib; not in DejaVu Sans
    language.messages("es")["loss"] = f"{letter} medida"
    said, fonts_taken = labelled("loss")
    assert said == f"{letter} medida" and len(fonts_taken) > 1
    assert labelled("share") == ("share", ["sans-serif"])


def test_a_confusion_is_labelled_in_the_language(spanish):
    [ax] = plotting.heat_map(pd.DataFrame([[1]], ["QWZ"], ["QWZ"]), "loss").axes
    assert ax.get_xlabel() == "código respondido"


def test_figure_stays_english_where_no_font_has_the_letters(spanish, monkeypatch):
    fonts.families.cache_clear()
    monkeypatch.setattr(fonts.fontManager, "ttflist", [])
    language.messages("es")["{label} training"] = "{label} 学習"
    language.messages("es")["loss"] = "損失"
    assert labelled("loss")[0] == "loss"
    assert plotting.drawable("{label} training", label="A") == "A training"
    assert plotting.drawable("update step") == "paso de actualización"
    fonts.families.cache_clear()


def test_exercise_speaks_the_language_as_far_as_it_is_translated(spanish, capsys):
    hint = lesson_03.EXERCISES["03.1"].hint
    exercises.check("03.1", 1)
    assert capsys.readouterr().out == f"Ejercicio 03.1: {hint}\n"
    language.messages("es")[hint] = "cuenta."
    exercises.check("03.1", 1)
    assert capsys.readouterr().out == "Ejercicio 03.1: cuenta.\n"
    praise = lesson_03.EXERCISES["03.1"].praise
    assert checking.verdict("03.1", 750) == f"✓ Ejercicio 03.1: {praise}"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("✓ Exercise 00.1: yes.", "✓ Exercise 00.1: yes."),
        ("✓ تمرين 00.1: نعم.", "\u200f✓ تمرين 00.1: نعم.\u200f"),
        ("תרגיל 00.1: כן.", "\u200fתרגיל 00.1: כן.\u200f"),
    ],
)
def test_printed_line_keeps_its_tick_and_full_stop_on_their_sides(line, said):
    assert language.one_way(line) == said
