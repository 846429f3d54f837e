"""Checks on the rows of a data set: how many, and what their answers can teach."""

import re
from collections import Counter
from collections.abc import Iterator
from zlib import crc32

import numpy as np

from helpers.preflight.looking import Lines
from helpers.preflight.registry import check_of
from helpers.preflight.report import RUINS, WARNS, Finding

FEW_ROWS = 50  # training rows; with fewer, chance decides what is learnt
FEW_SCORED = 20  # rows of a score; its 95 % interval is 40 points wide then
ONE_SIDED = 0.95  # share of rows with one answer; a model may say nothing else
# What programs write for a cell that is empty or went wrong, in lower case.
EMPTY = {"", "nan", "null", "undefined", "n/a", "#n/a", "#ref!", "#value!", "#name?"}
EMPTY |= {"#div/0!", "todo", "tbd", "[object object]", "-", "...", "\ufffd"}
SAMPLE, LEAST, DEALS, WIDTH = 500, 100, 60, 2**12  # of `answers_fit`
# Letters of scripts without spaces, from Thai to Chinese: each counts as a word.
ALONE = r"\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff\u3040-\u9fff"
WORD = re.compile(rf"[{ALONE}]|[^\W{ALONE}]+")
CHANCE = 3.0  # standard deviations; of 1,000 shuffled data sets one exceeds it


@check_of("unread-rows", about="whether every row is an example that can be trained")
def unread_rows(refused) -> Iterator[Finding]:
    """What reading refused: "path:line: what is wrong, what was expected"."""
    for error in refused:
        where, _, what = error.partition(": ")
        why = "nothing is trained on a file that holds one row in another form"
        mend = "mend or remove the row; --map names columns"
        yield Finding("unread-rows", RUINS, where, what, why, mend)


@check_of("too-few-rows", about="how many rows each split has")
def too_few_rows(splits) -> Iterator[Finding]:
    """Whether there is enough to learn from, and to measure by."""
    for name, rows in splits.items():
        least = FEW_ROWS if name == "train" else FEW_SCORED
        if len(rows) < least:
            why = "a score of so few rows says little: see its interval"
            if name == "train":
                why = "so few rows teach a form at best, and are soon known by heart"
            what = f"{len(rows):,} rows, expected {least:,} or more"
            mend = f"add rows until {name} has {least:,}"
            yield Finding("too-few-rows", WARNS, name, what, why, mend)
    return ", ".join(f"{name} {len(rows):,}" for name, rows in splits.items())


@check_of("empty-answers", about="answers without a word in them")
def empty_answers(texts) -> Iterator[Finding]:
    """Answers that hold nothing, or what a program writes for nothing."""
    lines, kinds = Lines(), set()
    for row in texts.rows():
        if (answer := row.answer.strip()).lower() in EMPTY:
            lines.add(row.line)
            kinds.add(repr(answer))
    if lines:
        shown = ", ".join(sorted(kinds)[:3])
        what = f"{len(lines):,} answers are {shown}: {lines}"
        why = "the model learns to answer so"
        mend = "fill them in, or remove the rows"
        yield Finding("empty-answers", WARNS, lines.where, what, why, mend)
    return f"{len(texts):,} rows"


@check_of("constant-answers", about="whether most rows have the same answer")
def constant_answers(texts) -> Iterator[Finding]:
    """One answer for (nearly) every training row."""
    rows, counts, shown = texts.count("train"), Counter(), {}
    for row in texts.rows("train") if rows else ():
        counts[row.said] += 1
        if counts[row.said] == 2:
            shown[row.said] = row.answer[:40]
    key, most = counts.most_common(1)[0] if rows else (None, 0)
    if most > 1 and most >= ONE_SIDED * rows:
        what = f"{most:,} of {rows:,} answers are {shown[key]!r}"
        why = "a model that always says so looks as good, whatever it is asked"
        mend = "add rows with other answers, and see what share this one has"
        level = RUINS if most == rows else WARNS
        yield Finding("constant-answers", level, "train", what, why, mend)
    return f"{rows:,} rows, {len(counts):,} answers"


@check_of("shuffled-answers", about="whether answers have to do with their prompts")
def shuffled_answers(texts) -> Iterator[Finding]:
    """Answers that fit their own prompts no better than those of other rows."""
    rows = texts.count("train")
    if rows < LEAST:
        return "too few rows to tell"
    places = np.linspace(0, rows - 1, min(rows, SAMPLE)).astype(int)
    sample = [texts.row("train", int(place)) for place in places]
    fit = answers_fit([r.question for r in sample], [r.answer for r in sample])
    if fit < CHANCE:
        what = f"of {len(sample):,} answers none fits its prompt better than another's"
        why = "there is nothing to learn but how often each answer occurs"
        mend = "see whether a column was sorted or moved without the others"
        yield Finding("shuffled-answers", WARNS, "train", what, why, mend)
    return f"{len(sample):,} rows"


def answers_fit(questions: list[str], answers: list[str]) -> float:
    """By how many standard deviations pairs fit better than pairs that are dealt anew.

    The better of two measures: words that a question and its answer share; and whether
    alike questions have alike answers. Infinite where all answers are the same, or all
    questions: what decides may be in the system's message.
    """
    asked, said = _vectors(questions), _vectors(answers)
    shared, alike, same = asked @ said.T, asked @ asked.T, said @ said.T
    for square in (alike, same):
        np.fill_diagonal(square, 0.0)
    if np.ptp(same[~np.eye(len(same), dtype=bool)]) < 1e-6 or not asked.any():
        return float("inf")
    deal, rows = np.random.default_rng(0), np.arange(len(said))
    orders = [rows] + [deal.permutation(len(said)) for _ in range(DEALS)]
    scores = [
        (shared[rows, order].sum(), (alike * same[np.ix_(order, order)]).sum())
        for order in orders
    ]
    own, others = np.array(scores[0]), np.array(scores[1:])
    return float(((own - others.mean(0)) / (others.std(0) + 1e-9)).max())


def _vectors(texts: list[str]) -> np.ndarray:
    """(texts, WIDTH): the words of each, by hash, rare ones heavier; of length 1."""
    found = np.zeros((len(texts), WIDTH), dtype=np.float32)
    for number, text in enumerate(texts):
        for word in set(WORD.findall(text.lower())):
            place = crc32(word.encode("utf-8", "surrogatepass")) % WIDTH
            found[number, place] = 1.0
    found *= np.log(len(texts) / np.maximum(found.sum(0), 1.0))
    return found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-9)
