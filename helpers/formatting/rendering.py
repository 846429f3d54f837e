"""Rows as a chat template renders them, checked: nothing refused, nothing left out."""

import copy
import re

from helpers import one_line
from helpers.formatting.batches import IGNORED, render
from helpers.formatting.lines import DataError


class Encoder:
    """Rows as `batches.encode` gives them, of chats that the template renders whole."""

    def __init__(self, tokenizer) -> None:
        self.tokenizer, self.name = tokenizer, tokenizer.name_or_path
        added = tokenizer.added_tokens_decoder.values()
        special = sorted((t.content for t in added if t.special), key=len, reverse=True)
        self.special = re.compile("|".join(map(re.escape, special)) or "(?!)")
        self.missing = {}  # by the form of a chat: what a template makes of it

    def __call__(self, row: dict) -> tuple[list[int], list[int]]:
        """(ids, labels) of a row; "line" of the row says where it came from.

        Raises DataError where the template refuses the chat, leaves out a text, a tool,
        a call or the thinking of it, or writes the prompt in another way once it is
        answered; and for a text that holds a special token of the tokenizer.
        """
        try:
            prompt = render(self.tokenizer, row)
            ids = render(self.tokenizer, row, answered=True)
            missing = self._missing(row)
        except Exception as error:  # jinja2's, or what a template's own code runs into
            why = one_line(error, 160)
            roles = ", ".join(m["role"] for m in row["prompt"] + row["completion"])
            way = "change the chat, or use another model"
            what = f"refuses a chat of {roles} ({why}), expected one that it knows"
            raise self._error(row, f"{what}: {way}") from None
        if missing:
            way = "use a model whose template knows it, or take it out of the data"
            raise self._error(row, f"leaves out {missing}, expected all of it: {way}")
        self._check_plain(row)
        if ids[: len(prompt)] != prompt:
            what = "writes the prompt in another way once it is answered"
            way = "give thinking to every answer or to none, or use another model"
            raise self._error(row, f"{what}, expected the same: {way}")
        return ids, [IGNORED] * len(prompt) + ids[len(prompt) :]

    def _error(self, row: dict, what: str) -> DataError:
        """What the template does to a row that it must not."""
        return DataError(f"{_place(row)}: the chat template of {self.name} {what}")

    def _check_plain(self, row: dict) -> None:
        """Raises DataError where a text holds a special token."""
        for number, message in enumerate(row["prompt"] + row["completion"], start=1):
            if held := self.special.search(message["content"]):
                what = f"message {number} holds {held[0]!r}, a special token"
                way = "take it out, the chat template writes such tokens itself"
                what = f"{what} of {self.name}, expected plain text"
                raise DataError(f"{_place(row)}: {what}: {way}")

    def _missing(self, row: dict) -> str:
        """What the template leaves out of chats of a row's form, "" for nothing.

        Tried once a form, with words in the place of its parts that stand nowhere else.
        """
        form = tuple(_form(m) for m in row["prompt"] + row["completion"])
        form += (len(row.get("tools") or []),)
        if form not in self.missing:
            marked, parts = _marked(row)
            text = render(self.tokenizer, marked, answered=True, tokenize=False)
            lacking = (part for word, part in parts.items() if word not in text)
            self.missing[form] = next(lacking, "")
        return self.missing[form]


def _place(row: dict) -> str:
    """Where a row came from."""
    return row.get("line") or "a row"


def _form(message: dict) -> tuple:
    """What templates look at in a message."""
    thinks = "reasoning_content" in message
    calls = len(message.get("tool_calls") or [])
    return message["role"], bool(message["content"].strip()), thinks, calls


def _marked(row: dict) -> tuple[dict, dict[str, str]]:
    """(a copy of a row, each part of it a word of its own; what the words stand for).

    The thinking of earlier answers has none: templates leave it out, as they should.
    """
    row, parts = copy.deepcopy(row), {}

    def word(part: str) -> str:
        parts[found := f"zq{len(parts)}qz"] = part
        return found

    for tool in row.get("tools") or []:
        function = tool.get("function", tool)
        function["name"] = word(f"the tool {function.get('name')!r}")
    for number, message in enumerate(row["prompt"] + row["completion"], start=1):
        if message["content"].strip():
            message["content"] = word(
                f"the text of message {number} (a {message['role']})"
            )
        for call in message.get("tool_calls") or []:
            function = call["function"]
            what = f"the call of {function['name']!r} in message {number}"
            function |= {"name": word(what), "arguments": {"a": word(what)}}
    answer = row["completion"][0]
    if "reasoning_content" in answer:
        thoughts = word(f"the thinking of message {number}")
        answer |= {"reasoning_content": thoughts, "thinking": thoughts}
    return row, parts
