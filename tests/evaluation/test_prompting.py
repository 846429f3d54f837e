"""Few-shot chats, and retrieval by shared words."""

import pytest

from helpers.evaluation.prompting import (
    copy_nearest,
    nearest,
    with_examples,
    with_nearest,
)
from helpers.formatting import read_chat
from tests.models.tiny_model import chat

SHOTS = [chat("the lamp is broken", "QWZ"), chat("the parcel is late", "JXW")]


def test_examples_come_first_and_the_answer_last():
    made = with_examples(chat("my kettle", "QWZ"), SHOTS, "Answer with a code.")
    roles = [turn["role"] for turn in made["messages"]]
    assert roles == ["user", "assistant"] * 3
    texts = [turn["content"] for turn in made["messages"]]
    assert texts[0] == "Answer with a code.\n\nthe lamp is broken"
    assert texts[1:] == ["QWZ", "the parcel is late", "JXW", "my kettle", "QWZ"]


def test_nothing_added_is_the_example_itself():
    example = chat("my kettle", "QWZ")
    assert with_examples(example) == example
    assert SHOTS[0]["messages"][0]["content"] == "the lamp is broken"


def test_one_system_message_stays_and_so_do_the_tools():
    system = {"role": "system", "content": "Be brief."}
    shots = [{"messages": [system, *shot["messages"]]} for shot in SHOTS]
    example = chat("my kettle", "QWZ")
    own = {"messages": [system | {"content": "Be kind."}, *example["messages"]]}
    tools = [{"type": "function", "function": {"name": "look", "parameters": {}}}]
    made = with_examples(own | {"tools": tools}, shots, "Answer with a code.")
    assert read_chat(made).tools == read_chat(own | {"tools": tools}).tools != []
    texts = [turn["content"] for turn in made["messages"]]
    assert texts[:2] == ["Answer with a code.\n\nBe kind.", "the lamp is broken"]
    roles = [turn["role"] for turn in made["messages"]]
    assert roles == ["system", *["user", "assistant"] * 3]
    assert with_examples(example, shots)["messages"][0]["role"] == "user"


def test_the_nearest_shares_the_rarest_words():
    (one, two), (three, _) = nearest(SHOTS, ["my parcel", "broken is the lamp"], 2)
    assert (one, two) == (SHOTS[0], SHOTS[1])  # the most similar last
    assert three == SHOTS[1]


def test_common_words_count_for_nothing():
    """All share "the" and "is": of two the shorter says as much, the order stays."""
    [[only]] = nearest(SHOTS, ["the is"], 1)
    assert only == SHOTS[0]


def test_case_and_punctuation_do_not_matter():
    [[only]] = nearest(SHOTS, ["LATE!"], 1)
    assert only == SHOTS[1]


@pytest.mark.parametrize("k", [0, 3])
def test_more_examples_than_there_are_is_refused(k):
    with pytest.raises(ValueError, match=f"k from 1 to 2: got {k}"):
        nearest(SHOTS, ["a"], k)


ROWS = [chat("my parcel", "JXW"), chat("broken is the lamp", "a repair")]


def test_each_row_stands_behind_its_own_nearest():
    made = with_nearest(SHOTS, ROWS, 1, "Answer.")
    texts = [[turn["content"] for turn in one["messages"]] for one in made]
    assert texts[0] == ["Answer.\n\nthe parcel is late", "JXW", "my parcel", "JXW"]
    assert texts[1][2:] == ["broken is the lamp", "a repair"]


def calling(question, **arguments):
    """A chat whose answer is a tool call and nothing else."""
    function = {"name": "look", "arguments": arguments}
    calls = [{"type": "function", "function": function}]
    answer = {"role": "assistant", "content": None, "tool_calls": calls}
    return {"messages": [{"role": "user", "content": question}, answer]}


def test_a_copier_is_scored_by_the_calls_it_copies():
    shots = [calling("the lamp is broken", order=1), calling("a parcel", order=2)]
    rows = [calling("my parcel", order=2), calling("broken is the lamp", order=3)]
    assert copy_nearest(shots, rows).exact_match == 0.5
    report = copy_nearest(shots, rows, lambda expected, _: "look" in expected)
    assert report.field_accuracy == {"score": 1}


def test_a_copier_answers_as_the_nearest_does():
    report = copy_nearest(SHOTS, ROWS)
    assert [row["answer"] for row in report.rows] == ["JXW", "QWZ"]
    assert report.exact_match == 0.5
    report = copy_nearest(SHOTS, ROWS, lambda expected, answer: len(answer) == 3)
    assert report.field_accuracy == {"score": 1}
