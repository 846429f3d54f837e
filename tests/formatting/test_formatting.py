"""Good files become chats and splits; every bad one is named with its line."""

import json

import pytest

from helpers.files import ROOT
from helpers.formatting.chats import to_messages
from helpers.formatting.examples import read_examples
from helpers.formatting.lines import DataError
from helpers.formatting.splits import load_splits

USER = {"role": "user", "content": "Where is my order?"}
ANSWER = {"role": "assistant", "content": '{"queue": "TRK"}'}
GOOD = {"messages": [USER, ANSWER]}
PAIR = {"prompt": "Where is my order?", "completion": '{"queue": "TRK"}'}


def write(path, examples):
    """A JSON Lines file of objects; str go in as they are."""
    lines = [e if isinstance(e, str) else json.dumps(e) for e in examples]
    path.write_bytes(("\n".join(lines) + "\n").encode())
    return path


def numbered(count, word="question"):
    """That many examples, no two alike."""
    pairs = ((f"{word} {i}", f"answer {i}") for i in range(count))
    return [{"prompt": prompt, "completion": answer} for prompt, answer in pairs]


def test_both_formats_give_the_same_chat():
    listed = {"prompt": [USER], "completion": [ANSWER]}
    assert to_messages(GOOD) == to_messages(PAIR) == to_messages(listed)
    assert to_messages(GOOD) == [USER, ANSWER]


def test_read_examples_returns_the_objects_as_they_stand(tmp_path):
    system = {"messages": [{"role": "system", "content": "Be brief."}, USER, ANSWER]}
    path = write(tmp_path / "a.jsonl", [GOOD, "", PAIR, "   ", system])
    assert read_examples(path) == read_examples(str(path)) == [GOOD, PAIR, system]


def test_a_line_separator_inside_a_text_does_not_end_the_line(tmp_path):
    odd = {"prompt": "one\u2028two\u0085three", "completion": "x"}
    path = write(tmp_path / "a.jsonl", [json.dumps(odd, ensure_ascii=False)])
    assert read_examples(path) == [odd]


def messages(*turns):
    return {"messages": list(turns)}


FIELDS = (
    "expected 'messages', 'conversations', 'prompt' and 'completion', "
    "or 'instruction' and 'output'"
)
# (a line of a file, what the error says of it), beside the samples of data/formats
BAD_LINES = {
    "not JSON": (
        '{"prompt": "a"',
        "not JSON (Expecting ',' delimiter at column 15), "
        "expected one JSON object a line",
    ),
    "a number of 5,000 digits": (
        '{"a": ' + "1" * 5000 + "}",
        "JSON that Python cannot hold, expected one JSON object a line",
    ),
    "100,000 brackets": (
        "[" * 100_000,
        "JSON that Python cannot hold, expected one JSON object a line",
    ),
    "null": ("null", "null is not an object, expected one JSON object a line"),
    "no fields": ("{}", "the fields are none, " + FIELDS),
    "other fields": (
        {"prompt": "a", "output": "b"},
        'the fields are "prompt", "output", '
        + FIELDS
        + ': --map "question=prompt,answer=completion" names other columns',
    ),
    "messages not a list": (
        {"messages": "hello"},
        "'messages' is \"hello\", expected a list of messages",
    ),
    "long value": (
        {"messages": "x" * 100},
        "'messages' is \"" + "x" * 36 + "..., expected a list of messages",
    ),
    "no content": (
        messages(USER, {"role": "assistant"}),
        "message 2 has no 'content', expected 'role' and 'content'",
    ),
    "role not a string": (
        messages({"role": None, "content": "a"}, ANSWER),
        "message 1 has 'role' = null, expected a string",
    ),
    "unknown role": (
        messages({"role": "human", "content": "a"}, ANSWER),
        'message 1 has the role "human", expected system, user, assistant',
    ),
    "empty answer": (
        messages(USER, {"role": "assistant", "content": " \n"}),
        "message 2 (assistant) is empty, expected some text",
    ),
    "no messages": (
        {"messages": []},
        "the last message is missing, expected one from 'assistant'",
    ),
    "no question": (messages(ANSWER), "no message is from 'user', expected a question"),
}


@pytest.mark.parametrize("name", BAD_LINES)
def test_a_bad_line_is_named_by_path_and_number(tmp_path, name):
    line, what = BAD_LINES[name]
    path = write(tmp_path / "bad.jsonl", [GOOD, "", line, GOOD])
    with pytest.raises(DataError) as error:
        read_examples(path)
    assert str(error.value) == f"{path}:3: {what}"
    assert isinstance(error.value, ValueError)


@pytest.mark.parametrize("content", [b"", b"\n \n", b"\xef\xbb\xbf"])
def test_an_empty_file(tmp_path, content):
    path = tmp_path / "empty.jsonl"
    path.write_bytes(content)
    with pytest.raises(DataError) as error:
        read_examples(path)
    what = "no example, expected one JSON object a line, or a header and one row"
    assert str(error.value) == f"{path}:1: {what}"


def test_a_folder_of_splits(tmp_path):
    for split, count in (("train", 5), ("validation", 2), ("test", 3)):
        write(tmp_path / f"{split}.jsonl", numbered(count, split))
    splits = load_splits(tmp_path)
    sizes = {name: len(rows) for name, rows in splits.items()}
    assert sizes == {"train": 5, "validation": 2, "test": 3}
    assert splits["test"].column_names == ["prompt", "completion"]
    assert splits["test"][1] == {
        "prompt": [{"role": "user", "content": "test 1"}],
        "completion": [{"role": "assistant", "content": "answer 1"}],
    }
    (tmp_path / "validation.jsonl").unlink()
    with pytest.raises(DataError, match="no split validation .*there: test, train"):
        load_splits(tmp_path)


def test_only_the_last_message_is_the_completion(tmp_path):
    second = {"role": "user", "content": "And now?"}
    turns = messages(USER, ANSWER, second, ANSWER)
    path = write(tmp_path / "a.jsonl", [turns, *numbered(9)])
    rows = [row for split in load_splits(path).values() for row in split]
    (row,) = (row for row in rows if len(row["prompt"]) > 1)
    assert row == {"prompt": [USER, ANSWER, second], "completion": [ANSWER]}


def test_one_file_is_divided_by_seed(tmp_path):
    path = write(tmp_path / "a.jsonl", numbered(50))
    splits = load_splits(path, seed=1)
    assert [len(splits[s]) for s in ("train", "validation", "test")] == [40, 5, 5]
    questions = [row["prompt"][0]["content"] for s in splits.values() for row in s]
    assert sorted(questions) == sorted(f"question {i}" for i in range(50))
    assert splits["test"][:] == load_splits(path, seed=1)["test"][:]
    assert splits["test"][:] != load_splits(path, seed=2)["test"][:]


def test_too_few_examples_to_divide(tmp_path):
    path = write(tmp_path / "a.jsonl", numbered(2))
    with pytest.raises(
        DataError, match=r"a\.jsonl:2: only 2 different prompt\(s\), expected 3"
    ):
        load_splits(path)
    assert len(load_splits(write(path, numbered(3)))["train"]) == 1


@pytest.mark.parametrize("split", ["validation", "test"])
def test_a_leak_names_both_lines(tmp_path, split):
    for name in ("train", "validation", "test"):
        write(tmp_path / f"{name}.jsonl", numbered(4, name))
    leak = {"prompt": " train  2\n", "completion": "another answer"}
    path = write(tmp_path / f"{split}.jsonl", [*numbered(2, split), leak])
    with pytest.raises(DataError) as error:
        load_splits(tmp_path)
    assert str(error.value) == (
        f"{path}:3: this {split} prompt is also a training prompt "
        f"({tmp_path / 'train.jsonl'}:3), expected splits that share none: "
        "remove one of the two"
    )
    assert len(load_splits(tmp_path, apart=False)[split]) == 3


def test_the_same_answer_is_no_leak(tmp_path):
    for name in ("train", "validation", "test"):
        rows = [{"prompt": f"{name} {i}", "completion": "same"} for i in range(3)]
        write(tmp_path / f"{name}.jsonl", rows)
    assert len(load_splits(tmp_path)["train"]) == 3


def test_the_shipped_tickets_load():
    splits = load_splits(ROOT / "data" / "tickets")
    assert [len(splits[s]) for s in ("train", "validation", "test")] == [2000, 200, 400]
    answer = json.loads(splits["test"][0]["completion"][0]["content"])
    assert list(answer) == ["queue", "priority", "order", "item", "from"]
