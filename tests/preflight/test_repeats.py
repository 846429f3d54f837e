"""Checks for rows that are there twice, in one split or in two."""

import json
import random
from functools import partial

from helpers.formatting import load_splits
from helpers.preflight import check
from helpers.preflight.repeats import parts
from tests.preflight.made import found, levels, pairs, splits

NAMES = ("leak", "repeats", "conflicting-answers", "near-duplicates", "split-groups")
look = partial(check, only=NAMES)


def test_nothing_is_found_where_no_row_is_twice():
    report = look(splits=splits())
    assert report.findings == [] and report.checked["leak"] == "100 rows"
    assert report.not_run == {"split-groups": ["group"]}


def test_a_prompt_of_two_splits_is_a_leak_whatever_its_answer_and_spaces():
    train, test = pairs(60), pairs(20, 2000)
    test[3] = (f"  {train[8][0]} ".replace(" is ", "  is\n"), "Another.")
    test[5] = train[9]
    report = look(splits=splits(train, test=test))
    one = found(report, "leak")
    assert (one.level, one.where) == ("ruins", "test.jsonl:4")
    assert one.what.startswith("2 prompts of test are in train too: test.jsonl:4 as")
    assert "test.jsonl:6 as train.jsonl:10" in one.what and report.codes == {"leak"}


def test_one_prompt_of_many_in_two_splits_ruins_no_score():
    train, test = pairs(60), pairs(200, 2000)
    for place, level in ((0, "warns"), (1, "warns"), (2, "ruins")):
        test[place] = train[place]
        assert levels(look(splits=splits(train, test=test))) == {"leak": level}


def test_rows_that_say_the_same_twice():
    rows = pairs(60)
    rows += rows[4:6]
    report = look(splits=splits(rows))
    one = found(report, "repeats")
    assert report.codes == {"repeats"} and one.level == "warns"
    assert one.what.startswith(
        "2 rows are there before: train.jsonl:61 as train.jsonl:5"
    )


def test_one_prompt_with_two_answers():
    rows = pairs(60)
    rows.append((rows[4][0], "Nowhere."))
    report = look(splits=splits(rows))
    one = found(report, "conflicting-answers")
    assert report.codes == {"conflicting-answers"} and one.level == "warns"
    assert one.where == "train.jsonl:61" and "as train.jsonl:5" in one.what
    rows = [(q, f"{a} {n}") for q, a in pairs(60) for n in range(4)]  # drawn so
    assert levels(look(splits=splits(rows))) == {"conflicting-answers": "warns"}


def test_ids_of_calls_make_no_other_prompt_and_no_other_answer(tmp_path):
    rows = []
    for name in ("c1", "c2"):
        function = {"name": "shelf", "arguments": {"part": 7}}
        called = {"role": "assistant", "tool_calls": [{"id": name} | function]}
        result = {"role": "tool", "tool_call_id": name, "content": "S1"}
        ask = {"role": "user", "content": "Where is part 7?"}
        said = {"role": "assistant", "content": "In S1."}
        rows.append({"messages": [ask, called, result, said]})
    for split, chats in {"train": rows, "validation": [], "test": rows[:1]}.items():
        own = [{"prompt": f"{split} {n}", "completion": "x"} for n in range(3)]
        lines = [json.dumps(row) + "\n" for row in (*chats, *own)]
        (tmp_path / f"{split}.jsonl").write_text("".join(lines))
    given = load_splits(tmp_path, lines=True, say=[].append, apart=False)
    report = look(splits=given)
    assert report.codes == {"leak", "repeats"}
    assert found(report, "repeats").what.startswith("2 rows are there before")
    assert found(report, "leak").what.startswith("1 prompts of test are in train too")


def sentences(count, seed):
    """Messages of 20 words that are drawn from 400."""
    draw = random.Random(seed)
    return [
        (" ".join(f"w{draw.randrange(400)}" for _ in range(20)), f"{n}")
        for n in range(count)
    ]


def changed(rows):
    """The same messages, the last word another one."""
    return [(f"{q.rpartition(' ')[0]} w{999 - n}", a) for n, (q, a) in enumerate(rows)]


def test_prompts_that_are_nearly_in_train():
    train = sentences(200, 0)
    report = look(splits=splits(train, sentences(40, 1), changed(train[:30])))
    one = found(report, "near-duplicates")
    assert report.codes == {"near-duplicates"} and one.level == "warns"
    assert one.what.startswith("30 of 30 test prompts are nearly in train: ")
    assert "test.jsonl:1 as train.jsonl:1, test.jsonl:2 as train.jsonl:2" in one.what
    looked = report.checked["near-duplicates"]
    assert looked == "40 validation rows and 30 test rows"


def test_a_fixed_instruction_makes_no_near_duplicate():
    ask = "Read the message, and name the product and the order that it is about: " * 3
    given = [[(ask + q, a) for q, a in sentences(n, n)] for n in (200, 30, 31)]
    assert look(splits=splits(*given)).findings == []
    given[2] = changed(given[0][:30])
    assert look(splits=splits(*given)).codes == {"near-duplicates"}


def test_an_instruction_of_the_second_half_makes_no_near_duplicate():
    ask, second = sentences(1, 7)[0][0], " ".join(q for q, _ in sentences(3, 8))
    tail = [" ".join(q.split()[:4]) for q, _ in sentences(3100, 9)]
    rows = [(f"{ask} {q}", q) for q in tail[:1500]]
    rows += [(f"{second} {q}", q) for q in tail[1500:3000]]
    validation = [(f"{second} {q}", q) for q in tail[3000:]]
    assert look(splits=splits(rows, validation)).findings == []


def test_short_texts_and_texts_without_spaces_have_parts_too():
    assert parts("How much?") == {"how m", "ow mu", "w muc", " much"}
    assert "我想退货" in parts("我想退货") and len(parts("我想退货因为灯坏了")) == 5
    assert parts("") == {""}


def test_groups_that_are_in_two_splits():
    one, two = [f"c{n}" for n in range(60)], [f"d{n}" for n in range(20)]
    group = {"train": one, "validation": two, "test": [f"e{n}" for n in range(20)]}
    assert look(splits=splits(group=group), group="customer").findings == []
    group["test"] = ["c7", *group["test"][1:]]
    report = look(splits=splits(group=group), group="customer")
    only = found(report, "split-groups")
    assert only.where == "test.jsonl:1" and only.level == "ruins"
    assert "1 values of 'customer' are in test and train" in only.what
