"""Begin a language, or some pages in it: what nobody has begun does not exist."""

from pathlib import Path

from translations import glossary
from translations.edition import A_CODE, CODE, ENGLISH, Edition, languages
from translations.pages import Page, PageError
from translations.sync import write


def new_edition(
    root: Path, pages: list[Page], language: str, names: list[str]
) -> Edition:
    """Begins a language with its glossary, and some of its pages. Raises PageError.

    names: README, a lesson's number or name; none: the first lesson.
    """
    if not CODE.fullmatch(language) or language == ENGLISH:
        raise PageError(f"{language!r} is not {A_CODE}")
    known = {page.name: page for page in pages}
    known |= {name[:2]: page for name, page in known.items() if name != "README"}
    if unknown := sorted(set(names) - set(known)):
        there = ", ".join(name for name in known if len(name) > 2)
        raise PageError(f"no page {unknown[0]!r} (there: {there})")
    if language in languages(root) and not names:
        remedy = f"use: sync {language}; or name a lesson: sync --new {language} 03"
        raise PageError(f"{language} exists already; {remedy}")
    folder = root / "translations" / language
    if not (folder / glossary.NAME).exists():
        terms = [Edition(root, pages, o).glossary.terms for o in languages(root)]
        text = glossary.template(max(terms, key=len, default=()))
        write(folder / glossary.NAME, text)
    lessons = [page.name for page in pages if page.name != "README"]
    for page in (known[name] for name in names or lessons[:1]):
        (folder / f"{page.name}.md").touch()
    return Edition(root, pages, language)
