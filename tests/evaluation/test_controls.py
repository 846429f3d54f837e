"""Answers dealt out to other messages: nothing is left to learn but the format."""

import json
import random
from collections import Counter

import pytest

from helpers.evaluation import deal_answers
from helpers.formatting import load_splits


@pytest.fixture(scope="module")
def train():
    return load_splits("data/tickets")["train"]


def answers(rows, *fields):
    found = [json.loads(each[-1]["content"]) for each in rows["completion"]]
    return [tuple(answer[field] for field in fields) for answer in found]


def agreement(one, other):
    """How far pairs are from independence: 0 where every value meets all alike."""
    count, pairs = len(one), Counter(zip(one, other, strict=True))
    ones, others = Counter(one), Counter(other)
    wanted = {(a, b): ones[a] * others[b] / count for a in ones for b in others}
    return sum((pairs[p] - n) ** 2 / n for p, n in wanted.items()) / count


def test_every_message_stays_and_every_answer_is_dealt_once(train):
    dealt = deal_answers(train, "priority", "queue")
    assert dealt["prompt"] == train["prompt"]
    keys = ("queue", "priority", "order", "item", "from")
    assert Counter(answers(dealt, *keys)) == Counter(answers(train, *keys))
    pairs = zip(answers(dealt, *keys), answers(train, *keys), strict=True)
    assert sum(one == other for one, other in pairs) < len(train) / 100


@pytest.mark.parametrize("count", [160, 320, 400, 640, 1280])  # those of lesson 03
@pytest.mark.parametrize("field", ["queue", "priority"])
def test_codes_go_together_less_than_after_shuffling(train, field, count):
    rows = train.select(range(count))
    true = answers(rows, field)
    dealt = agreement(true, answers(deal_answers(rows, "priority", "queue"), field))
    drawn = []
    for seed in range(20):
        order = random.Random(seed).sample(range(count), count)
        drawn.append(agreement(true, [true[row] for row in order]))
    assert dealt < sum(drawn) / len(drawn) / 2
    assert agreement(true, true) > 1  # nothing is dealt


@pytest.mark.parametrize("count", [1, 2, 3, 10])
def test_few_rows_are_dealt_too(train, count):
    rows = train.select(range(count))
    dealt = deal_answers(rows, "queue")
    assert sorted(answers(dealt, "from")) == sorted(answers(rows, "from"))
