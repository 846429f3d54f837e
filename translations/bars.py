"""The bar of languages: at the head of README and of each lesson's page."""

import os
import re

MARK, END = "<!-- languages: make pages -->", "<!-- end of languages -->"
BLOCK = re.compile(rf"^{MARK}\n(?:.*\n)*?{END}$", re.MULTILINE)

Languages = dict[str, tuple[str, list[str]]]  # {code: (own name, names of its pages)}


def bar(languages: Languages, page: str, here: str) -> str:
    """Links to a page in all languages that have it, the one of `here` in bold.

    page: its name; a language without README is linked by its first lesson. here: the
    file with the bar, from the root.
    """
    links = []
    for code, (name, pages) in languages.items():
        file = f"translations/{code}/{page}.md"
        if page == "README" and code == "en":
            file = "README.md"
        elif page == "README" and page not in pages:
            file = f"translations/{code}/{min(pages)}.md"
        elif page not in pages:
            continue
        goal = relative(file, here)
        links.append(f"**{name}**" if file == here else f"[{name}]({goal})")
    return " · ".join(links)


def block(languages: Languages, here: str) -> str:
    """README's bar between its marks."""
    return f"{MARK}\n{bar(languages, 'README', here)}\n{END}"


def english(languages: Languages, text: str) -> str:
    """The English README with the bar of today."""
    return BLOCK.sub(lambda found: block(languages, "README.md"), text)


def relative(file: str, here: str) -> str:
    """The link to a file from another one, both from the root."""
    return os.path.relpath(file, os.path.dirname(here)).replace(os.sep, "/")
