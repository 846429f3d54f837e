"""From files to examples that are known to be chats; every error names its line.

`readers` takes files apart, `chats` turns an example of any known format into messages;
both meet here. columns: {column: field} of files whose columns have other names, as
`naming.parse_map` makes it of a text; no other column is read then, and those that
would be part of the chat are said (`Chat.unused`).
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from helpers.formatting.chats import MORE, Chat, FieldsError, read_chat
from helpers.formatting.lines import DataError
from helpers.formatting.messages import NEVER_LEFT_OUT, parsed
from helpers.formatting.naming import rename
from helpers.formatting.readers import iter_records

NO_EXAMPLE = "no example, expected one JSON object a line, or a header and one row"
ERRORS_KEPT = 20
PARTS = (*MORE, *NEVER_LEFT_OUT)  # fields that are part of a chat, in any format


@dataclass
class Report:
    """What `check_file` found. read + refused + blank = all records of the file.

    errors: "path:line: what is wrong, what was expected", the first line of each kind,
        ERRORS_KEPT kinds at most; one more where the file itself cannot be read or
        holds no example. more: {error: how many later lines have the same}.
    notes: how the file was read, where that had to be detected.
    """

    path: Path
    read: int = 0
    refused: int = 0
    blank: int = 0
    errors: list[str] = field(default_factory=list)
    more: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def lines(self) -> list[str]:
        """The errors, and how many more lines are like each, or have others."""
        more = {
            e: f" (and {n:,} more lines like it)" for e, n in self.more.items() if n
        }
        found = [error + more.get(error, "") for error in self.errors]
        if others := self.refused - sum(self.more.values()) - len(self.more):
            what = f"{others:,} of {self.refused:,} refused lines have other errors"
            found.append(f"{self.path}: {what}, which are not shown")
        return found

    def __str__(self) -> str:
        counts = f"{self.read:,} read, {self.refused:,} refused, {self.blank:,} blank"
        return "\n".join([f"{self.path}: {counts}", *self.notes, *self.lines])


def read_examples(path) -> list[dict]:
    """The examples of a file, as they stand there, each known to be well formed.

    path: what `readers.iter_records` takes. Raises DataError for the first bad record,
    or for a file that is missing or empty.
    """
    return [record for _, record, _ in iter_chats(path, iter_records(path))]


def iter_chats(path, records, columns=None) -> Iterator[tuple[int, dict, Chat]]:
    """Yields (line, record, chat) of every example of a file. Raises DataError."""
    found = False
    for number, record, chat in _checked(records, columns):
        if isinstance(chat, DataError):
            raise DataError(f"{path}:{number}: {chat}")
        if chat is not None:
            found = True
            yield number, record, chat
    if not found:
        raise DataError(f"{path}:1: {NO_EXAMPLE}")


def check_file(path, progress: bool = False, columns=None) -> Report:
    """Reads, converts and checks a whole file in one pass. Raises nothing."""
    report, kinds = Report(Path(path)), {}
    try:
        records = iter_records(path, progress, report.notes.append)
        for number, _, chat in _checked(records, columns):
            if isinstance(chat, DataError):
                report.refused += 1
                error = kinds.get(str(chat))
                if error is None and len(kinds) < ERRORS_KEPT:
                    kinds[str(chat)] = error = f"{path}:{number}: {chat}"
                    report.errors.append(error)
                if error:
                    report.more[error] = report.more.get(error, -1) + 1
            else:
                report.read += chat is not None
                report.blank += chat is None
    except DataError as error:
        report.errors.append(str(error))
    if not report.read and not report.errors:
        report.errors.append(f"{path}:1: {NO_EXAMPLE}")
    return report


def find_repeats(path) -> list[tuple[int, int]]:
    """(first line, later line) of every prompt that a file holds more than once.

    Prompts are the same that differ in white space only. Where no format knows the
    columns, the answer is the last of them. Raises DataError.
    """
    first, found = {}, []
    for line, record, chat in _checked(iter_records(path), None):
        if isinstance(chat, Chat):
            prompt = prompt_key(chat.messages[:-1])
        elif isinstance(chat, FieldsError) and len(record) > 1:
            *fields, _ = (" ".join(str(value).split()) for value in record.values())
            prompt = _digest(fields)
        elif chat is None:
            continue
        else:
            raise DataError(f"{path}:{line}: {chat}")
        if (earlier := first.setdefault(prompt, line)) != line:
            found.append((earlier, line))
    return found


def answer_text(message: dict) -> str:
    """What a message of the assistant says: its text and, as JSON, what it calls."""
    if not (called := _called(message)):
        return message["content"]
    return message["content"] + json.dumps(called, sort_keys=True, ensure_ascii=False)


def prompt_key(messages: list[dict]) -> bytes:
    """What makes two prompts the same: roles, calls, and words. 16 bytes.

    The ids of calls, and of the tools' answers to them, are random: they are left out.
    """
    parts = [(m["role"], m["content"].split(), _called(m)) for m in messages]
    return _digest(parts)


def _called(message: dict) -> list[dict]:
    """The functions that a message calls, with their arguments."""
    return [call.get("function", call) for call in message.get("tool_calls") or []]


def _checked(records, columns=None) -> Iterator[tuple]:
    """(line, record, chat); for chat a DataError where there is none, None if blank."""
    for number, record in records:
        chat = record
        if isinstance(record, dict):
            try:
                chat = read_chat(rename(record, columns) if columns else record)
                if columns:  # plain columns are left out on purpose, these hardly
                    left = (f for f in PARTS if f not in columns)
                    chat.unused += (f for f in left if parsed(record.get(f)))
            except DataError as error:
                chat = error
        yield number, record, chat


def _digest(value) -> bytes:
    """16 bytes that stand for a value of texts and lists."""
    text = json.dumps(value, sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=16).digest()
