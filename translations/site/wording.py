"""The words of the site: our own, and those that Sphinx and its theme lack."""

from functools import cache
from pathlib import Path

import yaml
from babel import Locale
from babel.messages.catalog import Catalog
from babel.messages.mofile import write_mo

STRINGS = Path(__file__).with_name("strings.yaml")


@cache
def strings(language: str) -> dict:
    """{key: text} of a language (BCP 47), English where it has none."""
    known = yaml.safe_load(STRINGS.read_text(encoding="utf-8"))
    return known["en"] | known.get(language, {})


def locale(language: str) -> str:
    """A language's code as gettext and Sphinx write it: pt_BR for pt-BR."""
    return str(Locale.parse(language, sep="-"))


def own_name(language: str) -> str:
    """What a language calls itself, with a capital: Português (Brasil)."""
    name = Locale.parse(language, sep="-").display_name
    return name[0].upper() + name[1:]


def direction(language: str) -> str:
    """The direction of a language's script: "rtl" from right to left, else "ltr"."""
    return Locale.parse(language, sep="-").text_direction


def write_catalogue(language: str, folder: Path) -> None:
    """Writes folder/LOCALE/LC_MESSAGES/sphinx.mo of the interface's texts."""
    code = locale(language)
    catalogue = Catalog(locale=code)
    for english, text in strings(language).get("interface", {}).items():
        catalogue.add(english, text)
    place = folder / code / "LC_MESSAGES" / "sphinx.mo"
    place.parent.mkdir(parents=True)
    with place.open("wb") as file:
        write_mo(file, catalogue)
