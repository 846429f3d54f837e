"""Checks for rows that stand there twice: in one split, or in two, where it leaks."""

import re
from array import array
from collections import Counter
from collections.abc import Iterator
from itertools import islice

from helpers.preflight.looking import SHOWN, Lines
from helpers.preflight.registry import check_of, derived
from helpers.preflight.report import RUINS, WARNS, Finding

FAR = "the score on these rows says what was learnt by heart, not what is understood"
APART = "keep them in one split: give one file, which is divided so, or remove them"
ALONE = "remove them from one split, or --group a column that they have in common"
# Of near-duplicates: the share of two prompts' parts that is the same; hashes a prompt;
# rows of a split that are compared with the training rows; rows to learn from which
# parts nearly all prompts have; and the share of a split from which on it is a finding.
ALIKE, HASHES, BANDS, COMPARED, LEARNT, MANY = 0.8, 128, 16, 10_000, 1_000, 0.01
COMMON, FEWEST = 0.1, 4  # a part of so many prompts is no mark; parts a prompt needs


@derived
def seen(texts) -> dict[str, Lines]:
    """The rows whose prompt is there before, by what that means, in one pass.

    Of a row a key is in memory, its number, and eight bytes of its answer.
    """
    found, first, said, splits = {}, {}, array("q"), array("b")
    names = [*texts.tables]
    for number, row in enumerate(texts.rows()):
        said.append(int.from_bytes(row.said[:7]))
        splits.append(names.index(row.split))
        earlier = first.setdefault(row.asked, number)
        if earlier != number:
            same = said[earlier] == said[number]
            kind = "repeats" if same else "conflicting-answers"
            if splits[earlier] != splits[number]:
                kind = f"leak {row.split} {names[splits[earlier]]}"
            lines = found.setdefault(kind, Lines())
            line = texts.at(earlier).line if len(lines) < SHOWN else ""
            lines.add(row.line, line)
    return found


@check_of("leak", about="prompts that are in two splits")
def leak(seen, texts) -> Iterator[Finding]:
    """Prompts of one split that another one has too."""
    for kind, lines in seen.items():
        if kind.startswith("leak "):
            _, name, other = kind.split()
            what = f"{len(lines):,} prompts of {name} are in {other} too"
            level = RUINS if len(lines) > MANY * texts.count(name) else WARNS
            yield _shared("leak", level, what, lines)
    return f"{len(texts):,} rows"


@check_of("repeats", about="prompts that stand in a split twice, with one answer")
def repeats(seen, texts) -> Iterator[Finding]:
    """Rows that say nothing new."""
    if lines := seen.get("repeats"):
        what = f"{len(lines):,} rows are there before: {lines}"
        why = "they weigh twice, and teach nothing more"
        yield Finding("repeats", WARNS, lines.where, what, why, "remove them")
    return f"{len(texts):,} rows"


@check_of("conflicting-answers", about="prompts that have several answers")
def conflicting_answers(seen, texts) -> Iterator[Finding]:
    """One question, two answers."""
    if lines := seen.get("conflicting-answers"):
        what = f"{len(lines):,} prompts have another answer before: {lines}"
        why = "the model can learn one of them at most: to guess"
        mend = "keep one, or put what decides into the prompt"
        yield Finding("conflicting-answers", WARNS, lines.where, what, why, mend)
    return f"{len(texts):,} rows"


@check_of("split-groups", about="groups (--group) that are in two splits")
def split_groups(texts, group) -> Iterator[Finding]:
    """Rows of one source in two splits."""
    first, told, pairs = {}, set(), {}
    for row in texts.rows():
        split, line = first.setdefault(row.group, (row.split, row.line))
        one = row.split, split, row.group
        if split != row.split and row.group is not None and one not in told:
            told.add(one)
            pairs.setdefault(one[:2], Lines()).add(row.line, line)
    for (name, split), lines in pairs.items():
        what = f"{len(lines):,} values of {group!r} are in {name} and {split}"
        yield _shared("split-groups", RUINS, what, lines)
    return f"{len(first):,} groups"


@check_of("near-duplicates", about="prompts that differ little from a training prompt")
def near_duplicates(texts) -> Iterator[Finding]:
    """Rows of validation and test that training has in nearly the same words."""
    if not texts.count("train"):
        return "no training rows"
    common, looked = common_parts(texts), []
    for name in texts.tables:
        if name == "train":
            continue
        few = [row for row in islice(texts.rows(name), COMPARED)]
        looked.append(f"{len(few):,} {name} rows")
        pairs = find_near(few, texts, common)
        if len(pairs) > MANY * len(few):
            lines = Lines()
            for place, line in pairs.items():
                lines.add(few[place].line, line)
            what = f"{len(pairs):,} of {len(few):,} {name} prompts are nearly in train"
            yield _shared("near-duplicates", WARNS, what, lines, ALONE)
    return " and ".join(looked)


def common_parts(texts) -> set[str]:
    """What so many prompts hold that it says nothing of one: a fixed instruction."""
    rows = texts.count("train")
    places = {n * rows // LEARNT for n in range(LEARNT)}  # a file may be sorted
    sample = [parts(texts.row("train", place).question) for place in sorted(places)]
    counts = Counter(part for found in sample for part in found)
    most = max(2, COMMON * len(sample))
    return {part for part, count in counts.items() if count > most}


def parts(text: str) -> set[str]:
    """Three words in a row, each time; five characters where words are few."""
    words = re.findall(r"\w+", text.lower())
    if len(words) >= 8:
        return {" ".join(words[n : n + 3]) for n in range(len(words) - 2)}
    text = " ".join(words)
    return {text[n : n + 5] for n in range(max(1, len(text) - 4))}


def find_near(few: list, texts, common: set[str]) -> dict[int, str]:
    """{place in few: line of a training row that has ALIKE of its parts}, one each.

    Found by MinHash (Broder 1997) and held against the parts themselves; memory grows
    with `few` alone. A prompt that is the same is no finding here: see `leak`.
    """
    import rensa

    index = rensa.RMinHashLSH(ALIKE, HASHES, BANDS)
    own = [parts(row.question) - common for row in few]
    for place, there in enumerate(own):
        if len(there) >= FEWEST:
            index.insert(place, _hashes(rensa, there))
    found = {}
    for row in texts.rows("train"):
        if len(here := parts(row.question) - common) < FEWEST:
            continue
        for place in index.query(_hashes(rensa, here)):
            there = own[place]
            if place not in found and few[place].asked != row.asked:
                if len(here & there) >= ALIKE * len(here | there):
                    found[place] = row.line
    return dict(sorted(found.items()))


def _hashes(rensa, own: set[str]):
    """The MinHash of some parts."""
    found = rensa.RMinHash(num_perm=HASHES, seed=0)
    found.update(list(own))
    return found


def _shared(code: str, level: str, what: str, lines: Lines, mend=APART) -> Finding:
    """The finding for rows that are in two splits."""
    return Finding(code, level, lines.where, f"{what}: {lines}", FAR, mend)
