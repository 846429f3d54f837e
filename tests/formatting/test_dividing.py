"""A file is divided so that train has most, and no split a prompt of another."""

import json
import random
from array import array

import pytest

from helpers.formatting.dividing import take
from helpers.formatting.lines import DataError
from helpers.formatting.splits import load_splits

SPLITS = ("train", "validation", "test")


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def chat(*texts):
    """A chat of these texts, by user and assistant in turn."""
    roles = ("user", "assistant") * len(texts)
    turns = zip(roles, texts, strict=False)
    return {"messages": [{"role": role, "content": text} for role, text in turns]}


def grouped(*sizes):
    """Rows of their own prompts, so many of each group."""
    groups = [group for group, size in enumerate(sizes) for _ in range(size)]
    return [
        {"prompt": f"p{n}", "completion": "x", "form": group}
        for n, group in enumerate(groups)
    ]


def prompts(rows):
    return {json.dumps(row["prompt"]) for row in rows}


@pytest.mark.parametrize(
    "sizes, expected",
    [
        ((90, 5, 5), [90, 5, 5]),
        ((5, 90, 5), [90, 5, 5]),
        ((40, 30, 30), [40, 30, 30]),
        ((2, 1, 1), [2, 1, 1]),
        ((91, 3, 3, 3), [91, 3, 6]),
    ],
)
@pytest.mark.parametrize("seed", range(4))
def test_of_few_groups_train_has_most(tmp_path, sizes, expected, seed):
    path = write(tmp_path / "a.jsonl", grouped(*sizes))
    splits = load_splits(path, group="form", seed=seed)
    assert [len(splits[s]) for s in SPLITS] == expected


def test_two_groups_are_too_few(tmp_path):
    path = write(tmp_path / "a.jsonl", grouped(90, 10))
    with pytest.raises(DataError) as error:
        load_splits(path, group="form")
    what = "only 2 different prompt(s) or 'form' to keep apart, expected 3 or more"
    assert str(error.value) == f"{path}:100: {what}"


def test_train_is_not_empty_where_nearly_all_rows_have_one_prompt(tmp_path):
    rows = [{"prompt": f"p{max(n, 89)}", "completion": f"{n}"} for n in range(100)]
    path = write(tmp_path / "a.jsonl", rows)
    splits = load_splits(path, say=[].append)
    assert [len(splits[s]) for s in SPLITS] == [90, 5, 5]
    path = write(path, rows[:92])  # of three prompts
    splits = load_splits(path, say=[].append)
    assert [len(splits[s]) for s in SPLITS] == [90, 1, 1]
    path = write(path, rows[:91])
    with pytest.raises(DataError) as error:
        load_splits(path, say=[].append)
    what = "only 2 different prompt(s), expected 3 or more"
    assert str(error.value) == f"{path}:91: {what}"


def test_a_long_chat_among_short_ones_is_for_training(tmp_path):
    """What is divided are rows: of three chats one may have most of them."""
    long = chat(*(f"turn {n}" for n in range(40)))
    path = write(tmp_path / "a.jsonl", [long, chat("a", "b"), chat("c", "d")])
    for seed in range(6):
        splits = load_splits(path, seed=seed, say=[].append)
        assert [len(splits[s]) for s in SPLITS] == [20, 1, 1]


def test_no_split_is_ever_empty():
    chance = random.Random(0)
    for _ in range(500):
        sizes = [chance.choice((1, 2, 5, 50)) for _ in range(chance.randint(3, 9))]
        tenth, taken = max(1, sum(sizes) // 10), []
        parts = array("q", range(len(sizes)))
        for share in (2, 1):
            most = (len(parts) - 1) // share
            some, parts = take(parts, [sizes[p] for p in parts], tenth, most)
            taken.append(sum(sizes[p] for p in some))
        train = sum(sizes[p] for p in parts)
        assert min(taken) > 0 and train >= max(taken)
        assert train + sum(taken) == sum(sizes)


def test_chats_that_begin_alike_leave_no_prompt_in_two_splits(tmp_path):
    chats = [chat("Hi", "Hello", f"Where is {n}?", f"There: {n}") for n in range(100)]
    path, said = write(tmp_path / "a.jsonl", chats), []
    splits = load_splits(path, say=said.append)
    assert [len(splits[s]) for s in SPLITS] == [160, 10, 10]
    several, left = said  # and no chat is there before
    assert several == f"{path}: 100 chats have several answers, each of them a row"
    what = "20 rows of validation and test are left out"
    assert left == f"{path}: {what}: an earlier split has their prompt"
    train, validation, test = (prompts(splits[s]) for s in SPLITS)
    assert not train & validation and not train & test and not validation & test
    assert len(load_splits(path, apart=False, say=[].append)["test"]) == 10


def test_a_prompt_of_validation_is_none_of_test(tmp_path):
    """Of ten beginnings some are in both, and not in train."""
    chats = [
        chat(f"Hi {n // 2}", "Hello", f"Where is {n}?", "There") for n in range(20)
    ]
    for seed in range(20):
        path = write(tmp_path / "a.jsonl", chats)
        splits = load_splits(path, seed=seed, say=[].append)
        assert not prompts(splits["validation"]) & prompts(splits["test"])


def test_a_split_of_which_nothing_would_be_left_is_refused(tmp_path):
    """Whichever of the shorter chats is tested: the longest has its prompt too."""
    texts = ["a", "b", "c", "d", "e", "f"]
    path = write(tmp_path / "a.jsonl", [chat(*texts[:n]) for n in (2, 4, 6)])
    for seed in range(6):
        with pytest.raises(DataError, match=r"a\.jsonl:\d: every \w+ prompt is also"):
            load_splits(path, seed=seed, say=[].append)


def test_a_chat_counts_once_among_repeats(tmp_path):
    chats = [chat("Hi", "Hello", f"Where is {n}?", "There") for n in range(10)]
    path, said = write(tmp_path / "a.jsonl", [*chats, chats[3]]), []
    load_splits(path, say=said.append)
    [repeats] = [remark for remark in said if "stand there before" in remark]
    what = "1 prompts stand there before, with the same answer"
    assert repeats == f"{path}: {what}: {path}:11 as {path}:4"


def folder(path, **chats):
    """A folder of splits, each with more chats of its own."""
    for split in SPLITS:
        own = [chat(f"{split} {n}", "x") for n in range(3)]
        write(path / f"{split}.jsonl", [*chats.get(split, []), *own])
    return path


@pytest.mark.parametrize("split", ["validation", "test"])
def test_a_chat_that_begins_one_of_train_is_a_leak(tmp_path, split):
    long, short = chat("a", "b", "c", "d"), chat(" a\n", "other")
    path = folder(tmp_path, **{"train": [long], split: [short]})
    with pytest.raises(DataError) as error:
        load_splits(path, say=[].append)
    assert str(error.value) == (
        f"{path / split}.jsonl:1: this {split} prompt is also a training prompt "
        f"({path / 'train.jsonl'}:1), expected splits that share none: remove one of "
        "the two"
    )
    splits = load_splits(path, apart=False, say=[].append)  # for preflight to name
    assert [len(splits[s]) for s in ("train", split)] == [5, 4]


@pytest.mark.parametrize("first", [chat("a", "b"), chat("a", "b", "e", "f")])
@pytest.mark.parametrize("apart", [True, False])
def test_an_answer_within_a_chat_is_left_out_where_train_has_its_prompt(
    tmp_path, first, apart
):
    path = folder(tmp_path, train=[first], test=[chat("a", "x", "c", "d")])
    said = []
    splits = load_splits(path, say=said.append, apart=apart)
    assert not prompts(splits["train"]) & prompts(splits["test"])
    assert len(splits["test"]) == 4 and splits["test"][0]["completion"][0] == {
        "role": "assistant",
        "content": "d",
    }
    what = "1 rows of validation and test are left out"
    assert said[-1] == f"{path}: {what}: an earlier split has their prompt"


def test_an_answer_that_is_not_learnt_is_no_row_that_could_leak(tmp_path):
    long = chat("a", "b", "c", "d")
    long["messages"][1]["weight"] = 0
    splits = load_splits(
        folder(tmp_path, train=[long], test=[chat("a", "b")]), say=[].append
    )
    assert len(splits["test"]) == 4
    long["messages"][1]["weight"], long["messages"][3]["weight"] = 1, 0
    with pytest.raises(DataError, match="this test prompt is also a training prompt"):
        load_splits(
            folder(tmp_path, train=[long], test=[chat("a", "b")]), say=[].append
        )
