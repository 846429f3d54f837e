"""Answers dealt out to other messages: nothing is left to learn but the format."""

import json
from collections import Counter

import pytest

from helpers.evaluation import deal_answers
from helpers.formatting import load_splits

KEYS = ("queue", "priority", "order", "item", "from")


@pytest.fixture(scope="module")
def train():
    return load_splits("data/tickets")["train"]


def answers(rows, *fields):
    found = [json.loads(each[-1]["content"]) for each in rows["completion"]]
    return [tuple(answer[field] for field in fields) for answer in found]


@pytest.mark.parametrize("count", [160, 320, 400, 1280, 2000])  # those of lesson 03
def test_every_message_stays_and_its_codes_are_those_of_others(train, count):
    rows = train.select(range(count))
    dealt = deal_answers(rows, "priority", "queue")
    assert dealt["prompt"] == rows["prompt"]
    assert Counter(answers(dealt, *KEYS)) == Counter(answers(rows, *KEYS))
    for field in ("priority", "queue"):
        pairs = Counter(zip(answers(rows, field), answers(dealt, field), strict=True))
        values = {one for one, _ in pairs}
        assert all(one != other for one, other in pairs)
        assert len(pairs) > 0.8 * len(values) * (len(values) - 1)  # not one by one


def test_the_same_rows_are_dealt_the_same_way(train):
    rows = train.select(range(40))
    one, other = (deal_answers(rows, "queue") for _ in range(2))
    assert one["completion"] == other["completion"] != rows["completion"]


def test_rows_of_one_code_cannot_be_dealt(train):
    with pytest.raises(ValueError, match="differ in queue: row 0 of 3"):
        deal_answers(train.select([5, 5, 5]), "queue")
