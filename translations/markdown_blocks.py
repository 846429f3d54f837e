"""What a translation may not change in a Markdown text: its blocks and their facts.

markdown-it finds the blocks. A block's facts are what must stay as it is in every
language: code, formulas, link targets, tags; the rest of it is prose.
"""

import re
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from html.parser import HTMLParser

from markdown_it import MarkdownIt

LEAVES = ("inline", "fence", "code_block", "html_block", "hr")
NUMBER = re.compile(r"\d+(?:[.,\u00a0\u202f]\d+)*")  # no-break spaces part thousands
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


def _math(state, silent):
    """Inline rule for $...$ and $$...$$, with Pandoc's rules for single dollars."""
    source, start = state.src, state.pos
    mark = "$$" if source.startswith("$$", start) else "$"
    if not source.startswith(mark, start):
        return False
    first = start + len(mark)
    end = source.find(mark, first)
    while end > 0 and source[end - 1] == "\\":
        end = source.find(mark, end + 1)
    after = source[end + len(mark) : end + len(mark) + 1]
    spaced = source[first : first + 1].isspace() or source[end - 1 : end].isspace()
    if end <= first or mark == "$" and (spaced or after.isdigit()):
        return False
    if not silent:
        state.push("math", "", 0).content = source[first:end].strip()
    state.pos = end + len(mark)
    return True


def _footnote(state, silent):
    """Inline rule for [^name], in the text and at the head of the footnote."""
    found = re.compile(r"\[\^([^\]\s]+)\]").match(state.src, state.pos)
    if found is None:
        return False
    if not silent:
        state.push("footnote", "", 0).content = found.group(1)
    state.pos = found.end()
    return True


def _parser():
    parser = MarkdownIt("commonmark").enable(["table", "strikethrough"])
    parser.inline.ruler.before("escape", "math", _math)
    parser.inline.ruler.before("link", "footnote", _footnote)
    parser.normalizeLink = str  # targets as they are written
    [reference] = [r.fn for r in parser.block.ruler.__rules__ if r.name == "reference"]

    def no_footnote(state, start, end, silent):
        text = state.src[state.bMarks[start] + state.tShift[start] :]
        return not text.startswith("[^") and reference(state, start, end, silent)

    parser.block.ruler.at("reference", no_footnote)
    return parser


PARSER = _parser()


@lru_cache(maxsize=10_000)
def blocks(text):
    """Return the leaves of a Markdown text in their order, a tuple of Block."""
    found, path, line = [], [], 0
    for token in PARSER.parse(text):
        line = token.map[0] if token.map else line
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


def _leaf(kind, line, token):
    facts, prose, own_words = Counter(), [], []
    if token.type in ("fence", "code_block"):
        facts["code block", token.content] += 1
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


def digits(number):
    """Return a number with its digits as 0 to 9, whatever script they are in."""
    return "".join(str(int(c)) if c.isdigit() else c for c in number)


def _add_inline(tokens, facts, prose, own_words):
    """Add facts and words of an inline token's children."""
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
        elif token.type == "math":
            facts["formula", f"${token.content}$"] += 1
        elif token.type == "footnote":
            facts["footnote", f"[^{token.content}]"] += 1
        elif token.type == "html_inline":
            _add_html(token.content, facts, [])
        words = token.content if token.type == "text" else " " * (not token.nesting)
        prose.append(words)
        own_words.append("" if depth else words)


class _Tags(HTMLParser):
    """Collects tags, comments and words; texts in attributes may be translated."""

    def __init__(self, facts, words):
        super().__init__()
        self.facts, self.words = facts, words

    def handle_starttag(self, tag, attrs):
        for name, value in attrs:
            kind = {"href": "link target", "src": "image source"}.get(name, "attribute")
            if name not in ("alt", "title"):
                self.facts[kind, value or ""] += 1
        self.facts["tag", f"<{tag}>"] += 1

    def handle_endtag(self, tag):
        self.facts["tag", f"</{tag}>"] += 1

    def handle_comment(self, data):
        self.facts["comment", f"<!--{data}-->"] += 1

    def handle_data(self, data):
        self.words.append(data)


def _add_html(html, facts, words):
    parser = _Tags(facts, words)
    parser.feed(html)
    parser.close()
