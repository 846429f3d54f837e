"""What a translation may not change in a Markdown text: its blocks and their facts.

markdown-it finds the blocks, its plugins formulas and footnotes. A block's facts are
what must stay as it is in every language: code, formulas, link targets, tags; the rest
of it is prose.
"""

import re
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from html.parser import HTMLParser

from markdown_it import MarkdownIt
from markdown_it.token import Token
from mdit_py_plugins.dollarmath import dollarmath_plugin
from mdit_py_plugins.footnote import footnote_plugin

LEAVES = ("inline", "fence", "code_block", "html_block", "math_block", "hr")
FOOTNOTE = "footnote_reference_open"  # the head of a footnote's text
# No-break spaces part thousands; Arabic has marks of its own for that and decimals.
NUMBER = re.compile(r"\d+(?:[.,\u00a0\u202f\u066b\u066c]\d+)*")
COMMA = re.compile(r"(?<=\d)\{,\}(?=\d)")  # in a formula, without a space behind it
MARKUP = "*`$[]<>"  # literal in prose only where the markup is broken, or on purpose


@dataclass(frozen=True)
class Block:
    """A leaf of the text.

    kind: where it stands, such as "bullet_list/list_item/paragraph"; line: counted
    from 0; facts: Counter of (kind, value); prose: the words, link texts among them;
    own_words: the words outside of links.
    """

    kind: str
    line: int
    facts: Counter
    prose: str
    own_words: str


def _parser() -> MarkdownIt:
    parser = MarkdownIt("commonmark").enable(["table", "strikethrough"])
    strict = {"allow_labels": False, "allow_space": False, "allow_digits": False}
    strict["allow_blank_lines"] = False
    parser.use(dollarmath_plugin, **strict, double_inline=True)
    notes = {"inline": False, "move_to_end": False, "always_match_refs": True}
    parser.use(footnote_plugin, **notes)
    parser.normalizeLink = str  # targets as they are written
    return parser


PARSER = _parser()


@lru_cache(maxsize=10_000)
def blocks(text: str) -> tuple[Block, ...]:
    """The leaves of a Markdown text in their order."""
    found, path, line = [], [], 0
    for token in PARSER.parse(text):
        line = token.map[0] if token.map else line
        if token.type == FOOTNOTE:
            found.append(_leaf("footnote", line, token))
        if token.nesting == 1:
            name = token.type.removesuffix("_open")
            path.append(f"{name} {token.tag[1]}" if name == "heading" else name)
        elif token.nesting == -1:
            path.pop()
        elif token.type in LEAVES:
            own = [] if token.type == "inline" else [f"{token.type} {token.info}"]
            kind = "/".join(path + [part.strip() for part in own])
            found.append(_leaf(kind, line, token))
    return tuple(found)


def _leaf(kind: str, line: int, token: Token) -> Block:
    facts, prose, own_words = Counter(), [], []
    if token.type in ("fence", "code_block"):
        facts["code block", token.content] += 1
    elif token.type == "math_block":
        facts["formula", _formula(token)] += 1
    elif token.type == FOOTNOTE:
        facts["footnote", f"[^{token.meta['label']}]"] += 1
    elif token.type == "html_block":
        _add_html(token.content, facts, own_words)
        prose = own_words
    elif token.type == "inline":
        callout = re.match(r"\[!\w+\]", token.content)
        if callout and "blockquote" in kind:
            facts["callout", callout.group()] += 1
        _add_inline(token.children, facts, prose, own_words)
    text = "".join(prose)
    facts.update(("number", digits(n)) for n in NUMBER.findall(text))
    facts.update(("mark", char) for char in text if char in MARKUP)
    return Block(kind, line, facts, text, "".join(own_words))


def _formula(token: Token) -> str:
    """A formula as in English, where it may have a decimal comma: 1{,}96 for 1.96."""
    return f"${COMMA.sub('.', token.content.strip())}$"


def digits(number: str) -> str:
    """A number with its digits as 0 to 9, whatever script they are in."""
    return "".join(str(int(c)) if c.isdigit() else c for c in number)


def _add_inline(
    tokens: list[Token], facts: Counter, prose: list[str], own_words: list[str]
) -> None:
    """Adds facts and words of an inline token's children."""
    depth = 0
    for token in tokens:
        depth += (token.type == "link_open") - (token.type == "link_close")
        if token.type == "link_open":
            facts["link target", token.attrs["href"]] += 1
        elif token.type == "image":
            facts["image source", token.attrs["src"]] += 1
            _add_inline(token.children, facts, prose, own_words)
        elif token.type == "code_inline":
            facts["inline code", f"`{token.content}`"] += 1
        elif token.type in ("math_inline", "math_inline_double"):
            facts["formula", _formula(token)] += 1
        elif token.type == "footnote_ref":
            facts["footnote", f"[^{token.meta['label']}]"] += 1
        elif token.type == "html_inline":
            _add_html(token.content, facts, [])
        words = token.content if token.type == "text" else " " * (not token.nesting)
        prose.append(words)
        own_words.append("" if depth else words)


class _Tags(HTMLParser):
    """Collects tags, comments and words; texts in attributes may be translated."""

    def __init__(self, facts: Counter, words: list[str]) -> None:
        super().__init__()
        self.facts, self.words = facts, words

    def handle_starttag(self, tag: str, attrs: list) -> None:
        for name, value in attrs:
            kind = {"href": "link target", "src": "image source"}.get(name, "attribute")
            if name not in ("alt", "title"):
                self.facts[kind, value or ""] += 1
        self.facts["tag", f"<{tag}>"] += 1

    def handle_endtag(self, tag: str) -> None:
        self.facts["tag", f"</{tag}>"] += 1

    def handle_comment(self, data: str) -> None:
        self.facts["comment", f"<!--{data}-->"] += 1

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def _add_html(html: str, facts: Counter, words: list[str]) -> None:
    parser = _Tags(facts, words)
    parser.feed(html)
    parser.close()
