"""From files of examples to splits that share no prompt.

Splits hold TRL's conversational prompt-completion format (TRL documentation, "Dataset
formats and types"), whose loss falls on the completion only.
"""

import random
from pathlib import Path

from helpers.formatting.chats import to_messages
from helpers.formatting.examples import iter_numbered, prompt_key
from helpers.formatting.lines import DataError

SPLITS = ("train", "validation", "test")


def load_splits(path, seed: int = 0):
    """A datasets.DatasetDict with train, validation and test.

    path: a folder with one file a split, named train, validation and test, or one file,
        which is shuffled with the seed and divided 80/10/10, equal prompts together.
    Columns: prompt (all messages but the last), completion (a list of the last one).
    Raises DataError as `read_examples` does, and where two splits share a prompt.
    """
    path = Path(path)
    if path.is_dir():
        files = {split: _split_file(path, split) for split in SPLITS}
        numbered = {split: list(iter_numbered(file)) for split, file in files.items()}
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


def _split_file(folder: Path, split: str) -> Path:
    """The file of a split. Raises DataError where there are two."""
    names = [f"{split}{suffix}" for suffix in (".jsonl", ".csv", ".tsv")]
    there = [folder / name for name in names if (folder / name).exists()]
    if len(there) > 1:
        raise DataError(f"{there[1]}:1: {there[0].name} is there too, expected one")
    return there[0] if there else folder / names[0]


def _divide(path: Path, seed: int) -> dict[str, list]:
    """Numbered examples of one file in three; at least one prompt for each."""
    same = {}  # no prompt may stand in two splits
    for line, example in iter_numbered(path):
        same.setdefault(prompt_key(example), []).append((line, example))
    groups = list(same.values())
    if len(groups) < 3:
        what = f"only {len(groups)} different prompt(s)"
        raise DataError(f"{path}:{groups[-1][-1][0]}: {what}, expected 3 or more")
    random.Random(seed).shuffle(groups)
    tenth = max(1, len(groups) // 10)
    parts = groups[2 * tenth :], groups[:tenth], groups[tenth : 2 * tenth]
    return {
        split: [row for group in part for row in group]
        for split, part in zip(SPLITS, parts, strict=True)
    }


def _check_leakage(numbered: dict[str, list], files: dict[str, Path]) -> None:
    """Raises DataError where a prompt stands in two splits."""
    seen = {}
    for split in SPLITS:
        for line, example in numbered[split]:
            other, first = seen.setdefault(prompt_key(example), (split, line))
            if other != split:
                word = "training" if other == "train" else other
                raise DataError(
                    f"{files[split]}:{line}: this {split} prompt is also a {word} "
                    f"prompt ({files[other]}:{first}), expected splits that "
                    "share none: remove one of the two"
                )
