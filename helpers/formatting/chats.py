"""From one example, in any of four formats, to the messages of a chat.

    messages           {"messages": [{"role": "user", "content": "..."},
                                     {"role": "assistant", "content": "..."}]}
    ShareGPT           {"conversations": [{"from": "human", "value": "..."},
                                          {"from": "gpt", "value": "..."}]}
    prompt/completion  {"prompt": "...", "completion": "..."}
    Alpaca             {"instruction": "...", "input": "...", "output": "..."}

An example that fits several is read as the first of them. All may carry a text "system"
and "tools". What else a message may hold, `messages` says. Other fields are left out
(`Chat.unused`); those that would be part of the chat are refused (NEVER_LEFT_OUT), and
an answer that KTO's "label" calls bad. A system turn is kept as it is: what a template
makes of it, and whether it can be trained by, `rendering.Encoder` tells.
"""

import dataclasses
import re
from collections.abc import Mapping

from helpers.formatting.lines import DataError, short
from helpers.formatting.messages import (
    EMPTY,
    PLAIN,
    check_left_out,
    is_learnt,
    parsed,
    read_message,
    read_tools,
    unread,
)
from helpers.formatting.share_gpt import share_gpt_turns

MAP = '--map "question=prompt,answer=completion" names other columns'
ONLY_TEXT = (
    "the text is in one piece, 'text', and nothing says what of it is the answer, "
    "expected 'prompt' and 'completion': cut each text where the answer begins"
)


class FieldsError(DataError):
    """An example whose fields no format knows."""


@dataclasses.dataclass
class Chat:
    """One example.

    messages: the chat, its last answer last. answers: the places of those to be learnt.
    tools: that it may call. joined: how many turns were joined with the one before
        them, of the same role. marked: how many answers are marked not to be learnt.
    unused: the filled fields that are not read.
    """

    messages: list[dict] = dataclasses.field(default_factory=list)
    answers: list[int] = dataclasses.field(default_factory=list)
    tools: list | None = None
    joined: int = 0
    marked: int = 0
    unused: list[str] = dataclasses.field(default_factory=list)


def to_messages(example: dict) -> list[dict]:
    """The chat of an example, [{"role": ..., "content": ...}, ...], the answer last.

    Raises DataError, without path and line, for what one could not train on.
    """
    return read_chat(example).messages


def read_chat(example: dict) -> Chat:
    """An example, all that is known of it. Raises DataError as `to_messages` does."""
    if not isinstance(example, Mapping):
        raise DataError(f"{short(example)} is not an object, expected an example")
    needed = _format(example)
    given, rest = FORMATS[needed](example)
    check_left_out(example, "")
    if str(label := example.get("label")).lower() in ("false", "0"):
        raise DataError(f"'label' is {short(label)}, expected a good answer")
    used = (*needed, *MORE, *["input"] * ("instruction" in needed))
    unused = [f for f, value in example.items() if f not in used and value not in EMPTY]
    chat = Chat(tools=read_tools(example), unused=unused)
    _add(chat, given, False)
    _add(chat, rest, True)
    _check_order(chat.messages)
    if not chat.answers:
        raise DataError("every answer is marked not to be learnt, expected one that is")
    return chat


def _format(example: Mapping) -> tuple[str, ...]:
    """The fields in FORMATS by which the format of an example is known."""
    # Arrow tables (datasets, Parquet) fill fields that an example lacks with None.
    filled = {field for field, value in example.items() if value is not None}
    for fields in (filled, set(example)):
        for needed in FORMATS:
            if fields.issuperset(needed):
                return needed
    if filled == {"text"}:
        raise FieldsError(ONLY_TEXT)
    got = ", ".join(short(field) for field in list(example)[:6]) or "none"
    *most, last = (" and ".join(map(repr, needed)) for needed in FORMATS)
    expected = f"expected {', '.join(most)}, or {last}"
    way = f": {MAP}" if len(filled) > 1 else ""
    raise FieldsError(f"the fields are {got}, {expected}{way}")


def _messages(example: Mapping) -> tuple[list, list]:
    """Messages as they stand, or as JSON in a table."""
    messages = parsed(example["messages"])
    if not isinstance(messages, list):
        raise DataError(f"'messages' is {short(messages)}, expected a list of messages")
    return _system(example), messages


def _share_gpt(example: Mapping) -> tuple[list, list]:
    """ShareGPT: human asks, gpt answers."""
    return _system(example), share_gpt_turns(example["conversations"])


def _pair(example: Mapping) -> tuple[list, list]:
    """Prompt and completion: texts, or TRL's lists of messages, or those as JSON."""
    if (value := example.get("input")) and str(value).strip():
        raise DataError(f"'input' is {short(value)}, expected it within 'prompt'")
    asked = _turns("user", example["prompt"])
    return _system(example) + asked, _turns("assistant", example["completion"])


def _alpaca(example: Mapping) -> tuple[list, list]:
    """Alpaca: the input, where there is one, stands below its instruction."""
    question, context = example["instruction"], example.get("input")
    for field, value in (("instruction", question), ("input", context or "")):
        if not isinstance(value, str):
            raise DataError(f"{field!r} is {short(value)}, expected a string")
    if not question.strip():
        raise DataError("'instruction' is empty, expected some text")
    if context and context.strip():
        question = f"{question}\n\n{context}"
    asked = _system(example) + _turn("user", question)
    return asked, _turn("assistant", example["output"])


FORMATS = {
    ("messages",): _messages,
    ("conversations",): _share_gpt,
    ("prompt", "completion"): _pair,
    ("instruction", "output"): _alpaca,
}
MORE = ("system", "tools", "functions")  # that an example of any format may have
REPR = re.compile(r"\s*\[\{'(role|content)':")  # what pandas writes for a list
KNOWN = (*(field for needed in FORMATS for field in needed), "input", "system", "tools")


def _system(example: Mapping) -> list[dict]:
    """The system message of a format that keeps it in a field of its own."""
    return _turn("system", example["system"]) if example.get("system") else []


def _turns(role: str, value) -> list[dict]:
    """A list of messages as it stands, or as JSON in a table; one message of the rest.

    Other JSON is a text: an answer may well be an object, or a list of them.
    """
    found = parsed(value)
    if isinstance(value, str) and REPR.match(value):
        what = f"{short(value)} is a list as Python prints it"
        raise DataError(f"{what}, expected JSON: write it with json.dumps")
    listed = isinstance(value, list) or _are_messages(found)
    return found if listed else _turn(role, value)


def _are_messages(value) -> bool:
    """Whether a value is a list of objects with role and content, one at least."""
    if not isinstance(value, list) or not value:
        return False
    return all(isinstance(one, dict) and one.keys() >= PLAIN for one in value)


def _turn(role: str, content) -> list[dict]:
    """A list of one message."""
    return [{"role": role, "content": content}]


def _add(chat: Chat, turns: list, learn: bool) -> None:
    """Adds turns to a chat; of those of one role in a row, plain ones become one.

    learn: whether their answers are to be learnt, where no mark says otherwise.
    """
    start = len(chat.messages)
    for turn in turns:
        name = f"message {len(chat.messages) + chat.joined + 1}"
        message, place = read_message(turn, name), len(chat.messages)
        if turn.keys() != PLAIN:
            chat.unused += [f"messages.{f}" for f in unread(turn)]
        is_answer = learn and message["role"] == "assistant"
        if is_answer and not is_learnt(turn, name):
            chat.marked, is_answer = chat.marked + 1, False
        same = is_answer == (place - 1 in chat.answers)
        if place > start and same and _continues(chat.messages[-1], message):
            chat.messages[-1]["content"] += "\n\n" + message["content"]
            chat.joined += 1
            continue
        chat.messages.append(message)
        chat.answers += [place] * is_answer


def _continues(before: dict, message: dict) -> bool:
    """Whether a plain message goes on with one of the same role."""
    same = before["role"] == message["role"] in ("user", "assistant")
    return same and before.keys() == message.keys() == PLAIN


def _check_order(messages: list[dict]) -> None:
    """Raises DataError unless there is something to ask and, last, to learn."""
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
    if (first := roles[roles[0] == "system"]) != "user":
        what = f"the first message besides the system's is from {first!r}"
        raise DataError(f"{what}, expected one from 'user'")
    for place, role in enumerate(roles):
        asked = "tool_calls" in messages[place - 1] or roles[place - 1] == "tool"
        if role == "tool" and not asked:
            what = f"message {place + 1} is from 'tool'"
            raise DataError(f"{what}, expected a tool call before it")
