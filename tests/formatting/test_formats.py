"""Every sample of data/formats is read or refused as its README says, and any other
file never ends in a traceback and never loses a line in silence."""

import csv
import errno
import io
import json
import os
import random
import re
import subprocess
import sys
import tracemalloc
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from helpers.files import ROOT
from helpers.formatting import columns, lines
from helpers.formatting.chats import to_messages
from helpers.formatting.examples import (
    ERRORS_KEPT,
    check_file,
    find_repeats,
    iter_chats,
    read_examples,
)
from helpers.formatting.lines import DataError
from helpers.formatting.opening import FOREIGN, MARKS, PACKED
from helpers.formatting.readers import iter_records
from helpers.formatting.splits import load_splits

FORMATS = ROOT / "data" / "formats"
ROW = re.compile(r"^\| `([\w.]+)` \| [^|]+ \| (\d+) \| (\d+) \| (.*?) ?\|$", re.M)
OUTCOMES = {
    name: (int(read), int(refused), error.strip("`"))
    for name, read, refused, error in ROW.findall(
        (FORMATS / "README.md").read_text(encoding="utf-8")
    )
}
WHOLE = [name for name, (read, _, error) in OUTCOMES.items() if read == 3 and not error]
GOOD_LINE = b'{"prompt": "a", "completion": "b"}\n'


def test_the_readme_lists_every_file():
    assert set(OUTCOMES) == {p.name for p in FORMATS.iterdir()} - {"README.md"}


def records(path):
    """The examples of a file, each read when it is asked for."""
    return (record for _, record, _ in iter_chats(path, iter_records(path)))


@pytest.mark.parametrize("name", OUTCOMES)
def test_a_sample_has_the_outcome_of_the_readme(name):
    path, (read, refused, error) = FORMATS / name, OUTCOMES[name]
    report = check_file(path)
    assert (report.read, report.refused) == (read, refused)
    assert bool(report.errors) == bool(error)
    if not error:
        assert len(read_examples(path)) == read
        return
    assert report.errors[0] == f"{path}:{error}"
    with pytest.raises(DataError) as raised:
        read_examples(path)
    assert str(raised.value) == report.errors[0]


@pytest.mark.parametrize("name", WHOLE)
def test_whole_samples_hold_the_same_chats(name):
    chats = [to_messages(e) for e in records(FORMATS / name)]
    assert chats == [to_messages(e) for e in records(FORMATS / "messages.jsonl")]
    assert len(chats) == 3 and "\n" in chats[1][0]["content"]


def test_git_keeps_the_bytes_of_the_samples():
    paths = [f"data/formats/{name}" for name in (*OUTCOMES, "README.md")]
    command = ["git", "check-attr", "text", "--", *paths]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        pytest.skip("no git repository here")
    values = [line.rsplit(": ", 1)[1] for line in done.stdout.splitlines()]
    assert values == ["unset"] * len(OUTCOMES) + ["set"]
    assert b"\r\n" in (FORMATS / "crlf.jsonl").read_bytes()
    assert (FORMATS / "byte_order_mark.jsonl").read_bytes().startswith(lines.BOM)


def test_a_system_text_and_an_input_become_part_of_the_chat():
    alpaca = {"instruction": "Sort.", "input": "x", "output": "y", "system": "Brief."}
    assert [m["content"] for m in to_messages(alpaca)] == ["Brief.", "Sort.\n\nx", "y"]
    turns = [{"from": "human", "value": "x"}, {"from": "gpt", "value": "y"}]
    chat = to_messages({"conversations": turns, "system": "Brief.", "id": 7})
    assert [m["role"] for m in chat] == ["system", "user", "assistant"]
    empty = {"instruction": "Sort.", "input": None, "output": "y", "system": ""}
    assert [m["content"] for m in to_messages(empty)] == ["Sort.", "y"]


@pytest.mark.parametrize(
    "bad, what",
    [
        ({"prompt": "a", "completion": "b", "history": [["x", "y"]]}, "'history' is"),
        ({"prompt": "a", "completion": "b", "tools": [1]}, "'tools' is"),
        ({"prompt": "a", "completion": "b", "images": ["x"]}, "'images' is"),
        (
            {"messages": [{"role": "user", "content": "a", "tool_calls": [1]}]},
            "message 1 (user) calls a tool",
        ),
        ({"instruction": " ", "output": "b"}, "'instruction' is empty"),
        ({"instruction": 3, "output": "b"}, "'instruction' is 3"),
        ({"conversations": "hi"}, "'conversations' is"),
        ({"conversations": [{"from": [], "value": "x"}]}, "turn 1 has 'from' = []"),
        ({"prompt": "a", "completion": None}, "message 2 has 'content' = null"),
        ({"prompt": "a", "completion": "\ud800"}, r"half a character (\ud800)"),
        ([], "[] is not an object"),
    ],
)
def test_what_would_be_lost_or_cannot_be_learnt_is_refused(bad, what):
    with pytest.raises(DataError) as error:
        to_messages(bad)
    assert what in str(error.value) and "expected" in str(error.value)


def test_other_keys_of_messages_do_not_reach_the_splits(tmp_path):
    """Else keys of two types would end in an error of Arrow, far from the file."""
    path = tmp_path / "a.jsonl"
    rows = []
    for i, extra in enumerate([1, "x", [2], None]):
        user = {"role": "user", "content": f"{i}", "weight": extra, "tool_calls": []}
        rows.append({"messages": [user, {"role": "assistant", "content": "b"}]})
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    assert set(load_splits(path)["train"][0]["prompt"][0]) == {"role", "content"}


def test_fields_that_an_arrow_table_fills_are_passed_over():
    row = {"messages": None, "prompt": "a", "completion": "b", "instruction": None}
    assert [m["content"] for m in to_messages(row)] == ["a", "b"]


def test_a_line_of_10_mb_is_read(tmp_path):
    long = "x" * 10_000_000
    for name, text in {
        "a.jsonl": json.dumps({"prompt": long, "completion": "b"}) + "\n",
        "a.csv": f'prompt,completion\n"{long}",b\n',
    }.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
        assert read_examples(tmp_path / name)[0]["prompt"] == long
        assert not check_file(tmp_path / name).errors


@pytest.mark.parametrize("suffix", ["jsonl", "csv"])
def test_a_longer_line_is_refused_and_never_held(tmp_path, monkeypatch, suffix):
    monkeypatch.setattr(lines, "MAX_RECORD", 2**16)
    path, line = tmp_path / f"a.{suffix}", GOOD_LINE
    with path.open("wb") as file:
        if suffix == "csv":
            line = b"a,b\n"
            file.write(b"prompt,completion\n")
        file.write(b"x" * 2**22 + b"\n" + line)
    report, peak = traced(check_file, path)
    number = 2 if suffix == "csv" else 1
    what = f"{path}:{number}: longer than 0.0625 MiB, expected a shorter record"
    assert (report.read, report.refused, report.errors) == (1, 1, [what])
    assert peak < 2**20


def traced(function, *args):
    """Return a result, and the peak of Python's memory over the start in bytes."""
    from tqdm.auto import tqdm  # noqa: F401  its first import is not the reader's

    tracemalloc.start()
    result = function(*args)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return result, peak


@pytest.mark.parametrize("suffix", ["jsonl", "csv"])
def test_memory_does_not_grow_with_the_file(tmp_path, suffix):
    """Eight times the file, the same memory: 1.4 MB in less than 0.3 MiB."""
    peaks = []
    for count in (10, 1_000, 8_000):  # the first imports what reading needs
        path = tmp_path / f"{count}.{suffix}"
        with path.open("w", encoding="utf-8", newline="") as file:
            if suffix == "csv":
                file.write("prompt,completion\n")
            for i in range(count):
                pair = {"prompt": f"question {i} " + "x" * 150, "completion": "b"}
                one = ",".join(pair.values()) if suffix == "csv" else json.dumps(pair)
                file.write(one + "\n")
        report, peak = traced(check_file, path)
        assert (report.read, report.refused) == (count, 0)
        peaks.append(peak)
        total, peak = traced(lambda p: sum(1 for _ in records(p)), path)
        assert total == count
        peaks.append(peak)
    assert max(peaks[2:]) < 0.3 * 2**20


def test_a_bar_shows_where_reading_takes_long(capsys):
    with lines.Bar(total=10, unit="row") as bar:
        bar.update(2)
        bar.write("said", file=sys.stderr)
        assert capsys.readouterr().err == "said\n"
        bar.start_t -= 60
        bar.update(4)
    assert "60%" in capsys.readouterr().err


@pytest.mark.parametrize("rows_a_group", [1_000, 20_000])
def test_memory_does_not_grow_with_a_table(tmp_path, rows_a_group):
    """Of 20 MB, in one piece or in twenty, Arrow holds 5 MiB at most."""
    chance, path = random.Random(0), tmp_path / "a.parquet"
    words = [chance.randbytes(500).hex() for _ in range(20_000)]
    table = pa.table({"prompt": words, "completion": ["b"] * len(words)})
    parquet.write_table(table, path, row_group_size=rows_a_group, use_dictionary=False)
    del table, words
    start = pa.total_allocated_bytes()
    held = [pa.total_allocated_bytes() - start for _ in records(path)]
    assert len(held) == 20_000 and path.stat().st_size > 10 * 2**20
    assert max(held) < 5 * 2**20


def test_a_file_of_errors_keeps_the_first_ones_only(tmp_path):
    path = tmp_path / "a.jsonl"
    bad = b"".join(b'{"%d": 1}\n' % number for number in range(5_000))
    path.write_bytes(bad + GOOD_LINE)
    report, peak = traced(check_file, path)
    assert (report.read, report.refused) == (1, 5_000)
    assert len(report.errors) == ERRORS_KEPT and peak < 0.3 * 2**20
    assert str(report).startswith(f"{path}: 1 read, 5,000 refused, 0 blank\n{path}:1:")
    what = "4,980 of 5,000 refused lines have other errors, which are not shown"
    assert report.lines[ERRORS_KEPT:] == [f"{path}: {what}"]
    path.write_bytes(b'{"a": 1}\n' * 30 + bad[: bad.index(b"\n") + 1])
    assert len(check_file(path).lines) == 2


def test_a_folder_and_a_missing_file_are_reported(tmp_path):
    for path, why in (
        (tmp_path, "it is a folder"),
        (tmp_path / "none.csv", "No such file or directory"),
        (tmp_path / "a\0b", "embedded null byte"),
    ):
        report = check_file(path)
        what = f"cannot be read ({why}), expected a JSON Lines, CSV or TSV file"
        assert report.errors == [f"{path}:1: {what}"]
        assert (report.read, report.refused, report.blank) == (0, 0, 0)
        with pytest.raises(DataError) as error:
            read_examples(path)
        assert [str(error.value)] == report.errors


def test_a_file_that_vanishes_before_it_is_read(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(GOOD_LINE)
    examples = records(path)
    path.unlink()
    with pytest.raises(DataError, match="No such file or directory"):
        next(examples)


@pytest.mark.skipif(os.name == "nt", reason="Windows keeps an open file")
def test_an_open_file_is_read_to_its_end(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(3 * GOOD_LINE)
    examples = records(path)
    next(examples)
    path.unlink()
    assert len(list(examples)) == 2


def test_a_file_that_vanishes_while_it_is_read(tmp_path, monkeypatch):
    """As on a network folder: the system says so, on any line."""

    class Vanishing(io.FileIO):
        def readline(self, size=-1):
            if self.tell() > len(GOOD_LINE):
                raise OSError(errno.ESTALE, "Stale file handle")
            return super().readline(size)

    path = tmp_path / "a.jsonl"
    path.write_bytes(3 * GOOD_LINE)
    monkeypatch.setattr(Path, "open", lambda self, mode: Vanishing(self, mode))
    report = check_file(path)
    assert report.read == 2
    what = "cannot be read (Stale file handle)"
    assert report.errors[0].startswith(f"{path}:3: {what}")
    with pytest.raises(DataError, match="Stale file handle"):
        read_examples(path)


def test_records_of_a_table_have_the_line_they_start_on(tmp_path):
    path = tmp_path / "a.csv"
    text = 'prompt,completion\n"one\n\ntwo",yes\n\n,\nthree\n"a ""b"", c",d\n'
    path.write_text(text, encoding="utf-8")
    found = list(iter_records(path))
    assert [line for line, _ in found] == [2, 5, 6, 7, 8]
    assert found[0][1] == {"prompt": "one\n\ntwo", "completion": "yes"}
    assert [record for _, record in found[1:3]] == [None, None]
    assert str(found[3][1]) == "1 field(s), expected 2 (prompt, completion)"
    assert found[4][1]["prompt"] == 'a "b", c'
    report = check_file(path)
    assert (report.read, report.refused, report.blank) == (2, 1, 2)


def test_a_header_is_checked_too(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes(b"prompt, prompt\na,b\n")
    twice = 'in the header, the key "prompt" stands there twice, expected it once'
    assert check_file(path).errors == [f"{path}:2: {twice}"]
    path.write_bytes(b"\xff\na,b\n")
    report = check_file(path)
    assert report.refused == 2 and "is not UTF-8" in report.errors[0]
    path.write_bytes(b"prompt,completion\n")
    assert "no example" in check_file(path).errors[0]


def test_repeats_are_named_by_both_lines(tmp_path):
    path = tmp_path / "a.jsonl"
    prompts = ["a b", "c", " a  b", "a B", "a b\n"]
    rows = [{"prompt": p, "completion": str(i)} for i, p in enumerate(prompts)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    assert find_repeats(path) == [(1, 3), (1, 5)]
    splits = load_splits(path)  # three prompts, one a split, equal ones together
    assert sorted(len(part) for part in splits.values()) == [1, 1, 3]


def test_splits_may_be_tables_and_share_no_prompt(tmp_path):
    for split in ("train", "validation", "test"):
        text = f"prompt,completion\n{split},x\nsame,y\n"
        (tmp_path / f"{split}.csv").write_text(text, encoding="utf-8")
    (tmp_path / "train.csv").write_text("prompt,completion\ntrain,x\n")
    with pytest.raises(DataError) as error:
        load_splits(tmp_path)
    assert f"{tmp_path / 'test.csv'}:3: this test prompt is also a validation" in str(
        error.value
    )
    (tmp_path / "test.csv").write_text("prompt,completion\ntest,x\n")
    assert len(load_splits(tmp_path)["validation"]) == 2
    (tmp_path / "train.jsonl").write_bytes(GOOD_LINE)
    with pytest.raises(DataError, match=r"train\.csv:1: train\.jsonl is there too"):
        load_splits(tmp_path)


# Property tests

TEXT = st.text(st.characters(codec=None), max_size=12)  # halves of characters too
LEAF = st.none() | st.booleans() | st.floats() | st.integers() | TEXT
VALUE = st.recursive(
    LEAF, lambda v: st.lists(v, max_size=3) | st.dictionaries(TEXT, v, max_size=3)
)
ROLE = st.sampled_from(["system", "user", "assistant", "human", "gpt", ""]) | VALUE
TURN = st.fixed_dictionaries(
    {}, optional={"role": ROLE, "content": VALUE, "from": ROLE, "value": VALUE}
)
TURNS = st.lists(TURN, max_size=4) | VALUE
RECORD = st.fixed_dictionaries(
    {},
    optional={
        **{"messages": TURNS, "conversations": TURNS, "prompt": TURNS | TEXT},
        **{"completion": TURNS | TEXT, "instruction": VALUE, "input": VALUE},
        **{"output": VALUE, "system": VALUE, "history": VALUE, "tools": VALUE},
    },
)
GOOD = st.builds(lambda a, b: {"prompt": a + "?", "completion": b + "!"}, TEXT, TEXT)
RAW = st.binary(max_size=30).map(lambda raw: raw.replace(b"\n", b""))
CUT = st.tuples(GOOD, st.integers(0, 30)).map(
    lambda pair: json.dumps(pair[0]).encode()[: pair[1]]
)
LINE = RAW | CUT | (RECORD | GOOD | VALUE).map(lambda value: json.dumps(value).encode())


def count_lines(raw):
    """Return how many lines bytes have; the last may lack its end."""
    return raw.count(b"\n") + (raw[-1:] not in (b"", b"\n"))


def is_plain(raw):
    """Whether nothing says that bytes are packed, of UTF-16 or 32, or an old Mac's."""
    begins = (*FOREIGN, *PACKED, *(mark for mark, _ in MARKS), *columns.MARKS)
    return not raw.startswith(begins) and b"\0" not in raw and b"\r" not in raw


def outcome(path):
    """Return (report, how many examples the strict reader gives or None)."""
    report = check_file(path)
    try:
        strict = len(read_examples(path))
    except DataError as error:
        assert str(error).startswith(f"{path}:") and "expected" in str(error)
        assert str(error) == report.errors[0]
        strict = None
    assert (strict is None) == bool(report.errors)
    return report, strict


@given(st.lists(LINE, max_size=8), st.sampled_from([b"\n", b"\r\n"]), st.booleans())
@example([b"[" * 2_000 + b"]" * 2_000, b'{"a": ' + b"1" * 5_000 + b"}"], b"\n", True)
@example([b'{"prompt": [[[' + b"[" * 900 + b"]" * 900 + b"]]]}"], b"\n", False)
@settings(deadline=None, max_examples=300)
def test_no_traceback_and_no_line_is_lost(tmp_path_factory, rows, end, ended):
    raw = end.join(rows) + (end if ended else b"")
    path = tmp_path_factory.getbasetemp() / "generated.jsonl"
    path.write_bytes(raw)
    report, strict = outcome(path)
    if is_plain(raw.replace(b"\r\n", b"\n")):
        assert report.read + report.refused + report.blank == count_lines(raw)
    assert strict in (None, report.read)


@given(st.binary(max_size=80), st.sampled_from(["jsonl", "csv", "tsv"]))
@settings(deadline=None, max_examples=200)
def test_any_bytes_end_in_a_report(tmp_path_factory, raw, suffix):
    path = tmp_path_factory.getbasetemp() / f"generated.{suffix}"
    path.write_bytes(raw)
    report, _ = outcome(path)
    if is_plain(raw):
        assert report.read + report.refused + report.blank <= count_lines(raw)


CELL = st.text(
    st.characters(codec="utf-8", exclude_characters="\0\r"), max_size=10
) | st.sampled_from(['"', '""', "a,b", "a\tb", "a\nb", "\n", " "])


@given(st.lists(st.tuples(CELL, CELL), max_size=8), st.sampled_from([",", "\t"]))
@settings(deadline=None, max_examples=200)
def test_every_record_of_a_table_is_counted(tmp_path_factory, rows, delimiter):
    suffix = "csv" if delimiter == "," else "tsv"
    path = tmp_path_factory.getbasetemp() / f"generated.{suffix}"
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, delimiter=delimiter, lineterminator="\n")
        table.writerows([("prompt", "completion"), *rows])
    report, _ = outcome(path)
    good = [row for row in rows if row[0].strip() and row[1].strip()]
    blank = [row for row in rows if not row[0].strip() and not row[1].strip()]
    assert (report.read, report.blank) == (len(good), len(blank))
    assert report.refused == len(rows) - len(good) - len(blank)
    if not report.errors:
        read = [(e["prompt"], e["completion"]) for e in read_examples(path)]
        assert read == good
