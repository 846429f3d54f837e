"""Where the examples of each split come from: files, `datasets` folders, the Hub."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from helpers.formatting import columns
from helpers.formatting.lines import DataError, say
from helpers.formatting.opening import plain_suffix
from helpers.formatting.readers import iter_records

SPLITS = ("train", "validation", "test")
SAME = {"val": "validation", "valid": "validation", "dev": "validation"}
KINDS = (".jsonl", ".csv", ".tsv", ".json", ".tab", ".txt", ".parquet", ".arrow")
NO_DATA = ("", ".md", ".py")  # what may stand in a folder beside its examples
# train-00000-of-00002, as the Hub has it: the split, a number, how many there are.
SHARD = re.compile(r"(\w+?)(?:-(\d+)-of-(\d+))?")


@dataclass
class Source:
    """A file, or a Dataset in its place. name: what stands before a line's number."""

    name: str
    dataset: object = None

    def records(self, say: Callable) -> Iterator[tuple]:
        """(line, record) of every example, as `readers.iter_records` yields them."""
        if self.dataset is None:
            return iter_records(self.name, True, say)
        return columns.iter_dataset(self.dataset, self.name, True)


def find_sources(path, say: Callable = say) -> dict[str, list[Source]]:
    """The sources of train, validation and test; or {"": [...]}, to be divided.

    say: told which files or splits are not read.
    Raises DataError where one of several splits is missing, has two files, or not all.
    """
    name, path = str(path), Path(path)
    if name.startswith("hub:"):
        loaded = columns.load_hub(name)
    elif (path / columns.DICT).exists() or (path / columns.STATE).exists():
        loaded = columns.load_folder(path)
    else:
        return _files(path, say) if path.is_dir() else {"": [Source(name)]}
    if not isinstance(loaded, dict):
        return {"": [Source(name, loaded)]}
    if len(loaded) == 1:
        return {"": [Source(f"{name}#{s}", rows) for s, rows in loaded.items()]}
    there = {SAME.get(split, split): split for split in loaded}
    if len(there) < len(loaded):
        same = ", ".join(s for s in loaded if SAME.get(s, s) == "validation")
        raise DataError(f"{name}:1: two splits are validation ({same}), expected one")
    _check_complete(name, there)
    if others := [split for split in there if split not in SPLITS]:
        say(f"{name}: {len(others):,} splits are not read: {', '.join(others[:10])}")
    found = {split: there[split] for split in SPLITS}
    return {s: [Source(f"{name}#{old}", loaded[old])] for s, old in found.items()}


def _files(folder: Path, say: Callable) -> dict[str, list[Source]]:
    """The files of a folder, by split."""
    found, others = {}, []  # {split: {(number, total): its file}}
    for file in sorted(folder.iterdir(), key=lambda f: (_kind(f), f.name)):
        match = SHARD.fullmatch(file.name.partition(".")[0])
        split = match and SAME.get(match[1], match[1])
        if split in SPLITS and _kind(file) < len(KINDS):
            shards = found.setdefault(split, {})
            _add_shard(shards, (int(match[2] or 0), int(match[3] or 1)), file)
        elif file.suffix not in NO_DATA and file.is_file():
            others.append(file.name)
    for shards in found.values():
        (_, total), last = [*shards.items()][-1]
        if len(shards) != total:
            what = f"{len(shards)} of {total} files of this split are there"
            raise DataError(f"{last}:1: {what}, expected all")
    if others:
        say(f"{folder}: {len(others):,} files are not read: {', '.join(others[:10])}")
    _check_complete(folder, found)
    return {s: [Source(str(file)) for file in found[s].values()] for s in SPLITS}


def _add_shard(shards: dict, place: tuple[int, int], file: Path) -> None:
    """Notes a file of a split. Raises DataError where another takes its place.

    place: its number and their total. Files of two totals are two data sets.
    """
    for other, first in shards.items():
        if other == place or other[1] != place[1]:
            raise DataError(f"{file}:1: {first.name} is there too, expected one")
    shards[place] = file


def _kind(file: Path) -> int:
    """The place of a file's kind in KINDS, their number for another one."""
    suffix = plain_suffix(file)
    return KINDS.index(suffix) if suffix in KINDS else len(KINDS)


def _check_complete(name, there) -> None:
    """Raises DataError where a split is missing."""
    missing = [split for split in SPLITS if split not in there]
    if missing:
        known = ", ".join(map(str, there)) or "none"
        what = f"no split {' and no split '.join(missing)} (there: {known})"
        raise DataError(
            f"{name}:1: {what}, expected {', '.join(SPLITS)}: add a file such as "
            f"{missing[0]}.csv, or give one file, or one split, which is divided"
        )
