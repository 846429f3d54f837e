"""Tool calls, thinking, parts, several answers: kept, or refused with the reason."""

import csv
import datetime
import json

import pyarrow as pa
import pytest
from datasets import Dataset
from pyarrow import parquet

from helpers.formatting.chats import read_chat, to_messages
from helpers.formatting.examples import (
    find_repeats,
    read_examples,
)
from helpers.formatting.lines import DataError
from helpers.formatting.naming import parse_map
from helpers.formatting.splits import load_splits

USER = {"role": "user", "content": "Which shelf holds part 7?"}
CALL = {"name": "shelf", "arguments": {"part": 7}}
RESULT = {"role": "tool", "tool_call_id": "c1", "content": "S1"}
ANSWER = {"role": "assistant", "content": "Shelf S1"}
TOOL = {"name": "shelf", "parameters": {"type": "object", "properties": {}}}


def calling(**call):
    return {"role": "assistant", "content": None, "tool_calls": [call]}


@pytest.mark.parametrize(
    "turn",
    [
        calling(id="c1", type="function", function=CALL),
        calling(function=CALL | {"arguments": '{"part": 7}'}),
        calling(**CALL),
        {"role": "assistant", "content": "", "function_call": CALL},
    ],
)
def test_calls_of_any_writing_have_one_form(turn):
    chat = read_chat({"messages": [USER, turn, RESULT, ANSWER], "tools": [TOOL]})
    (call,) = chat.messages[1]["tool_calls"]
    assert call["function"] == CALL and chat.messages[1]["content"] == ""
    assert chat.messages[2] == RESULT and chat.answers == [1, 3]
    assert chat.tools == [{"type": "function", "function": TOOL}]
    as_text = {"messages": [USER, turn, RESULT, ANSWER], "tools": json.dumps([TOOL])}
    assert read_chat(as_text).tools == chat.tools


def test_share_gpt_with_tools_is_the_same_chat():
    turns = [
        {"from": "human", "value": USER["content"]},
        {"from": "function_call", "value": json.dumps(CALL)},
        {"from": "observation", "value": "S1"},
        {"from": "gpt", "value": "Shelf S1"},
    ]
    chat = read_chat({"conversations": turns, "tools": json.dumps([TOOL])})
    assert [m["role"] for m in chat.messages] == [
        "user",
        "assistant",
        "tool",
        "assistant",
    ]
    assert chat.messages[1]["tool_calls"][0]["function"] == CALL
    assert chat.tools[0]["function"] == TOOL


def test_calls_that_stand_in_a_text_are_calls():
    """As in Hermes's data; what is no JSON stays a text, and its answer is refused."""
    call = f"Let me see.<tool_call>\n{json.dumps(CALL)}\n</tool_call>"
    turns = [
        {"from": "human", "value": USER["content"]},
        {"from": "gpt", "value": call},
        {"from": "tool", "value": "<tool_response>\nS1\n</tool_response>"},
        {"from": "gpt", "value": "Shelf S1"},
    ]
    chat = read_chat({"conversations": turns}).messages
    assert chat[1]["content"] == "Let me see." and chat[2]["content"] == "S1"
    assert chat[1]["tool_calls"][0]["function"] == CALL
    turns[1]["value"] = call.replace('"', "'")
    with pytest.raises(
        DataError, match="message 3 is from 'tool', expected a tool call"
    ):
        read_chat({"conversations": turns})


@pytest.mark.parametrize("field", ["reasoning_content", "thinking", "reasoning"])
def test_thinking_is_kept_for_templates_of_either_name(field):
    (_, answer) = to_messages({"messages": [USER, ANSWER | {field: "It is on top."}]})
    assert answer["reasoning_content"] == answer["thinking"] == "It is on top."


def test_parts_of_text_are_one_text_and_others_are_refused():
    parts = [{"type": "text", "text": "Which "}, {"type": "text", "text": "one?"}]
    chat = to_messages({"messages": [{"role": "user", "content": parts}, ANSWER]})
    assert chat[0]["content"] == "Which one?"
    parts.append({"type": "image_url", "image_url": {"url": "x"}})
    with pytest.raises(
        DataError, match="message 1 has a part image_url, expected parts"
    ):
        to_messages({"messages": [{"role": "user", "content": parts}, ANSWER]})


def test_turns_of_one_role_in_a_row_are_joined_and_counted():
    more = {"role": "user", "content": "Quick, please."}
    chat = read_chat({"messages": [USER, more, ANSWER, ANSWER]})
    assert [m["role"] for m in chat.messages] == ["user", "assistant"]
    assert chat.messages[0]["content"] == "Which shelf holds part 7?\n\nQuick, please."
    assert (chat.joined, chat.answers) == (2, [1])
    called = read_chat({"messages": [USER, calling(**CALL), ANSWER]})
    assert (called.joined, called.answers) == (0, [1, 2])


def test_an_answer_that_is_marked_is_only_read():
    turns = [USER, ANSWER | {"weight": 0}, USER, ANSWER | {"weight": 1}]
    chat = read_chat({"messages": turns})
    assert (chat.answers, chat.marked) == ([3], 1)
    assert "weight" not in chat.messages[1]
    for mark in ({"weight": 0}, {"train": False}):
        with pytest.raises(DataError, match="every answer is marked not to be learnt"):
            to_messages({"messages": [USER, ANSWER | mark]})
    with pytest.raises(DataError, match="'weight' is 0.5, expected 0"):
        to_messages({"messages": [USER, ANSWER | {"weight": 0.5}]})


def test_a_system_text_beside_messages_is_kept():
    given = {"messages": [USER, ANSWER], "system": "Be brief."}
    first, *rest = to_messages(given)
    assert first == {"role": "system", "content": "Be brief."}
    assert rest == [USER, ANSWER] and read_chat(given).answers == [2]
    given["messages"] = [first, USER, ANSWER]
    with pytest.raises(DataError, match="message 2 is from 'system', expected one"):
        to_messages(given)


def test_a_null_that_json_holds_is_kept_and_one_of_arrow_is_not(tmp_path):
    """Arrow gives every object the fields of the others; JSON holds what was meant."""
    of = {"site": None, "n": 1}
    tool = {"name": "f", "parameters": {"properties": {"n": {"default": None}}}}
    rows = [
        {"messages": [USER | {"content": text}, calling(name="f", arguments=wanted)]}
        for text, wanted in {"object": of, "text": json.dumps(of), "other": {}}.items()
    ]
    rows = [row | {"tools": [tool]} for row in rows]
    path = write(tmp_path / "a.jsonl", rows)
    for row in (row for part in load_splits(path).values() for row in part):
        kind, called = row["prompt"][0]["content"], row["completion"][0]["tool_calls"]
        wanted = {} if kind == "other" else of
        assert called[0]["function"]["arguments"] == wanted
        assert row["tools"][0]["function"] == tool
    table = [rows[0], rows[0] | {"tools": [TOOL]}]
    table[1]["messages"] = [USER, calling(name="f", arguments={"other": 2})]
    parquet.write_table(pa.Table.from_pylist(table), tmp_path / "a.parquet")
    Dataset(pa.Table.from_pylist(table)).save_to_disk(tmp_path / "saved")
    for path in (tmp_path / "a.parquet", tmp_path / "saved"):
        first, second = map(read_chat, read_examples(path))
        found = [c.messages[1]["tool_calls"][0]["function"] for c in (first, second)]
        assert [call["arguments"] for call in found] == [{"n": 1}, {"other": 2}]
        assert first.tools[0]["function"]["parameters"] == {"properties": {"n": {}}}
    text = [{"messages": rows[1]["messages"]}]
    parquet.write_table(pa.Table.from_pylist(text), tmp_path / "a.parquet")
    (row,) = read_examples(tmp_path / "a.parquet")
    (call,) = read_chat(row).messages[1]["tool_calls"]
    assert call["function"]["arguments"] == of


def test_tags_in_a_text_lose_no_words_and_glue_none():
    call = f"<tool_call>{json.dumps(CALL)}</tool_call>"
    answers = "<tool_response>a</tool_response>\n<tool_response> b\n</tool_response>"
    turns = [
        {"from": "human", "value": USER["content"]},
        {"from": "gpt", "value": f"before{call}{call}after"},
        {"from": "tool", "value": answers},
        {"from": "gpt", "value": "Shelf S1"},
    ]
    chat = read_chat({"conversations": turns}).messages
    assert chat[1]["content"] == "before\nafter" and len(chat[1]["tool_calls"]) == 2
    assert chat[2]["content"] == "a\nb"
    turns[2]["value"] = answers.replace("\n<", " and <")
    assert read_chat({"conversations": turns}).messages[2] == {
        "role": "tool",
        "content": turns[2]["value"],
    }


@pytest.mark.parametrize(
    "fields, what",
    [
        (calling(**CALL) | {"function_call": CALL | {"name": "other"}}, "tool_calls"),
        ({"thinking": "x", "reasoning_content": "y"}, "reasoning_content"),
        ({"thinking": "x", "reasoning": "y"}, "thinking"),
    ],
)
def test_of_two_fields_of_one_meaning_none_is_dropped(fields, what):
    names = [name for name in fields if name not in ("role", "content")]
    with pytest.raises(DataError) as error:
        to_messages({"messages": [USER, ANSWER | fields]})
    assert f"message 2 has {what!r} and " in str(error.value)
    assert "expected one of them" in str(error.value)
    for name in names:  # either alone, and both where they say the same
        to_messages({"messages": [USER, ANSWER | {name: fields[name]}]})
    both = calling(id="c1", function=CALL) | {"function_call": CALL}
    both |= {"thinking": "x", "reasoning": "x"}
    (_, answer) = to_messages({"messages": [USER, both]})
    assert answer["thinking"] == "x" and len(answer["tool_calls"]) == 1


@pytest.mark.parametrize(
    "fields, what",
    [
        ({"input": "Order 7"}, "'input' is \"Order 7\", expected it within 'prompt'"),
        ({"label": False}, "'label' is false, expected a good answer"),
        ({"label": 0}, "'label' is 0, expected a good answer"),
        ({"label": "False"}, "'label' is \"False\", expected a good answer"),
    ],
)
def test_a_column_that_changes_what_is_learnt_is_refused(fields, what):
    pair = {"prompt": "a", "completion": "b"}
    with pytest.raises(DataError) as error:
        to_messages(pair | fields)
    assert what in str(error.value)
    assert to_messages(pair | {"input": "", "label": True}) == to_messages(pair)


@pytest.mark.parametrize(
    "turns, what",
    [
        ([USER, RESULT, ANSWER], "message 2 is from 'tool', expected a tool call"),
        ([USER, calling(name="f", arguments="{")], "calls 'f' with"),
        ([USER, calling(arguments={})], "expected a function's name"),
        ([USER | {"thinking": "x"}, ANSWER], "message 1 (user) thinks"),
        ([USER, ANSWER | {"thinking": ["x"]}], 'the thinking is ["x"], expected'),
    ],
)
def test_a_chat_that_makes_no_sense_is_refused(turns, what):
    with pytest.raises(DataError) as error:
        to_messages({"messages": turns})
    assert what in str(error.value)


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_each_answer_is_a_row_and_rows_of_a_chat_stay_together(tmp_path):
    chats = [
        {"messages": [USER | {"content": f"Hi {i}"}, ANSWER, USER, ANSWER]}
        for i in range(10)
    ]
    said = []
    path = write(tmp_path / "a.jsonl", chats)
    splits = load_splits(path, lines=True, say=said.append)
    assert [len(splits[s]) for s in ("train", "validation", "test")] == [16, 2, 2]
    assert said == [f"{path}: 10 chats have several answers, each of them a row"]
    for rows in splits.values():
        for one, two in zip(rows["line"][::2], rows["line"][1::2], strict=True):
            assert one == two
    first, second = splits["test"]
    assert second["prompt"] == first["prompt"] + first["completion"] + [USER]


def test_calls_and_tools_come_through_arrow_as_they_were(tmp_path):
    """Arrow gives every object the fields of all others, filled with None."""
    rows = [
        {
            "messages": [
                USER | {"content": f"{name}?"},
                calling(name=name, arguments=of),
            ],
            "tools": [{"name": name, "parameters": {"properties": of}}],
        }
        for name, of in (("a", {"x": 1}), ("b", {"y": [None]}), ("c", {}))
    ]
    splits = load_splits(write(tmp_path / "a.jsonl", rows))
    for row in (row for part in splits.values() for row in part):
        function = row["completion"][0]["tool_calls"][0]["function"]
        wanted = {"a": {"x": 1}, "b": {"y": [None]}, "c": {}}[function["name"]]
        assert function["arguments"] == wanted
        assert read_chat(row).messages == row["prompt"] + row["completion"]
        assert read_chat(row).tools == row["tools"]


NOT_JSON = "message 2: the call of 'f' holds what JSON cannot"


@pytest.mark.parametrize(
    "value, what",
    [
        (float("inf"), f"{NOT_JSON} (Out of range float values"),
        (datetime.date(2026, 11, 30), f"{NOT_JSON} (Object of type date"),
        ("\ud800", r"message 2: the call of 'f' holds half a character (\ud800)"),
    ],
)
def test_a_call_that_arrow_cannot_keep_is_refused(value, what):
    with pytest.raises(DataError) as error:
        to_messages({"messages": [USER, calling(name="f", arguments={"x": value})]})
    assert what in str(error.value) and ", expected text" in str(error.value)
    with pytest.raises(DataError, match="'tools' holds .*, expected text"):
        read_chat({"messages": [USER, ANSWER], "tools": [{"name": "f", "x": value}]})
    turns = [USER, calling(**CALL), RESULT | {"name": value}, ANSWER]
    with pytest.raises(DataError, match=r"message 3 \(tool\) holds"):
        to_messages({"messages": turns})


def test_what_a_message_holds_beyond_a_chat_is_said(tmp_path):
    rows = [
        {"messages": [USER | {"content": f"{i}", "name": "Ann"}, ANSWER | {"score": 1}]}
        for i in range(12)
    ]
    rows[0]["messages"][0]["note"] = ""
    path, said = write(tmp_path / "a.jsonl", rows), []
    load_splits(path, say=said.append)
    names = '"messages.name", "messages.score"'
    assert said[0] == f"{path}: 2 columns are not read: {names}"
    turns = [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b", "id": 7}]
    assert read_chat({"conversations": turns}).unused == ["messages.id"]


@pytest.mark.parametrize("mark", [{"weight": 0}, {"train": False}, {"loss": False}])
def test_every_mark_of_an_answer_counts(mark):
    chat = read_chat({"messages": [USER, ANSWER | mark, USER, ANSWER]})
    assert (chat.answers, chat.marked, chat.unused) == ([3], 1, [])


def test_marks_of_parts_of_an_answer_are_refused():
    """axolotl trains the parts that they name."""
    parts = [{"begin_offset": 0, "end_offset": 4, "train": True}]
    with pytest.raises(DataError, match="'train_detail' is .*expected none"):
        read_chat({"messages": [USER, ANSWER | {"train_detail": parts}]})


def test_a_list_of_messages_as_python_prints_it_is_refused():
    """What pandas writes into a CSV file; as a text it would be learnt by heart."""
    with pytest.raises(DataError, match="as Python prints it, expected JSON"):
        read_chat({"prompt": str([USER]), "completion": str([ANSWER])})
    plain = {"prompt": "a", "completion": "[{'shelf': 'S1'}]"}
    assert read_chat(plain).messages[-1]["content"] == "[{'shelf': 'S1'}]"


def test_ids_of_calls_make_no_other_prompt(tmp_path):
    """Services draw them anew for every chat."""
    rows = []
    for name in ("c1", "c2", "c3"):
        called = calling(id=name, type="function", function=CALL)
        rows += [{"messages": [USER, called, RESULT | {"tool_call_id": name}, ANSWER]}]
    path = write(tmp_path / "a.jsonl", rows)
    assert find_repeats(path) == [(1, 2), (1, 3)]
    called = [{"messages": row["messages"][:2]} for row in rows]
    assert find_repeats(write(path, called)) == [(1, 2), (1, 3)]
    said = []
    with pytest.raises(DataError, match="only 1 different"):
        load_splits(path, say=said.append)
    twice = "2 prompts stand there before, with the same answer"
    assert said == [f"{path}: {twice}: {path}:2 as {path}:1"]
    rows[2]["messages"][1] = calling(function=CALL | {"arguments": {"part": 8}})
    assert find_repeats(write(path, rows)) == [(1, 2)]
    for split, row in zip(("train", "validation", "test"), rows, strict=True):
        write(tmp_path / f"{split}.jsonl", [row])
    path.unlink()
    with pytest.raises(DataError, match="validation prompt is also a training prompt"):
        load_splits(tmp_path, say=[].append)


def test_messages_in_a_cell_of_prompt_and_completion(tmp_path):
    """A table holds them as JSON; JSON of another kind is a text, as in the tickets."""
    system = {"role": "system", "content": "Be brief."}
    asked, said = json.dumps([system, USER]), json.dumps([ANSWER])
    given = {"prompt": [system, USER], "completion": [ANSWER]}
    listed = {"prompt": [json.dumps(system), json.dumps(USER)], "completion": said}
    path = tmp_path / "a.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("prompt", "completion"), (asked, said)])
    for example in (*read_examples(path), given, listed):
        assert to_messages(example) == [system, USER, ANSWER]
    others = ([], [1], [{"role": "engineer"}], [ANSWER, {"role": "x"}], ANSWER, {})
    for text in (*map(json.dumps, others), "{", " [/INST]", '{"queue": "QWZ"}'):
        first, answer = to_messages({"prompt": text, "completion": text})
        assert first["content"] == answer["content"] == text


def test_tools_in_a_column_of_json():
    texts = [json.dumps(TOOL), json.dumps({"type": "function", "function": TOOL})]
    tools = read_chat({"messages": [USER, ANSWER], "tools": texts}).tools
    assert tools == [{"type": "function", "function": TOOL}] * 2
    with pytest.raises(DataError, match="'tools' is .*, expected a list of functions"):
        read_chat({"messages": [USER, ANSWER], "tools": ["shelf"]})


def test_columns_that_are_not_read_are_said_once(tmp_path):
    rows = [
        {"prompt": f"{i}", "completion": "x", "rejected": "y", "context": "", "id": 0}
        | {"weight": 0.5, "customer": i, "functions": [], "label": True}
        for i in range(3)
    ]
    path, said = write(tmp_path / "a.jsonl", rows), []
    load_splits(path, group="customer", say=said.append)
    what = '"rejected", "id", "weight", "label"'
    assert said == [f"{path}: 4 columns are not read: {what}"]
    names, said = {"prompt": "prompt", "completion": "completion"}, []
    load_splits(path, columns=names, say=said.append)  # which was asked for
    assert said == []
    rows = [row | {"system": "Be kind.", "images": ["a.png"]} for row in rows]
    path = write(tmp_path / "b.jsonl", rows)
    load_splits(path, columns=names, say=said.append)  # which hardly was
    assert said == [f'{path}: 2 columns are not read: "system", "images"']
    names, said = {**names, "system": "system"}, []
    load_splits(path, columns=names, say=said.append)
    assert said == [f'{path}: 1 columns are not read: "images"']


def test_turns_joined_and_answers_marked_are_summed_and_said(tmp_path):
    turns = [USER, ANSWER | {"weight": 0}, USER, ANSWER]
    rows = [{"messages": [USER | {"content": f"{i}"}, *turns]} for i in range(3)]
    path, said = write(tmp_path / "a.jsonl", rows), []
    load_splits(path, say=said.append)
    joined = "turns follow one of the same role, joined with a blank line"
    marked = "answers are marked not to be learnt, and only read"
    assert said == [f"{path}: 3 {joined}", f"{path}: 3 {marked}"]


def test_what_stands_twice_is_said(tmp_path):
    prompts = ["a", "b", "c", "a", "b", *"defgh"]
    rows = [{"prompt": p, "completion": "x"} for p in prompts]
    rows[4]["completion"] = "y"
    path, said = write(tmp_path / "a.jsonl", rows), []
    load_splits(path, say=said.append)
    other, same = said
    assert other.endswith(f"with another answer: {path}:5 as {path}:2")
    assert same.endswith(f"with the same answer: {path}:4 as {path}:1")


def test_a_group_stays_in_one_split(tmp_path):
    rows = [
        {"prompt": f"p{i}", "completion": "x", "customer": i % 10} for i in range(100)
    ]
    path = write(tmp_path / "a.jsonl", rows)
    splits = load_splits(path, group="customer")
    groups = {
        name: {int(row["prompt"][0]["content"][1:]) % 10 for row in part}
        for name, part in splits.items()
    }
    assert [len(splits[s]) for s in ("train", "validation", "test")] == [80, 10, 10]
    assert sum(map(len, groups.values())) == 10  # none in two
    loose = load_splits(path)["test"]
    assert len({int(row["prompt"][0]["content"][1:]) % 10 for row in loose}) > 1
    with pytest.raises(DataError, match=r"a\.jsonl:1: no 'form' to group by"):
        load_splits(path, group="form")


def test_a_group_and_a_prompt_tie_rows_together(tmp_path):
    """1 and 2 share a customer, 2 and 3 a prompt: all three belong together."""
    rows = [("a", 1), ("b", 1), ("b", 2), ("c", 3), ("d", 4)]
    rows = [{"prompt": p, "completion": "x", "customer": c} for p, c in rows]
    splits = load_splits(
        write(tmp_path / "a.jsonl", rows), group="customer", lines=True
    )
    assert sorted(map(len, splits.values())) == [1, 1, 3]


def test_a_group_in_two_given_splits_is_a_leak(tmp_path):
    for number, split in enumerate(("train", "validation", "test")):
        row = {"prompt": split, "completion": "x", "customer": number % 2}
        write(tmp_path / f"{split}.jsonl", [row])
    with pytest.raises(DataError) as error:
        load_splits(tmp_path, group="customer")
    what = "this test 'customer' is also a training 'customer'"
    assert f"{tmp_path / 'test.jsonl'}:1: {what}" in str(error.value)
    assert "group" not in load_splits(tmp_path)["test"].column_names
    splits = load_splits(tmp_path, group="customer", lines=True, apart=False)
    assert [rows["group"][0] for rows in splits.values()] == ["0", "1", "0"]


def test_columns_of_other_names(tmp_path):
    names = parse_map("Question = prompt, Answer=completion")
    assert names == {"Question": "prompt", "Answer": "completion"}
    rows = [{"Question": f"{i}", "Answer": "x", "messages": "y"} for i in range(3)]
    path = write(tmp_path / "a.jsonl", rows)
    splits = load_splits(path, columns=names)
    assert splits["train"][0]["completion"][0]["content"] == "x"
    with pytest.raises(DataError, match=r"a\.jsonl:1: the fields are .*expected 'Q'"):
        load_splits(path, columns={"Q": "prompt", "Answer": "completion"})
    names = parse_map("Question, in full=prompt, Answer=completion")
    assert names == {"Question, in full": "prompt", "Answer": "completion"}
    for bad in ("prompt", "a=b", "=prompt", "a=prompt,b=prompt", "a=prompt,b"):
        with pytest.raises(DataError, match="--map names"):
            parse_map(bad)


def test_what_is_made_of_rows_is_found_again(tmp_path):
    rows = [{"prompt": f"{i}", "completion": "x"} for i in range(9)]
    train = load_splits(write(tmp_path / "a.jsonl", rows))["train"]
    called = tmp_path / "called"

    def note(row, path):
        with open(path, "a") as file:
            return {"length": file.write("a call\n")}

    told = {"fn_kwargs": {"path": str(called)}}
    first, again = (train.map(note, **told).to_list() for _ in range(2))
    assert first == again and len(first) == len(called.read_text().splitlines())
