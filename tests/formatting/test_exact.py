"""A number in a call or in a tool's schema stays what it was, on every way there is."""

import json

import pytest
from datasets import Dataset, Features, Json, load_from_disk

from helpers.formatting.exact import exact_datasets
from helpers.formatting.splits import load_splits

NUMBERS = [1.7, 48.123456789012345, 1e-12, 2**64, -(2**70), 5e-324, 123456789012345678]
OTHERS = ["é/😀", "1.7", "[1.70]", True, None, {}, [{}], 1.0, -0.0]
GIVEN = {"of": [*NUMBERS, *OTHERS]}


@pytest.fixture
def path(tmp_path):
    rows = []
    for n in range(10):
        call = {"name": "f", "arguments": GIVEN}
        turns = [{"role": "user", "content": f"{n}"}]
        turns += [{"role": "assistant", "content": None, "tool_calls": [call]}]
        rows.append({"messages": turns, "tools": [{"name": "f", "parameters": GIVEN}]})
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def is_kept(rows):
    """Whether all rows hold what was given, to the last digit and type."""
    wanted = repr(GIVEN)
    calls = [row["completion"][0]["tool_calls"][0]["function"] for row in rows]
    tools = [row["tools"][0]["function"] for row in rows]
    found = [call["arguments"] for call in calls] + [t["parameters"] for t in tools]
    return len(found) > 0 and all(repr(one) == wanted for one in found)


def test_numbers_of_calls_and_tools_come_through_arrow(path):
    train = load_splits(path)["train"]
    assert is_kept(train) and is_kept(train.to_list())
    assert is_kept(train.map(lambda row: {"completion": row["completion"], "n": 1}))


def test_numbers_come_back_from_what_was_saved(path, tmp_path):
    train = load_splits(path)["train"]
    train.save_to_disk(tmp_path / "saved")
    train.to_parquet(tmp_path / "a.parquet")
    assert is_kept(load_from_disk(tmp_path / "saved"))
    cache = str(tmp_path / "cache")
    assert is_kept(Dataset.from_parquet(str(tmp_path / "a.parquet"), cache_dir=cache))
    for name in ("saved", "a.parquet"):
        assert is_kept(load_splits(tmp_path / name)["train"])


def test_what_python_refuses_is_left_to_datasets():
    """Dates and NaN are written as before, for whoever else uses the package."""
    assert exact_datasets() is exact_datasets()
    rows = Dataset.from_list(
        [{"a": {"x": float("nan")}}, {"a": [1.7]}, {"a": "text"}],
        features=Features({"a": Json()}),
    )
    assert rows["a"][:] == [{"x": None}, [1.7], "text"]
