"""The rules of a translated text: what is compared with the English, and how."""

import re
import unicodedata
from collections import Counter
from difflib import SequenceMatcher

from translations.markdown_blocks import PARSER, Block, blocks
from translations.numerals import otherwise

SHORT = 40  # letters; the length of a shorter block says nothing
RATIO = (1 / 3, 3)  # letters of a translated block for each letter of the English
STILL_ENGLISH = 4  # words; as many, unchanged, are a text that was passed over
NAMES = {"list_item": "list item", "th": "table cell", "td": "table cell"}
COUNTED = {"list_item": ("list_item", "list item"), "tbody": ("tr", "row")}
REMEDY = {
    "number": "keep every number: words stay words, figures stay figures; a plain"
    " space parts a number (a decimal comma or a no-break space is fine)",
    "mark": "some markup is not closed, or was opened by mistake",
    "code block": "code is never translated: `sync` copies it from the English",
    "link target": "`sync` puts targets right where it is certain",
}
# Where Markdown takes ** and * for no mark: punctuation inside, a letter outside.
UNCLOSED = re.compile(r"[^\w\s*]\*+\w|\w\*+[^\w\s*]")
NOT_BOLD = "`{}`: Markdown does not open or close a * here, between a letter and a"
NOT_BOLD += " punctuation mark; put the punctuation outside of the marks, or a space"
NOT_BOLD += " between"
COPIED = "copy it from the English as it is"


def compare(english: str, translated: str) -> list[tuple[int, str]]:
    """[(line, message)]: how a translation breaks the rules, lines from 0."""
    ours, theirs = blocks(translated), blocks(english)
    if [b.kind for b in ours] != [b.kind for b in theirs]:
        return [_structure(english, translated)]
    pairs = zip(theirs, ours, strict=True)
    found = [(new.line, text) for old, new in pairs for text in _block(old, new)]
    return [(0, "the text is empty")] if not ours and theirs else found


def _structure(english: str, translated: str) -> tuple[int, str]:
    """(line, message) of the first place where the sequences of blocks part."""
    theirs, ours = blocks(english), blocks(translated)
    kinds = [b.kind for b in theirs], [b.kind for b in ours]
    steps = SequenceMatcher(None, *kinds, autojunk=False).get_opcodes()
    _, i, i_end, j, _ = next(step for step in steps if step[0] != "equal")
    line = ours[min(j, len(ours) - 1)].line if ours else 0
    if i == i_end:
        what, text = "not in the English", ours[j]
    else:
        what, text = "missing or of another kind", theirs[i]
    for part in set(COUNTED) & set(text.kind.split("/")):
        (wanted, _), (given, at) = _count(english, i, part), _count(translated, j, part)
        if wanted != given:
            line = line if at is None else at
            return line, _miscounted(COUNTED[part][1], wanted, given)
    facts = [value for _, value in text.facts] or [text.kind]
    shown = " ".join(text.prose.split() or facts[0].split())[:50]
    return line, f'{_name(text.kind)} {what}: "{shown}"; keep every block, in its order'


def _count(text: str, at: int, part: str) -> tuple[int, int | None]:
    """(items, first line) of the list, or rows of the table, around a block.

    at: the block's number, or that of the block after it; part: a key of COUNTED.
    """
    found = blocks(text)
    inside = [part in block.kind.split("/") for block in found] + [False]
    last = at if inside[at] else at - 1
    if last < 0 or not inside[last]:
        return 0, None
    first = last
    while first and inside[first - 1]:
        first -= 1
    while inside[last + 1]:
        last += 1
    lines = range(found[first].line, found[last].line + 1)
    opened = [t for t in PARSER.parse(text) if t.type == f"{COUNTED[part][0]}_open"]
    return sum(token.map[0] in lines for token in opened), lines[0]


def _miscounted(name: str, wanted: int, given: int) -> str:
    number = abs(wanted - given)
    number = f"{number} {name}s" if number > 1 else f"one {name}"
    what = "few" if given < wanted else "many"
    return f"{number} too {what} (English {wanted}, here {given}); keep their order"


def _name(kind: str) -> str:
    last = kind.rpartition("/")[2]
    part = next((p for p in reversed(kind.split("/")) if "list" in p), last)
    return NAMES.get(part.split()[0], part.replace("_", " "))


def _block(old: Block, new: Block) -> list[str]:
    """The messages about one block beside its English block."""
    messages = []
    for kind in sorted({kind for kind, _ in old.facts | new.facts}):
        missing, extra = _difference(kind, old, new)
        unclosed = kind == "mark" and "*" in extra and UNCLOSED.search(new.prose)
        if unclosed:
            messages.append(NOT_BOLD.format(unclosed[0]))
        elif missing or extra:
            messages.append(_said(kind, missing, extra))
    words = re.findall(r"[^\W\d_]{2,}", old.own_words)
    if old.own_words.split() == new.own_words.split() and len(words) >= STILL_ENGLISH:
        messages.append(f'still in English: "{" ".join(old.prose.split())[:50]}"')
    size, other = _letters(old.prose), _letters(new.prose)
    if size >= SHORT and not RATIO[0] <= other / size <= RATIO[1]:
        longer = "longer" if other > size else "shorter"
        messages.append(f"far {longer} than the English: is it the whole, right text?")
    return messages


def _difference(kind: str, old: Block, new: Block) -> tuple[list, list]:
    """(missing, extra) values of one kind, as sorted lists."""
    wanted = Counter({v: n for (k, v), n in old.facts.items() if k == kind})
    given = Counter({v: n for (k, v), n in new.facts.items() if k == kind})
    if kind == "number":
        theirs, ours, words = otherwise(old.prose, new.prose)
        wanted, given = wanted - theirs, given - ours
    common = wanted & given
    wanted, given = wanted - common, given - common
    if kind == "number":
        given -= words
        for number in list(wanted.elements()):
            match = next((s for s in spellings(number) if given[s]), None)
            if match:
                wanted[number] -= 1
                given[match] -= 1
    return sorted(wanted.elements()), sorted(given.elements())


def _said(kind: str, missing: list[str], extra: list[str]) -> str:
    if missing and extra:
        what = f"{_short(extra)} should be {_short(missing)}"
    elif missing:
        what = f"{_short(missing)} is missing"
    else:
        what = f"{_short(extra)} is not in the English"
    return f"{kind} {what}; {REMEDY.get(kind, COPIED)}"


def _short(values: list[str]) -> str:
    texts = [value if len(value) < 60 else value[:57] + "..." for value in values]
    return ", ".join(text.strip().replace("\n", " / ") for text in texts)


def spellings(number: str) -> list[str]:
    """How an English number may be written elsewhere: 1,109.5 as 1.109,5."""
    whole, _, part = number.partition(".")
    if re.fullmatch(r"\d{1,3}(,\d{3})+", whole):
        parts = (",", ".", "\u00a0", "\u202f", "\u066c", "")
        wholes = {whole.replace(",", mark) for mark in parts}
    else:
        wholes = {whole}
    ends = {mark + part for mark in ".,\u066b"} if part else {""}
    return sorted(w + e for w in wholes for e in ends)


def _letters(text: str) -> int:
    """The number of letters; a wide one, as of Chinese, counts for three."""
    wide = [unicodedata.east_asian_width(c) in "WF" for c in text if c.isalpha()]
    return len(wide) + 2 * sum(wide)
