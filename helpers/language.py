"""What the code says to a reader, in the language of the notebook that they opened.

Translations stand in translations/LANG/messages.po, a gettext catalogue, by the English
text; what it lacks is said in English. `translations/lessons.py` keeps it true.
"""

import importlib
import json
import os
import re
import sys
import unicodedata
from functools import cache
from pathlib import Path

from helpers.files import ROOT

VARIABLE, ENGLISH = "LORA_COURSE_LANGUAGE", "en"  # the variable goes before all else
KEY = "lora_course"  # of a translated notebook's metadata: {"language": "es"}
FIELD = re.compile(r"\\{\d+\\}")  # {0}, escaped for a pattern


def localized(english: str, **values) -> str:
    """A text in the reader's language, its {fields} filled with values.

    A text that was computed is known by the form that the catalogue has of it: "{0} of
    {1}" for "3 of 4".
    """
    found = messages(language())
    said = found.get(english)
    try:
        if said is None and not values:
            return _by_form(found, english)
        return (said or english).format(**values) if values else said
    except Exception:  # other fields than the English: `check` says so
        return english.format(**values) if values else english


def one_way(line: str) -> str:
    """A line for print: from right to left as a whole where its language runs so.

    A notebook begins each line at the left, and would part its tick and full stop from
    an Arabic text.
    """
    right = {unicodedata.bidirectional(char) for char in line} & {"R", "AL"}
    return f"\u200f{line}\u200f" if right else line


def language() -> str:
    """ "en", or the folder in translations/ of the reader's language."""
    return os.environ.get(VARIABLE) or _of_the_notebook()


@cache
def messages(language: str) -> dict[str, str]:
    """{English: translation} of a catalogue, without what is stale ("fuzzy")."""
    path = _catalogue(language)
    if not path.exists():
        return {}
    from babel.messages.pofile import read_po

    try:
        with path.open("rb") as file:
            found = [m for m in read_po(file) if m.id and m.string and not m.fuzzy]
    except Exception:  # `check` says why it cannot be read; no hint fails for it
        return {}
    return {m.id: m.string for m in found}


def _catalogue(language: str) -> Path:
    return ROOT / "translations" / language / "messages.po"


def _by_form(found: dict[str, str], english: str) -> str:
    # The longest first: "Lowest loss at {0}" is also what is at "alpha = {0}".
    for form in sorted((f for f in found if "{0}" in f), key=len, reverse=True):
        pattern = FIELD.sub("(.+)", re.escape(form))
        if match := re.fullmatch(pattern, english, re.DOTALL):
            return found[form].format(*match.groups())
    return english


@cache
def _of_the_notebook() -> str:
    """The language that a notebook says it has, or the folder that its kernel began in.

    Built notebooks lie in LANG/notebooks. The set-up cell has left that folder by now.
    """
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    if shell is None:
        return ENGLISH
    if said := _metadata().get(KEY, {}).get("language"):
        return said
    here = Path(getattr(shell, "starting_dir", "."))
    place = here.parent.name
    built = here.name == "notebooks" and here != ROOT / "notebooks"
    return place if built and _catalogue(place).exists() else ENGLISH


def _metadata() -> dict:
    """The metadata of the notebook, {} where the editor does not tell which it is.

    JupyterLab names its file to the kernel; Colab is asked for the notebook itself.
    """
    try:
        if "google.colab" in sys.modules:
            message = importlib.import_module("google.colab._message")
            asked = message.blocking_request("get_ipynb", timeout_sec=10)
            return asked["ipynb"]["metadata"]
        file = Path(os.environ["JPY_SESSION_NAME"])
        return json.loads(file.read_text(encoding="utf-8"))["metadata"]
    except Exception:  # neither is promised; English then
        return {}
