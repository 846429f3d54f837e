"""Is the model better? Exact match and field accuracy, with intervals.

An answer of the course is a JSON object and is scored field by field too; any other
text is scored by exact match alone, or by a scorer of your own:

    def rubric(expected: str, answer: str) -> dict[str, bool]:
        return {"polite": "Dear" in answer, "short": len(answer.split()) <= 60}

It may also return one number. Numbers go from 0, wrong, to 1, right.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from numbers import Real
from unicodedata import normalize

import numpy as np
import pandas as pd

from helpers.evaluation.generation import generate_with_stops
from helpers.evaluation.intervals import bootstrap_interval
from helpers.evaluation.json_answer import json_object, same_value
from helpers.formatting import IGNORED, encode, read_chat

# Names of other figures: a scorer cannot give them, a field has another (`field_name`).
OWN = ("exact_match", "valid_json", "stopped", "validation_loss", "intervals")


@dataclass
class Report:
    """What `score` and `evaluate` found. Shares are 0 to 1.

    exact_match, valid_json, stopped: share of the n answers that are the expected text,
        are a JSON object, were ended by the model (None where that is not known).
        With a scorer valid_json is None too.
    field_accuracy: {field: share}, over the fields of the expected JSON objects, each
        of the rows that have it, or over what a scorer names; "score" where it returns
        one number.
    intervals: {metric or field: (low, high)}, 95 %, by bootstrap.
    rows: a dict a row: prompt, expected, answer, exact_match, valid_json, stopped,
        fields ({field: hit, or what the scorer gave}).
    seconds: what generating took.
    """

    n: int
    exact_match: float
    valid_json: float | None
    stopped: float | None
    field_accuracy: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    rows: list[dict] = field(repr=False)
    seconds: float = 0.0
    scorer: Callable | None = field(default=None, repr=False)

    def metrics(self) -> dict[str, float]:
        """Every share by name: exact_match, the fields, valid_json, stopped."""
        shares = {"exact_match": self.exact_match, **self.field_accuracy}
        shares |= {"valid_json": self.valid_json, "stopped": self.stopped}
        return {name: share for name, share in shares.items() if share is not None}

    def table(self) -> pd.DataFrame:
        """One row a metric; columns share, low, high."""
        table = pd.DataFrame.from_dict(self.intervals, "index", columns=["low", "high"])
        shares = pd.Series(self.metrics(), name="share")
        return shares.to_frame().join(table).rename_axis("metric")

    def first(self, n: int) -> "Report":
        """The Report of the first n rows."""
        keys = ("expected", "answer", "prompt", "stopped")
        columns = [[row[key] for row in self.rows[:n]] for key in keys]
        stopped = None if self.stopped is None else columns[3]
        return score(*columns[:3], stopped=stopped, scorer=self.scorer)


def score(
    expected: list[str],
    answers: list[str],
    prompts=None,
    stopped=None,
    seconds=0.0,
    scorer: Callable | None = None,
) -> Report:
    """The Report of answers against the expected ones.

    Exact match: the same text, white space at its ends aside. Field accuracy: the same
    key with the same JSON value; what is not a JSON object has no field right.
    scorer: scorer(expected, answer) takes the place of the fields. What it names for
        some rows counts as wrong for the others.
    Raises ValueError for lists that are empty or differ in length, and for what a
    scorer may not return.
    """
    count = len(expected)
    if not count or count != len(answers):
        rule = "requires as many answers as expected ones, 1 or more"
        raise ValueError(f"{rule}: got {len(answers)} answers, {count} expected")
    columns = (prompts or [None] * count, expected, answers, stopped or [None] * count)
    rows = [_score_row(*row, scorer) for row in zip(*columns, strict=True)]
    fields = dict.fromkeys(name for row in rows for name in row["fields"])
    hits = {"exact_match": [row["exact_match"] for row in rows]}
    hits |= {name: marks(rows, name, scorer) for name in fields}
    if scorer is None:
        hits["valid_json"] = [row["valid_json"] for row in rows]
    shares = {name: float(np.mean(values)) for name, values in hits.items()}
    return Report(
        n=count,
        exact_match=shares["exact_match"],
        valid_json=None if scorer else shares["valid_json"],
        stopped=float(np.mean(stopped)) if stopped else None,
        field_accuracy={name: shares[name] for name in fields},
        intervals={name: bootstrap_interval(values) for name, values in hits.items()},
        rows=rows,
        seconds=seconds,
        scorer=scorer,
    )


def marks(rows: list[dict], field: str, scorer: Callable | None) -> list[float]:
    """What the rows of a Report got at a field, those whose expected JSON has it.

    Under a scorer all rows: what it does not name is wrong.
    """
    found = [row["fields"] for row in rows]
    return [row.get(field, False) for row in found if scorer or field in row]


def evaluate(
    model,
    tokenizer,
    examples,
    max_new_tokens: int = 80,
    scorer: Callable | None = None,
    **options,
) -> Report:
    """Lets the model answer every example, greedily, and scores the answers.

    examples: what `formatting.to_messages` takes, or a split of `load_splits`.
    scorer: as in `score`. options: of `generate_with_stops`.
    """
    chats = [read_chat(example) for example in examples]
    prompts = [chat.messages[:-1] for chat in chats]
    if any(chat.tools for chat in chats):
        options["tools"] = [chat.tools for chat in chats]
    start = time.perf_counter()
    pairs = generate_with_stops(model, tokenizer, prompts, max_new_tokens, **options)
    seconds = time.perf_counter() - start
    answers, stopped = [answer for answer, _ in pairs], [stop for _, stop in pairs]
    expected = [_expected(tokenizer, chat) for chat in chats]
    for place, chat in enumerate(chats):
        if "reasoning_content" in chat.messages[-1]:  # thoughts are free
            answers[place] = answers[place].rpartition("</think>")[2]
    return score(expected, answers, prompts, stopped, seconds, scorer)


def before_after(**reports: Report) -> pd.DataFrame:
    """One row a metric, one column a report: before_after(base=..., tuned=...)."""
    return pd.DataFrame({name: report.metrics() for name, report in reports.items()})


def _expected(tokenizer, chat) -> str:
    """The text of a chat's answer: what it says, or its tool calls as written."""
    answer = chat.messages[-1]
    if "tool_calls" not in answer:
        return _as_read(tokenizer, answer["content"])
    row = {"prompt": chat.messages[:-1], "completion": [answer], "tools": chat.tools}
    ids, labels = encode(tokenizer, row)
    text = tokenizer.decode(ids[labels.count(IGNORED) :], skip_special_tokens=True)
    return text.rpartition("</think>")[2]


def _as_read(tokenizer, text: str) -> str:
    """A text in the Unicode form in which a tokenizer writes it, such as Qwen's NFC."""
    if text.isascii():
        return text
    ids = tokenizer.encode(text, add_special_tokens=False)
    read = tokenizer.decode(ids, skip_special_tokens=True)
    one, other = (normalize("NFC", form.strip()) for form in (read, text))
    return read if one == other else text


def field_name(name: str) -> str:
    """What the share of a field is called, apart from figures of that name."""
    return f"field {name}" if name in OWN else name


def _score_row(
    prompt, expected: str, answer: str, stopped: bool | None, scorer: Callable | None
) -> dict:
    """One row of a Report."""
    wanted, got = json_object(expected) or {}, json_object(answer)
    hits = {name: same_value(got or {}, name, wanted[name]) for name in wanted}
    fields = {field_name(name): hit for name, hit in hits.items()}
    return {
        "prompt": prompt,
        "expected": expected,
        "answer": answer,
        "exact_match": answer.strip() == expected.strip(),
        "valid_json": None if scorer else got is not None,
        "stopped": stopped,
        "fields": _marks(scorer(expected, answer)) if scorer else fields,
    }


def _marks(given) -> dict[str, float]:
    """What a scorer returned, by name. Raises ValueError."""
    marks = dict(given) if isinstance(given, Mapping) else {"score": given}
    for name, value in marks.items():
        number = isinstance(value, Real | np.bool_) and 0 <= value <= 1
        if name in OWN or not (number and isinstance(name, str)):
            rule = "a scorer must return numbers from 0 to 1, by names of their own"
            raise ValueError(f"{rule}: got {name!r}: {value!r}")
    return marks
