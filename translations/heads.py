"""What stands above a page's first cell: languages, neighbours, how to run it."""

from helpers.course import colab, site
from translations.bars import bar, relative
from translations.direction import steady
from translations.edition import ENGLISH, Edition
from translations.labels import disclaimer
from translations.outputs import NOTICE, notice
from translations.pages import Page

STAYS = "Code, and what it prints, stays in English."


def head(edition: Edition, page: Page) -> str:
    """All that stands above a page's first cell."""
    made = f"<!-- Made by translations/lessons.py from {page.path}: edit "
    made += "that" if edition.language == ENGLISH else "the texts, not the code"
    made += ". See translations/README.md -->"
    kept = edition.outputs(page)
    made += f"\n{kept.stamp}" if kept else ""
    words, where = edition.words, f"[English](../../{page.path})"
    counts = [f"*{disclaimer(words)}* {where} {NOTICE}"] * (edition.language != ENGLISH)
    if page.name == "README":
        return "\n\n".join([made, *counts, notice(STAYS, words)])
    here = edition.name(page)
    lines = [bar(edition.languages, page.name, here), _neighbours(edition, page, here)]
    lines += [_run(edition, page, here)]
    return "\n\n".join([made, *(f"{line} {NOTICE}" for line in lines), *counts])


def _neighbours(edition: Edition, page: Page, here: str) -> str:
    """Links to the list of lessons, and to the lessons before and after."""
    pages = [p for p in edition.pages.values() if p.name != "README"]
    at = pages.index(page)
    goals = {"Previous": pages[at - 1 : at], "Next": pages[at + 1 : at + 2]}
    links = {"All lessons": edition.places.get("README.md", "README.md")}
    links |= {word: edition.places[p.path] for word, ps in goals.items() for p in ps}
    say = edition.words.say
    return " · ".join(f"[{say(w)}]({relative(f, here)})" for w, f in links.items())


def _run(edition: Edition, page: Page, here: str) -> str:
    """How a reader runs the lesson, and what the outputs are from."""
    say, language = edition.words.say, edition.language
    url, kept = edition.address, edition.outputs(page)
    own = "" if language == ENGLISH else f" LANGUAGE={language}"
    parts = [f"**{say('Run it')}**: `make lab{own}`"]
    if url:
        parts.append(f"[{say('Open in Colab')}]({colab(language, page.name, url)})")
        file = f"{site(url)}{language}/notebooks/{page.name}.ipynb"
        parts.append(f"[{say('Download the notebook')}]({file})")
    elif language == ENGLISH:
        parts.append(f"[{page.path}]({relative(page.path, here)})")
    if language != ENGLISH:
        parts.append(say(STAYS))
    if kept:
        where = f"`{kept.profile}`, {say(kept.device).rstrip()}, {kept.date}"
        parts.append(steady(f"{say('What the cells print is from')}: {where}."))
    return " · ".join(parts)
