"""One message of a chat: read as chat services write it, checked, in one form.

A text may stand in parts. An assistant may think first (`reasoning_content`) and call
tools (`tool_calls`); a tool answers. Where a message is marked as not to be learnt
(`"weight": 0`, as OpenAI has it, `"train": false`, as axolotl, or `"loss": false`, as
ms-swift), it is only read.
"""

import json
from collections.abc import Mapping

from helpers.formatting.lines import DataError, short

ROLES = ("system", "user", "assistant", "tool")
PLAIN = {"role", "content"}
SAME = {"developer": "system", "function": "tool"}  # names that OpenAI also has
TOOLS, EMPTY = ("tool", "function"), (None, "", [], {})
CALLS = ("tool_calls", "function_call")
THOUGHTS = ("reasoning_content", "thinking", "reasoning")
MARKS = ("weight", "train", "loss")  # of an answer: 0 or false, not to be learnt
READ = {*PLAIN, *CALLS, *THOUGHTS, *MARKS}  # and of a tool's answer two more
NEVER_LEFT_OUT = ("history", "images", "image", "videos", "audio", "audios")
NEVER_LEFT_OUT += ("train_detail",)  # marks of parts of an answer (axolotl)


def read_message(message, name: str) -> dict:
    """A message as templates take it: role, content, and what else it has of

    reasoning_content and thinking (the same text: templates know one or the other),
    tool_calls, tool_call_id, name (of a tool). name: what an error calls it.
    Raises DataError, without path and line.
    """
    if isinstance(message, Mapping) and message.keys() == PLAIN:  # as most are
        role, content = message["role"], message["content"]
        plain = role in ROLES[:3] and isinstance(content, str) and content.isascii()
        if plain and content.strip():
            return {"role": role, "content": content}
    if isinstance(message, Mapping) and not isinstance(message.get("role", ""), str):
        value = short(message["role"])
        raise DataError(f"{name} has 'role' = {value}, expected a string")
    check_fields(message, name, ("role",), "'role' and 'content'")
    check_left_out(message, f"{name}: ")
    role = SAME.get(message["role"], message["role"])
    if role not in ROLES:
        expected = ", ".join(ROLES[:3])
        raise DataError(f"{name} has the role {short(role)}, expected {expected}")
    found = {"role": role, "content": ""}
    calls = _either(
        message, CALLS, name, lambda of: [c["function"] for c in _calls(of, name)]
    )
    if message.get("content") is not None or not calls:
        check_fields(message, name, ("content",), "'role' and 'content'")
        found["content"] = _text(message["content"], name)
    thoughts = _either(message, THOUGHTS, name, str)
    if role != "assistant" and (thoughts or calls):
        which = "thinks" if thoughts else "calls a tool"
        raise DataError(f"{name} ({role}) {which}, expected that of 'assistant' only")
    if thoughts:
        check_text(thoughts, f"{name}: the thinking")
        found |= {"reasoning_content": thoughts, "thinking": thoughts}
    if calls:
        found["tool_calls"] = _calls(calls, name)
    if role == "tool":
        kept = {f: message[f] for f in ("tool_call_id", "name") if message.get(f)}
        check_json(kept, f"{name} ({role})")
        found |= kept
    elif not calls and not found["content"].strip():
        raise DataError(f"{name} ({role}) is empty, expected some text")
    check_text(found["content"], f"{name} ({role})")
    return found


def is_learnt(message: Mapping, name: str) -> bool:
    """Whether an assistant's message is to be learnt. Raises DataError."""
    for field in MARKS:
        mark = message.get(field)
        if mark is not None and mark not in (0, 1):
            what = f"{name}: {field!r} is {short(mark)}"
            raise DataError(f"{what}, expected 0 (not to be learnt) or 1")
        if mark is not None and not mark:
            return False
    return True


def unread(message: Mapping) -> list[str]:
    """The filled fields of a message that `read_message` leaves out."""
    read = READ | ({"tool_call_id", "name"} if message["role"] in TOOLS else set())
    return [f for f in message if f not in read and message[f] not in EMPTY]


def read_tools(example: Mapping) -> list | None:
    """The tools that a chat may call, None where there are none. Raises DataError."""
    tools = example.get("tools") or example.get("functions")
    if not (tools := parsed(tools)):
        return None
    if not isinstance(tools, list) or not all(isinstance(t, Mapping) for t in tools):
        raise DataError(f"'tools' is {short(tools)}, expected a list of functions")
    check_json(tools, "'tools'")
    return [
        t if "function" in t else {"type": "function", "function": t} for t in tools
    ]


def parsed(value):
    """The list or object that a text holds as JSON, as tables have it; else the value.

    Of a list, also its texts: a column of JSON in Parquet comes so.
    """
    if isinstance(value, str) and value.lstrip()[:1] in ("[", "{"):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return value
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return [parsed(item) for item in value]
    return value


def check_fields(turn, name: str, fields: tuple[str, ...], expected: str = "") -> None:
    """Raises DataError unless a turn is an object with these fields."""
    expected = f"expected {expected or ' and '.join(map(repr, fields))}"
    if not isinstance(turn, Mapping):
        raise DataError(f"{name} is {short(turn)}, {expected}")
    for field in fields:
        if field not in turn:
            raise DataError(f"{name} has no {field!r}, {expected}")


def check_left_out(fields: Mapping, name: str) -> None:
    """Raises DataError where a field is filled that a chat would need, but not get."""
    for field in NEVER_LEFT_OUT:
        if fields.get(field):
            what = f"{name}{field!r} is {short(fields[field])}"
            raise DataError(f"{what}, expected none: it would be left out")


def check_text(text, name: str) -> None:
    """Raises DataError for what is no text, or holds half a surrogate pair."""
    if not isinstance(text, str):
        raise DataError(f"{name} is {short(text)}, expected a string")
    try:
        text.isascii() or text.encode("utf-8")
    except UnicodeEncodeError as error:
        half = f"\\u{ord(text[error.start]):04x}"
        what = f"{name} holds half a character ({half})"
        raise DataError(f"{what}, expected text") from None


def check_json(value, name: str) -> None:
    """Raises DataError for what JSON cannot hold, or half a surrogate pair."""
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        what = f"{name} holds what JSON cannot ({error})"
        raise DataError(f"{what}, expected texts and finite numbers") from None
    check_text(text, name)


def _text(content, name: str) -> str:
    """A content: a text, or a list of parts that are texts, joined as they stand."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list) or not content:
        raise DataError(f"{name} has 'content' = {short(content)}, expected a string")
    texts = []
    for part in content:
        kind = part.get("type", "text") if isinstance(part, Mapping) else None
        text = part.get("text") if kind == "text" else part
        if not isinstance(text, str):
            kind = kind if kind not in (None, "text") else short(part)
            raise DataError(f"{name} has a part {kind}, expected parts of text only")
        texts.append(text)
    return "".join(texts)


def _either(message: Mapping, fields: tuple, name: str, form):
    """What fields of one meaning hold, None where all are empty.

    form: what two of them must have the same. Raises DataError where they do not.
    """
    filled = [field for field in fields if message.get(field)]
    for other in filled[1:]:
        if form(message[other]) != form(message[filled[0]]):
            what = f"{name} has {filled[0]!r} and another {other!r}"
            raise DataError(f"{what}, expected one of them")
    return message[filled[0]] if filled else None


def _calls(calls, name: str) -> list[dict]:
    """Calls of tools, their arguments as objects, which is what templates take."""
    calls = parsed(calls)
    found = []
    for call in calls if isinstance(calls, list) else [calls]:
        inner = call.get("function", call) if isinstance(call, Mapping) else None
        tool = inner.get("name") if isinstance(inner, Mapping) else None
        if not isinstance(tool, str) or not tool:
            what = f"{name} has the tool call {short(call)}"
            raise DataError(f"{what}, expected a function's name and arguments")
        arguments = parsed(inner.get("arguments", inner.get("parameters")) or {})
        if not isinstance(arguments, dict):
            what = f"{name} calls {tool!r} with {short(arguments)}"
            raise DataError(f"{what}, expected a JSON object of arguments")
        one = {"type": "function", "function": {"name": tool, "arguments": arguments}}
        found.append(one | ({"id": call["id"]} if call.get("id") else {}))
        check_json(found[-1], f"{name}: the call of {tool!r}")
    return found
