"""Headings, link targets and code of a Markdown text: found, named and replaced."""

import re
from collections import Counter
from functools import lru_cache

from markdown_it.token import Token

from translations.markdown_blocks import PARSER, blocks

CODE = ("```", "~~~", "    ", "\t")  # no block of code is without one of them


def headings(text: str) -> list[str]:
    """The texts of all headings, in their order."""
    tokens = PARSER.parse(text)
    found = [i + 1 for i, token in enumerate(tokens) if token.type == "heading_open"]
    return ["".join(c.content for c in tokens[i].children) for i in found]


def slugs(titles: list[str]) -> list[str]:
    """The anchors that the code host gives to these headings of one page."""
    seen, found = Counter(), []
    for title in titles:
        slug = re.sub(r"[^\w\- ]", "", title.strip().lower()).replace(" ", "-")
        number = seen[slug]
        seen[slug] += 1
        found.append(f"{slug}-{number}" if number else slug)
    return found


def sections(text: str) -> list[tuple[str, str]]:
    """[(anchor, text)]: a page cut at its headings of level 1 and 2."""
    lines, starts, titles = text.split("\n"), [], []
    tokens = PARSER.parse(text)
    for token, inner in zip(tokens, tokens[1:], strict=False):
        if token.type == "heading_open" and token.level == 0 and token.tag in "h1 h2":
            starts.append(token.map[0])
            titles.append("".join(child.content for child in inner.children))
    cuts = list(zip(slugs(titles), starts, starts[1:] + [len(lines)], strict=True))
    if "".join(lines[: starts[0] if starts else None]).strip():
        cuts.insert(0, ("top", 0, starts[0] if starts else len(lines)))
    return [(name, "\n".join(lines[a:b]).strip("\n")) for name, a, b in cuts]


def targets(text: str) -> list[str]:
    """The link targets and image sources of a text, block by block."""
    kinds = ("link target", "image source")
    facts = (fact for block in blocks(text) for fact in block.facts.elements())
    return [value for kind, value in facts if kind in kinds]


def replace_targets(text: str, mapping: dict[str, str]) -> str:
    """The text with its targets exchanged; code stays as it is."""
    mapping = {old: new for old, new in mapping.items() if old != new}
    if not mapping:
        return text
    names = "|".join(re.escape(old) for old in sorted(mapping, key=len, reverse=True))
    place = rf"(\]\(<?|\]:\s+<?|=\s*[\"'])({names})(?=[)\s>\"']|$)"
    code = _code_lines(text)
    lines = text.split("\n")
    for i in set(range(len(lines))) - code:
        lines[i] = re.sub(place, lambda m: m[1] + mapping[m[2]], lines[i])
    return "\n".join(lines)


@lru_cache(maxsize=10_000)
def _code_blocks(text: str) -> tuple[Token, ...]:
    if not any(sign in text for sign in CODE):  # as in most cells: nothing to parse
        return ()
    kinds = ("fence", "code_block")
    return tuple(token for token in PARSER.parse(text) if token.type in kinds)


def _code_lines(text: str) -> set[int]:
    return {i for token in _code_blocks(text) for i in range(*token.map)}


def copy_code(english: str, translated: str) -> str:
    """The translated text with the code blocks of the English one.

    Only where both have the same kinds of blocks in the same order: else the text is
    returned as it is. A code block that nobody closed reaches to the end of the text.
    """
    theirs, ours = _code_blocks(english), _code_blocks(translated)
    if _kinds(english) != _kinds(translated):
        return translated
    source, lines = english.split("\n"), translated.split("\n")
    for old, new in reversed(list(zip(ours, theirs, strict=True))):
        if (old.content, old.info) != (new.content, new.info):
            lines[slice(*old.map)] = source[slice(*new.map)]
    return "\n".join(lines)


def _kinds(text: str) -> list[str]:
    """The kind of each block, a code block's without its language."""
    return [re.sub(r"(fence).*", r"\1", block.kind) for block in blocks(text)]


def fenced(code: str, language: str = "python") -> str:
    """Code as a fenced block, the fence longer than any inside."""
    inside = re.findall(r"^\s*(`{3,})", code, flags=re.MULTILINE)
    fence = "`" * max([3, *(len(run) + 1 for run in inside)])
    return f"{fence}{language}\n{code}\n{fence}"
