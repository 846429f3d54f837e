"""From one example, in any of four formats, to the messages of a chat.

    messages           {"messages": [{"role": "user", "content": "..."},
                                     {"role": "assistant", "content": "..."}]}
    ShareGPT           {"conversations": [{"from": "human", "value": "..."},
                                          {"from": "gpt", "value": "..."}]}
    prompt/completion  {"prompt": "...", "completion": "..."}
    Alpaca             {"instruction": "...", "input": "...", "output": "..."}

An example that fits several is read as the first of them. ShareGPT, prompt/completion
and Alpaca may carry a text "system" too. Other fields, of examples and of messages, are
left out; those that would be part of the chat are refused (NEVER_LEFT_OUT). A system
turn is kept as it is: what a model's template makes of it, and whether it can be
trained by, `models.check_template` tells.
"""

from collections.abc import Mapping
from operator import itemgetter

from helpers.formatting.lines import DataError, short

ROLES = ("system", "user", "assistant")
SPEAKERS = {"system": "system", "human": "user", "gpt": "assistant"}
NEVER_LEFT_OUT = ("history", "tools", "tool_calls", "thinking", "reasoning_content")


def to_messages(example: dict) -> list[dict]:
    """The chat of an example, [{"role": ..., "content": ...}, ...], the answer last.

    Raises DataError, without path and line, for what one could not train on.
    """
    if not isinstance(example, Mapping):
        raise DataError(f"{short(example)} is not an object, expected an example")
    messages = _reader(example)(example)
    _check_left_out(example, "")
    _check_messages(messages)
    return [{"role": m["role"], "content": m["content"]} for m in messages]


def _reader(example: Mapping):
    """The function that reads the format of an example, known by its fields."""
    # Arrow tables (datasets, Parquet) fill fields that an example lacks with None.
    filled = {field for field, value in example.items() if value is not None}
    for fields in (filled, set(example)):
        for needed, read in FORMATS.items():
            if fields.issuperset(needed):
                return read
    got = ", ".join(short(field) for field in list(example)[:6]) or "none"
    *most, last = (" and ".join(map(repr, needed)) for needed in FORMATS)
    raise DataError(f"the fields are {got}, expected {', '.join(most)}, or {last}")


def _share_gpt(example: Mapping) -> list:
    """ShareGPT: human asks, gpt answers."""
    turns = example["conversations"]
    if not isinstance(turns, list):
        what = f"'conversations' is {short(turns)}"
        raise DataError(f"{what}, expected a list of turns")
    chat = _system(example)
    for index, turn in enumerate(turns, start=1):
        _check_fields(turn, f"turn {index}", ("from", "value"))
        speaker, known = turn["from"], ", ".join(SPEAKERS)
        if speaker not in SPEAKERS:
            raise DataError(f"turn {index} is from {short(speaker)}, expected {known}")
        chat += _turn(SPEAKERS[speaker], turn["value"])
    return chat


def _pair(example: Mapping) -> list:
    """Prompt and completion: texts, or TRL's lists of messages."""
    chat = _system(example)
    for role, field in (("user", "prompt"), ("assistant", "completion")):
        value = example[field]
        chat += value if isinstance(value, list) else _turn(role, value)
    return chat


def _alpaca(example: Mapping) -> list:
    """Alpaca: the input, where there is one, stands below its instruction."""
    question, context = example["instruction"], example.get("input")
    for field, value in (("instruction", question), ("input", context or "")):
        if not isinstance(value, str):
            raise DataError(f"{field!r} is {short(value)}, expected a string")
    if not question.strip():
        raise DataError("'instruction' is empty, expected some text")
    if context and context.strip():
        question = f"{question}\n\n{context}"
    answer = _turn("assistant", example["output"])
    return _system(example) + _turn("user", question) + answer


FORMATS = {
    ("messages",): itemgetter("messages"),
    ("conversations",): _share_gpt,
    ("prompt", "completion"): _pair,
    ("instruction", "output"): _alpaca,
}


def _system(example: Mapping) -> list[dict]:
    """The system message of a format that keeps it in a field of its own."""
    return _turn("system", example["system"]) if example.get("system") else []


def _turn(role: str, content) -> list[dict]:
    """A list of one message."""
    return [{"role": role, "content": content}]


def _check_messages(messages) -> None:
    """Raises DataError unless there is something to ask and, last, to learn."""
    if not isinstance(messages, list):
        raise DataError(f"'messages' is {short(messages)}, expected a list of messages")
    for index, message in enumerate(messages, start=1):
        _check_message(message, f"message {index}")
    roles = [message["role"] for message in messages]
    if not roles or roles[-1] != "assistant":
        last = f"from {roles[-1]!r}" if roles else "missing"
        raise DataError(f"the last message is {last}, expected one from 'assistant'")
    if "user" not in roles:
        raise DataError("no message is from 'user', expected a question")
    if "system" in roles[1:]:
        place = roles.index("system", 1) + 1
        what = f"message {place} is from 'system'"
        raise DataError(f"{what}, expected one at most, and first")
    if roles[roles[0] == "system"] != "user":
        what = "the first message besides the system's is from 'assistant'"
        raise DataError(f"{what}, expected one from 'user'")


def _check_left_out(fields: Mapping, name: str) -> None:
    """Raises DataError where a field is filled that a chat would need, but not get."""
    for field in NEVER_LEFT_OUT:
        if fields.get(field):
            what = f"{name}{field!r} is {short(fields[field])}"
            raise DataError(f"{what}, expected none: its text would be left out")


def _check_message(message, name: str) -> None:
    """Raises DataError unless a message has a known role and a text."""
    _check_fields(message, name, ("role", "content"))
    _check_left_out(message, f"{name}: ")
    role, content = message["role"], message["content"]
    if role not in ROLES:
        raise DataError(
            f"{name} has the role {short(role)}, expected {', '.join(ROLES)}"
        )
    if not content.strip():
        raise DataError(f"{name} ({role}) is empty, expected some text")
    if not content.isascii() and (half := _half_character(content)):
        raise DataError(
            f"{name} ({role}) holds half a character ({half}), expected text"
        )


def _check_fields(turn, name: str, fields: tuple[str, str]) -> None:
    """Raises DataError unless a turn is an object with these two texts."""
    expected = f"expected {fields[0]!r} and {fields[1]!r}"
    if not isinstance(turn, Mapping):
        raise DataError(f"{name} is {short(turn)}, {expected}")
    for field in fields:
        if field not in turn:
            raise DataError(f"{name} has no {field!r}, {expected}")
        if not isinstance(turn[field], str):
            value = short(turn[field])
            raise DataError(f"{name} has {field!r} = {value}, expected a string")


def _half_character(text: str) -> str:
    """The first half of a surrogate pair in a text, "" where there is none."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        return f"\\u{ord(text[error.start]):04x}"
    return ""
