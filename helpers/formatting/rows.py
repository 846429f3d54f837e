"""The rows of a data set while it is read: kept in Arrow, and what they share.

Of a chat a few numbers are in memory; its messages are on disk, each once.
"""

import random
import tempfile
from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from helpers.formatting.dividing import take, without_shared
from helpers.formatting.exact import exact_datasets
from helpers.formatting.examples import iter_chats, prompt_key
from helpers.formatting.lines import DataError, short
from helpers.formatting.sources import SPLITS, Source

# Folders of rows, until Python ends. What `map` makes of rows in a file is kept beside
# it and found again: trainers of the same rows tokenize them once.
KEPT = []


class Rows:
    """What `load_splits` has read so far.

    name: what remarks begin with. group: a column; columns: {column: field}, and apart
    as in `load_splits`.
    """

    def __init__(self, name, group, columns, say: Callable, apart=True) -> None:
        datasets = exact_datasets()
        from datasets.arrow_writer import ArrowWriter

        self.name, self.group, self.columns = name, group, columns
        self.say, self.apart = say, apart
        self.folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        self.file = Path(self.folder.name) / "rows.arrow"
        chat = datasets.List(datasets.Json())
        kinds = {"prompt": chat, "completion": chat, "tools": chat}
        texts = dict.fromkeys(("line", "group"), datasets.Value("string"))
        features = datasets.Features(kinds | texts)
        self.writer = ArrowWriter(features=features, path=str(self.file))
        self.sources, self.has_tools = [], False
        self.counts = dict.fromkeys(("joined", "marked", "several"), 0)
        self.unused: dict[str, None] = {}  # the columns, in their order
        self.repeats, self.contradictions = [], []
        self.seen: dict[bytes, int] = {}  # what may stand in one split only: the chat
        self.within: dict[bytes, int] = {}  # a prompt of given splits within a chat: it
        self.asked = array("q")  # of every row: its prompt
        # Of every chat: where it came from, its answer, its first row.
        self.source, self.line = array("l"), array("q")
        self.answer, self.first = array("q"), array("q", [0])
        self.same_as = array("q")  # an earlier chat of its part, or itself

    def add(self, split: str, source: Source) -> None:
        """Reads a source to its end. Raises DataError."""
        self.sources.append((split, source.name))
        for line, record, chat in iter_chats(
            source.name, source.records(self.say), self.columns
        ):
            number = len(self.line)
            self.source.append(len(self.sources) - 1)
            self.line.append(line)
            self.same_as.append(number)
            self.unused |= dict.fromkeys(chat.unused)
            group = self._group(record, number) if self.group else None
            self._write(chat, self._where(number), group)
            *within, whole = (prompt_key(chat.messages[:n]) for n in chat.answers)
            answer = prompt_key([chat.messages[chat.answers[-1]]])
            self.answer.append(_number(answer))
            self.asked.extend(map(_number, (*within, whole)))
            self._share(whole, number, "prompt")
            for key in within if split else ():
                self.within.setdefault(key, number)
            if group:
                key = b"group " + group.encode()
                self._share(key, number, "group")

    def tell(self) -> None:
        """Says what reading changed, and which prompts stand there twice."""
        remarks = {
            "joined": "turns follow one of the same role, joined with a blank line",
            "marked": "answers are marked not to be learnt, and only read",
            "several": "chats have several answers, each of them a row",
        }
        for key, remark in remarks.items():
            if count := self.counts[key]:
                self.say(f"{self.name}: {count:,} {remark}")
        unused = [short(column) for column in self.unused if column != self.group]
        if unused:
            remark = f"{len(unused):,} columns are not read"
            self.say(f"{self.name}: {remark}: {', '.join(unused[:10])}")
        found = {"another answer": self.contradictions, "the same answer": self.repeats}
        for what, pairs in found.items():
            if pairs:
                first, later = map(self._where, pairs[0])
                remark = f"{len(pairs):,} prompts stand there before, with {what}"
                self.say(f"{self.name}: {remark}: {later} as {first}")

    def places(self) -> dict[str, list[int]]:
        """The rows of each split, as they were read."""
        found = {split: [] for split in SPLITS}
        for number, source in enumerate(self.source):
            found[self.sources[source][0]] += self._rows(number)
        return self._leave_out(found, whole=False)

    def divide(self, seed: int) -> dict[str, list[int]]:
        """The rows, 80/10/10; what shares something together. Raises DataError."""
        parts, others = array("q"), {}  # a chat of each; all of those with several
        for number in range(len(self.line)):
            root = self._root(number)
            if root in others:
                others[root].append(number)
            elif root == number:
                parts.append(root)
            elif root < number:
                others[root] = [root, number]
            else:  # a later one that this one was joined to
                parts.append(root)
                others[root] = [number]
        if len(parts) < 3:
            what = f"only {len(parts)} different prompt(s)"
            what += f" or {self.group!r} to keep apart" * bool(self.group)
            last = others.get(parts[-1], parts[-1:])[-1]
            raise DataError(f"{self._where(last)}: {what}, expected 3 or more")
        random.Random(seed).shuffle(parts)
        tenth, chosen = max(1, len(self.asked) // 10), {}
        for split, share in (("validation", 2), ("test", 1)):
            sizes = [len(self._rows_of(others.get(p, (p,)))) for p in parts]
            most = (len(parts) - 1) // share  # one is left for train, half for the test
            chosen[split], parts = take(parts, sizes, tenth, most)
        chosen["train"] = parts
        found = {}
        for split in SPLITS:
            chats = (n for part in chosen[split] for n in others.get(part, (part,)))
            found[split] = self._rows_of(chats)
        return self._leave_out(found, whole=True)

    def splits(self, places: dict[str, list[int]], lines: bool):
        """The DatasetDict of these rows."""
        from datasets import Dataset, DatasetDict

        self.writer.finalize()
        rows = Dataset.from_file(str(self.file))
        KEPT.append(self.folder)
        unused = ["tools"] * (not self.has_tools) + ["line"] * (not lines)
        unused += ["group"] * (not (lines and self.group))
        rows = rows.remove_columns(unused)
        return DatasetDict({split: rows.select(n) for split, n in places.items()})

    def _write(self, chat, where: str, group: str | None) -> None:
        """A row for each answer that is to be learnt."""
        for place in chat.answers:
            prompt, completion = chat.messages[:place], chat.messages[place : place + 1]
            row = {"prompt": prompt, "completion": completion, "tools": chat.tools}
            self.writer.write(row | {"line": where, "group": group})
        self.first.append(self.first[-1] + len(chat.answers))
        self.has_tools |= chat.tools is not None
        self.counts["joined"] += chat.joined
        self.counts["marked"] += chat.marked
        self.counts["several"] += len(chat.answers) > 1

    def _group(self, record: dict, number: int) -> str:
        """The group of a chat. Raises DataError where it has none."""
        value = record.get(self.group)
        if value is None or not str(value).strip():
            there = ", ".join(map(short, list(record)[:6]))
            what = f"no {self.group!r} to group by (the fields are {there})"
            raise DataError(f"{self._where(number)}: {what}, expected one in each row")
        return str(value).strip().encode("utf-8", "backslashreplace").decode()

    def _leave_out(self, places: dict[str, list[int]], whole: bool) -> dict:
        """The rows whose prompt no earlier split has; says how many others there are.

        whole: leaves out the last of a chat too, which given splits do not share.
        Raises DataError where none is left.
        """
        if not self.counts["several"]:
            return places
        stays = np.zeros(len(self.asked), bool)
        stays[np.array(self.first)[1:] - 1] = not whole
        found = without_shared(places, np.array(self.asked), stays)
        for split, rows in found.items():
            if not rows:
                where = self._where(bisect_right(self.first, places[split][0]) - 1)
                what = f"every {split} prompt is also one of an earlier split"
                raise DataError(f"{where}: {what}, expected another: add other chats")
        before, after = (sum(map(len, p.values())) for p in (places, found))
        if left := before - after:
            what = "rows of validation and test are left out"
            self.say(f"{self.name}: {left:,} {what}: an earlier split has their prompt")
        return found

    def _share(self, key: bytes, number: int, kind: str) -> None:
        """Notes what a chat shares with an earlier one, or raises DataError."""
        earlier = self.seen.setdefault(key, number)
        self._check_apart(number, earlier, kind)
        self._check_apart(number, self.within.get(key, number), kind)
        if earlier == number:
            return
        if kind == "prompt":
            same = self.answer[number] == self.answer[earlier]
            (self.repeats if same else self.contradictions).append((earlier, number))
        self.same_as[self._root(number)] = self._root(earlier)

    def _check_apart(self, number: int, earlier: int, kind: str) -> None:
        """Raises DataError where a chat shares something with one of another split."""
        (split, _), (other, _) = (
            self.sources[self.source[n]] for n in (number, earlier)
        )
        if split != other and self.apart:
            word = "training" if other == "train" else other
            thing = "prompt" if kind == "prompt" else repr(self.group)
            raise DataError(
                f"{self._where(number)}: this {split} {thing} is also a {word} {thing} "
                f"({self._where(earlier)}), expected splits that share none: remove "
                "one of the two"
            )

    def _root(self, number: int) -> int:
        """The earliest chat that one shares something with, through others too."""
        while (earlier := self.same_as[number]) != number:
            self.same_as[number] = self.same_as[earlier]
            number = earlier
        return number

    def _rows(self, number: int) -> range:
        """The rows of a chat."""
        return range(self.first[number], self.first[number + 1])

    def _rows_of(self, chats: Iterable[int]) -> list[int]:
        """The rows of several chats."""
        return [row for number in chats for row in self._rows(number)]

    def _where(self, number: int) -> str:
        """ "path:line" of a chat."""
        return f"{self.sources[self.source[number]][1]}:{self.line[number]}"


def _number(key: bytes) -> int:
    """Seven of a key's bytes, as an array of numbers holds them."""
    return int.from_bytes(key[:7])
