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
SHARD = re.compile(r"(\w+?)(-\d+-of-(\d+))?")  # train-00000-of-00002, as the Hub has it


@dataclass
class Source:
    """A file, or a Dataset in its place. name: what stands before a line's number."""

    name: str
    dataset: object = None

    def records(self, say: Callable) -> Iterator[tuple]:
        """(line, record) of every example, as `readers.iter_records` yields them."""
        if self.dataset is None:
            return iter_records(self.name, True, say)
        return columns.iter_dataset(self.dataset, True)


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
    found, others = {}, []
    for file in sorted(folder.iterdir(), key=lambda f: (_kind(f), f.name)):
        stem = file.name.partition(".")[0]
        match = SHARD.fullmatch(stem)
        split = match and SAME.get(match[1], match[1])
        if split in SPLITS and _kind(file) < len(KINDS):
            files = found.setdefault(split, [])
            if files and not (match[2] and "-of-" in files[0].name):
                first = files[0].name
                raise DataError(f"{file}:1: {first} is there too, expected one")
            files.append(file)
        elif file.suffix not in NO_DATA and file.is_file():
            others.append(file.name)
    for files in found.values():
        match = SHARD.fullmatch(files[-1].name.partition(".")[0])
        if len(files) != (total := int(match[3] or 1)):
            what = f"{len(files)} of {total} files of this split are there"
            raise DataError(f"{files[-1]}:1: {what}, expected all")
    if others:
        say(f"{folder}: {len(others):,} files are not read: {', '.join(others[:10])}")
    _check_complete(folder, found)
    return {split: [Source(str(file)) for file in found[split]] for split in SPLITS}


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
