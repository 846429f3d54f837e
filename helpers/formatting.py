"""From a file of examples to chat messages and splits; every error names its line.

An example is one object a line (JSON Lines), in one of two formats:

    {"messages": [{"role": "user", "content": "..."},
                  {"role": "assistant", "content": "..."}]}
    {"prompt": "...", "completion": "..."}

Splits hold both as TRL's conversational prompt-completion format (TRL documentation,
"Dataset formats and types"), whose loss falls on the completion only.
"""

import json
import random
from pathlib import Path

ROLES = ("system", "user", "assistant")
SPLITS = ("train", "validation", "test")


class DataError(ValueError):
    """Unusable data. str(error): "path:line: what is wrong, what was expected"."""


def read_examples(path) -> list[dict]:
    """The examples of a JSON Lines file, as they stand there, known to be well formed.

    Raises DataError for the first bad line, or for a file that is missing or empty.
    """
    return [example for _, example in read_numbered(path)]


def read_numbered(path) -> list[tuple[int, dict]]:
    """As `read_examples`, with line numbers from 1. Blank lines are passed over."""
    path, examples = Path(path), []
    for number, raw in enumerate(_read_bytes(path).splitlines(), start=1):
        if not raw.strip():
            continue
        try:
            example = _parse(raw)
            to_messages(example)
        except DataError as error:
            raise DataError(f"{path}:{number}: {error}") from None
        examples.append((number, example))
    if not examples:
        raise DataError(f"{path}:1: no example, expected one JSON object a line")
    return examples


def to_messages(example: dict) -> list[dict]:
    """The chat of an example, [{"role": ..., "content": ...}, ...], the answer last.

    Raises DataError, without path and line, for what one could not train on.
    """
    if "messages" in example:
        messages = example["messages"]
    elif "prompt" in example and "completion" in example:
        prompt, completion = example["prompt"], example["completion"]
        messages = _turn("user", prompt) + _turn("assistant", completion)
    else:
        got = ", ".join(map(repr, example)) or "none"
        expected = "expected 'messages', or 'prompt' and 'completion'"
        raise DataError(f"the fields are {got}, {expected}")
    _check_messages(messages)
    return messages


def load_splits(path, seed: int = 0):
    """A datasets.DatasetDict with train, validation and test.

    path: a folder of train.jsonl, validation.jsonl and test.jsonl, or one file, which
        is shuffled with the seed and divided 80/10/10.
    Columns: prompt (all messages but the last), completion (a list of the last one).
    Raises DataError as `read_examples` does, and where a prompt of validation or test
    is also in train.
    """
    path = Path(path)
    if path.is_dir():
        files = {split: path / f"{split}.jsonl" for split in SPLITS}
        numbered = {split: read_numbered(file) for split, file in files.items()}
    else:
        files = dict.fromkeys(SPLITS, path)
        numbered = _divide(path, seed)
    _check_leakage(numbered, files)

    from datasets import Dataset, DatasetDict  # slow to import, and only needed here

    splits = DatasetDict()
    for split, rows in numbered.items():
        chats = [to_messages(example) for _, example in rows]
        rows = [{"prompt": chat[:-1], "completion": chat[-1:]} for chat in chats]
        splits[split] = Dataset.from_list(rows)
    return splits


def _read_bytes(path: Path) -> bytes:
    """The file's bytes, without the mark that some Windows editors put first."""
    try:
        return path.read_bytes().removeprefix(b"\xef\xbb\xbf")
    except OSError as error:
        reason = "it is a folder" if path.is_dir() else error.strerror
        what = f"cannot be read ({reason}), expected a JSON Lines file"
        raise DataError(f"{path}:1: {what}") from None


def _parse(raw: bytes) -> dict:
    """The JSON object of one line of bytes."""
    one_object = "expected one JSON object a line"
    try:
        example = json.loads(raw.decode("utf-8"))
    except UnicodeDecodeError as error:
        place = f"byte {error.start + 1} (0x{raw[error.start]:02x})"
        raise DataError(f"{place} is not UTF-8, expected a UTF-8 file") from None
    except json.JSONDecodeError as error:
        why = f"{error.msg} at column {error.colno}"
        raise DataError(f"not JSON ({why}), {one_object}") from None
    except (ValueError, RecursionError):  # over 4,300 digits, thousands of brackets
        raise DataError(f"JSON that Python cannot hold, {one_object}") from None
    if not isinstance(example, dict):
        raise DataError(f"{_shown(example)} is not an object, {one_object}")
    return example


def _turn(role: str, content) -> list[dict]:
    """One message of a string; TRL's lists of messages stay as they are."""
    return (
        content if isinstance(content, list) else [{"role": role, "content": content}]
    )


def _check_messages(messages) -> None:
    """Raises DataError unless there is something to ask and, last, to learn."""
    if not isinstance(messages, list):
        raise DataError(
            f"'messages' is {_shown(messages)}, expected a list of messages"
        )
    for index, message in enumerate(messages, start=1):
        _check_message(message, f"message {index}")
    if not messages or messages[-1]["role"] != "assistant":
        last = f"from {messages[-1]['role']!r}" if messages else "missing"
        raise DataError(f"the last message is {last}, expected one from 'assistant'")
    if all(message["role"] != "user" for message in messages):
        raise DataError("no message is from 'user', expected a question")


def _check_message(message, name: str) -> None:
    """Raises DataError unless a message has a known role and a text."""
    fields = "expected 'role' and 'content'"
    if not isinstance(message, dict):
        raise DataError(f"{name} is {_shown(message)}, {fields}")
    for field in ("role", "content"):
        if field not in message:
            raise DataError(f"{name} has no {field!r}, {fields}")
        if not isinstance(message[field], str):
            value = _shown(message[field])
            raise DataError(f"{name} has {field!r} = {value}, expected a string")
    role = message["role"]
    if role not in ROLES:
        raise DataError(f"{name} has the role {role!r}, expected {', '.join(ROLES)}")
    if not message["content"].strip():
        raise DataError(f"{name} ({role}) is empty, expected some text")


def _divide(path: Path, seed: int) -> dict[str, list]:
    """Numbered examples of one file in three; at least one for each."""
    rows = read_numbered(path)
    if len(rows) < 3:
        what = f"only {len(rows)} example(s), expected 3 or more to make three splits"
        raise DataError(f"{path}:{rows[-1][0]}: {what}")
    random.Random(seed).shuffle(rows)
    tenth = max(1, len(rows) // 10)
    parts = rows[2 * tenth :], rows[:tenth], rows[tenth : 2 * tenth]
    return dict(zip(SPLITS, parts, strict=True))


def _check_leakage(numbered: dict[str, list], files: dict[str, Path]) -> None:
    """Raises DataError where a prompt of validation or test is also in train."""
    seen = {_prompt_key(example): line for line, example in numbered["train"]}
    for split in ("validation", "test"):
        for line, example in numbered[split]:
            if (key := _prompt_key(example)) in seen:
                raise DataError(
                    f"{files[split]}:{line}: this {split} prompt is also a training "
                    f"prompt ({files['train']}:{seen[key]}), expected splits that "
                    "share none: remove one of the two"
                )


def _prompt_key(example: dict) -> tuple:
    """What makes two prompts the same: roles, and texts but for their white space."""
    prompt = to_messages(example)[:-1]
    return tuple((m["role"], " ".join(m["content"].split())) for m in prompt)


def _shown(value) -> str:
    """A value in an error, cut to fit the line."""
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 40 else text[:37] + "..."
