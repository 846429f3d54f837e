"""Columns of other names than the formats have: `--map "question=prompt,..."`."""

from collections.abc import Mapping

from helpers.formatting.chats import KNOWN
from helpers.formatting.lines import DataError, short


def rename(record: dict, names: Mapping[str, str]) -> dict:
    """The fields of a record that are named {column: field}. Raises DataError."""
    for column in names:
        if column not in record:
            there = ", ".join(map(short, list(record)[:6])) or "none"
            raise DataError(f"the fields are {there}, expected {column!r}")
    return {field: record[column] for column, field in names.items()}


def parse_map(text: str | None) -> dict[str, str] | None:
    """{column: field} of "question=prompt,answer=completion", None of "".

    A comma before the next "=" belongs to the name of the column. Raises DataError.
    """
    if not text:
        return None
    pairs, begun = [], ""
    for part in text.split(","):
        if "=" in part:
            pairs.append((begun + part).rpartition("="))
            begun = ""
        else:
            begun += f"{part},"
    if begun:
        pairs.append(begun[:-1].rpartition("="))
    names = {column.strip(): field.strip() for column, _, field in pairs}
    for column, field in names.items():
        if not column or field not in KNOWN:
            what = f"--map names {short(f'{column}={field}')}"
            raise DataError(f"{what}, expected COLUMN=FIELD: {', '.join(KNOWN)}")
    if len({*names.values()}) < len(pairs):
        raise DataError(f"--map names a field or column twice in {short(text)}")
    return names
