"""Checks for rows that stand there twice: in one split, or in two, where it leaks."""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice

from helpers.preflight.looking import SHOWN, lines_of
from helpers.preflight.registry import check_of, derived
from helpers.preflight.report import RUINS, WARNS, Finding

FAR = "the score on these rows says what was learnt by heart, not what is understood"
APART = "keep them in one split: give one file, which is divided so, or remove them"
# Of near-duplicates: the share of two prompts' parts that is the same; hashes a prompt;
# rows of a split that are compared with the training rows; rows to learn from which
# parts nearly all prompts have; and the share of a split from which on it is a finding.
ALIKE, HASHES, BANDS, COMPARED, LEARNT, MANY = 0.8, 128, 16, 10_000, 1_000, 0.01
COMMON, FEWEST = 0.1, 4  # a part of so many prompts is no mark; parts a prompt needs


@dataclass
class Seen:
    """The prompts that occur twice. lines: up to SHOWN "line as line" of each kind."""

    rows: int = 0
    counts: Counter = field(default_factory=Counter)
    lines: dict[str, list[str]] = field(default_factory=dict)

    def add(self, kind: str, later: str, first: str) -> None:
        """Notes a row and the earlier one with the same prompt."""
        self.counts[kind] += 1
        lines = self.lines.setdefault(kind, [])
        if len(lines) <= SHOWN:
            lines.append(f"{later} as {first}")


@derived
def seen(texts) -> Seen:
    """The prompts of all splits that occur twice, in one pass."""
    found, first = Seen(), {}
    for number, row in enumerate(texts.rows()):
        found.rows += 1
        earlier = first.setdefault(row.asked, (number, row.split, row.line, row.said))
        if earlier[0] != number:
            _, split, line, said = earlier
            kind = "repeats" if said == row.said else "conflicting-answers"
            kind = kind if split == row.split else f"leak {row.split} {split}"
            found.add(kind, row.line, line)
    return found


@check_of("leak", about="prompts that are in two splits")
def leak(seen) -> Iterator[Finding]:
    """Prompts of one split that another one has too."""
    for kind, count in seen.counts.items():
        if kind.startswith("leak "):
            _, name, other = kind.split()
            what = f"{count:,} prompts of {name} are in {other} too"
            yield _shared("leak", RUINS, what, seen.lines[kind], count)
    return f"{seen.rows:,} rows"


@check_of("repeats", about="prompts that stand in a split twice, with one answer")
def repeats(seen) -> Iterator[Finding]:
    """Rows that say nothing new."""
    if count := seen.counts["repeats"]:
        lines = seen.lines["repeats"]
        what = f"{count:,} rows are there before: {lines_of(lines, count)}"
        why = "they weigh twice, and teach nothing more"
        where = lines[0].partition(" as ")[0]
        yield Finding("repeats", WARNS, where, what, why, "remove them")
    return f"{seen.rows:,} rows"


@check_of("conflicting-answers", about="prompts that have several answers")
def conflicting_answers(seen) -> Iterator[Finding]:
    """One question, two answers."""
    if count := seen.counts["conflicting-answers"]:
        lines = seen.lines["conflicting-answers"]
        what = f"{count:,} prompts have another answer before"
        what = f"{what}: {lines_of(lines, count)}"
        why = "the model can learn one of them at most: to guess"
        mend = "keep one, or put what decides into the prompt"
        level = RUINS if count > seen.rows / 2 else WARNS
        where = lines[0].partition(" as ")[0]
        yield Finding("conflicting-answers", level, where, what, why, mend)
    return f"{seen.rows:,} rows"


@check_of("split-groups", about="groups (--group) that are in two splits")
def split_groups(texts, group) -> Iterator[Finding]:
    """Rows of one source in two splits."""
    first, pairs = {}, {}
    for row in texts.rows():
        split, line = first.setdefault(row.group, (row.split, row.line))
        if split != row.split and row.group is not None:
            found = pairs.setdefault((row.split, split), {})
            found.setdefault(row.group, f"{row.line} as {line}")
    for (name, split), found in pairs.items():
        what = f"{len(found):,} values of {group!r} are in {name} and {split}"
        yield _shared("split-groups", RUINS, what, [*found.values()], len(found))
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
            lines = [f"{few[place].line} as {line}" for place, line in pairs.items()]
            what = f"{len(pairs):,} of {len(few):,} {name} prompts are nearly in train"
            yield _shared("near-duplicates", WARNS, what, lines, len(pairs))
    return " and ".join(looked)


def common_parts(texts) -> set[str]:
    """What so many prompts hold that it says nothing of one: a fixed instruction."""
    sample = [parts(row.question) for row in islice(texts.rows("train"), LEARNT)]
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


def _shared(code: str, level: str, what: str, lines: list[str], count: int) -> Finding:
    """The finding for rows that are in two splits."""
    where = lines[0].partition(" as ")[0]
    return Finding(code, level, where, f"{what}: {lines_of(lines, count)}", FAR, APART)
