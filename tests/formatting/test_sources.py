"""Files as people have them: whatever wrote them, the same examples, or a clear no."""

import bz2
import gzip
import io
import json
import lzma
import shutil
import zipfile

import pyarrow as pa
import pytest
from datasets import Dataset, DatasetDict, Features, Json, List
from pyarrow import feather, parquet

from helpers.formatting.examples import (
    check_file,
    find_repeats,
    read_examples,
)
from helpers.formatting.lines import DataError
from helpers.formatting.sources import Source
from helpers.formatting.splits import load_splits

ROWS = [
    {"prompt": f"Where is Zoë's lamp {i}?", "completion": f"shelf\n{i}, é"}
    for i in range(12)
]
JSONL = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS)
TABLE = '"Where is Zoë\'s lamp {0}?"{1}"shelf\n{0}, é"\n'


def table(delimiter, end="\n"):
    """ROWS as a table."""
    rows = "".join(TABLE.format(i, delimiter) for i in range(12))
    return f"prompt{delimiter}completion\n{rows}".replace("\n", end)


def packed(module):
    return module.compress(JSONL.encode())


TEXTS = {
    "a.json": (json.dumps(ROWS).encode(), ""),
    "indented.json": (json.dumps(ROWS, indent=2).encode(), ""),
    "marked.json": (json.dumps(ROWS, indent=1).encode("utf-8-sig"), ""),
    "a.jsonl.gz": (packed(gzip), ""),
    "a.jsonl.bz2": (packed(bz2), ""),
    "a.jsonl.xz": (packed(lzma), ""),
    "a.csv.gz": (gzip.compress(table(";").encode()), "parted by ';'"),
    "utf16.jsonl": (JSONL.encode("utf-16"), "read as utf-16"),
    "no_mark.jsonl": (JSONL.encode("utf-16-le"), "read as utf-16-le"),
    "windows.jsonl": (JSONL.encode("cp1252"), "read as cp1252 (Windows), such as 'Zoë"),
    "excel.csv": (table(";", "\r\n").encode("cp1252"), "parted by ';', not by ','"),
    "sep.csv": (b"sep=;\n" + table(";").encode(), "parted by ';'"),
    "tabs.csv": (table("\t").encode(), "parted by tabs, not by ','"),
    "bar.csv": (table("|").encode(), "parted by '|'"),
    "commas.tsv": (table(",").encode(), "parted by ',', not by tabs"),
    "unicode.txt": (table("\t").encode("utf-16"), "read as utf-16"),
    "lines.txt": (JSONL.encode(), ""),
}


@pytest.mark.parametrize("name", TEXTS)
def test_a_text_is_read_and_what_was_detected_is_said(tmp_path, capsys, name):
    raw, note = TEXTS[name]
    path = tmp_path / name
    path.write_bytes(raw)
    assert [
        {k: v.replace("\r", "") for k, v in r.items()} for r in read_examples(path)
    ] == ROWS
    said = capsys.readouterr().err
    assert note in said and bool(note) == bool(said)
    report = check_file(path)
    assert (report.read, report.errors) == (12, [])
    assert note in "".join(report.notes) and note in str(report)


def test_empty_columns_of_a_spreadsheet_are_none(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("prompt;completion;;\na;b;;\nc;d;;x\n")
    report = check_file(path)
    assert (report.read, report.refused) == (1, 1)
    assert report.errors == [f"{path}:3: 4 field(s), expected 2 (prompt, completion)"]


def test_lines_that_end_as_on_old_macs(tmp_path, capsys):
    path = tmp_path / "mac.csv"
    path.write_bytes(b"prompt,completion\ra,b\rc,d\r")
    assert [e["completion"] for e in read_examples(path)] == ["b", "d"]
    assert "lines end in CR" in capsys.readouterr().err


@pytest.mark.parametrize(
    "raw",
    [
        "prompt;completion\nzażółć gęślą jaźń;b\n".encode("cp1250"),
        "prompt;completion\nПривет, как дела;b\n".encode("cp1251"),
        "prompt;completion\nțară și învățat;b\n".encode("cp1250", "replace")
        + b"x\xfey;b",
        "prompt;completion\né;b\n".encode() + "é;c\n".encode("cp1252"),
    ],
)
def test_what_may_be_another_encoding_is_not_guessed(tmp_path, raw):
    path = tmp_path / "a.csv"
    path.write_bytes(raw)
    assert any("is not UTF-8, expected" in error for error in check_file(path).errors)


def test_the_line_of_an_element_of_a_list(tmp_path):
    rows = [ROWS[0], {"prompt": "x"}, 7, ROWS[1]]
    path = tmp_path / "a.json"
    path.write_text(json.dumps(rows, indent=1), encoding="utf-8")
    report = check_file(path)
    assert (report.read, report.refused) == (2, 2)
    assert report.errors[0].startswith(f'{path}:6: the fields are "prompt"')
    assert report.errors[1].startswith(f"{path}:9: 7 is not an object")
    path.write_text(json.dumps(rows)[:-9], encoding="utf-8")
    assert "the rest of the list is not read" in check_file(path).errors[-1]
    path.write_text(json.dumps(ROWS) + "{}", encoding="utf-8")
    assert "more follows the list" in check_file(path).errors[0]


def test_a_list_longer_than_a_piece_is_read_whole(tmp_path, monkeypatch):
    monkeypatch.setattr("helpers.formatting.readers.CHUNK", 7)
    path = tmp_path / "a.json"
    path.write_text(json.dumps(ROWS, indent=1, ensure_ascii=False), encoding="utf-8")
    assert read_examples(path) == ROWS


@pytest.mark.parametrize(
    "text, error",
    [
        ("[{0},{0},]", ""),  # as some editors leave it
        ("[{0},{0}]", ""),
        ("[{0}\n{0}]", "2: 0 commas stand before this object, expected 1"),
        ("[{0},\n,{0}]", "2: 2 commas stand before this object, expected 1"),
        ("[,{0}]", "1: 1 commas stand before this object, expected 0"),
        ("[{0},,]", "1: 2 commas stand before the ], expected none"),
        ("[,]", "1: 1 commas stand before the ], expected none"),
    ],
)
@pytest.mark.parametrize("chunk", [1, 2, 7, 2**20])
def test_one_comma_parts_two_objects(tmp_path, monkeypatch, text, error, chunk):
    monkeypatch.setattr("helpers.formatting.readers.CHUNK", chunk)
    path = tmp_path / "a.json"
    path.write_text(text.replace("{0}", '{"prompt": "a", "completion": "b"}'))
    report = check_file(path)
    assert report.errors == ([f"{path}:{error}"] if error else [])
    assert (report.refused, report.read == 2) == (bool(error), not error)


def foreign():
    sheet = io.BytesIO()
    with zipfile.ZipFile(sheet, "w") as archive:
        archive.writestr("xl/workbook.xml", "<x/>")
    return {
        "a.xlsx": (sheet.getvalue(), "save the sheet as CSV UTF-8"),
        "a.xls": (b"\xd0\xcf\x11\xe0" + bytes(20), "old Excel"),
        "a.zst": (b"\x28\xb5\x2f\xfd" + bytes(20), "zstd"),
        "cut.jsonl.gz": (packed(gzip)[:-20], "cannot be read"),
        "a.parquet": (b"PAR1" + bytes(20), "cannot be read"),
    }


@pytest.mark.parametrize("name", foreign())
def test_another_format_is_named_with_the_way_out(tmp_path, name):
    raw, what = foreign()[name]
    path = tmp_path / name
    path.write_bytes(raw)
    with pytest.raises(DataError, match="expected") as error:
        read_examples(path)
    assert what in str(error.value) and str(error.value).startswith(f"{path}:1: ")


@pytest.mark.parametrize("missing", ["train", "test/state.json", "test/*.arrow"])
def test_a_folder_that_is_not_whole_gets_one_line(tmp_path, missing):
    splits = {name: Dataset.from_list(ROWS) for name in ("train", "validation", "test")}
    DatasetDict(splits).save_to_disk(tmp_path)
    for path in tmp_path.glob(missing):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(DataError, match=r":1: cannot be read \(.*expected Parquet"):
        load_splits(tmp_path)


def test_a_row_that_datasets_cannot_read_is_named():
    def rows():
        yield ROWS[0]
        raise OSError("a picture is cut")

    class Broken:
        __iter__ = staticmethod(rows)
        __len__ = staticmethod(lambda: 2)

    with pytest.raises(DataError, match=r"hub:a/b#train:2: cannot be read \(a pict"):
        list(Source("hub:a/b#train", Broken()).records(print))


@pytest.mark.parametrize(
    ("cell", "read"),
    [
        (' "Shelf S1"', None),
        (' "so" he said', ' "so" he said'),
        ('" ""S1"""', ' "S1"'),
        (" S1", " S1"),
    ],
)
def test_a_space_before_a_quote_makes_it_part_of_the_field(tmp_path, cell, read):
    path = tmp_path / "a.csv"
    path.write_text(f"prompt, completion\nWhich?,{cell}\n")
    if read:
        assert read_examples(path)[0]["completion"] == read
    else:
        with pytest.raises(DataError, match=":2: a space stands before a quote"):
            read_examples(path)


def test_binary_tables_hold_the_same_rows(tmp_path):
    rows = pa.Table.from_pylist(ROWS)
    parquet.write_table(rows, tmp_path / "a.parquet")
    feather.write_feather(rows, tmp_path / "a.arrow")
    Dataset(rows).save_to_disk(tmp_path / "saved")
    (file,) = (tmp_path / "saved").glob("*.arrow")
    for path in (
        tmp_path / "a.parquet",
        tmp_path / "a.arrow",
        tmp_path / "saved",
        file,
    ):
        assert read_examples(path) == ROWS
    bad = pa.Table.from_pylist([*ROWS, {"prompt": "x", "completion": None}])
    parquet.write_table(bad, tmp_path / "bad.parquet")
    (error,) = check_file(tmp_path / "bad.parquet").errors
    assert error.startswith(f"{tmp_path / 'bad.parquet'}:13: message 2 has 'content'")


def test_messages_in_a_column_of_json(tmp_path):
    chat = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    rows = Dataset.from_list(
        [{"messages": chat}], features=Features({"messages": List(Json())})
    )
    rows.to_parquet(tmp_path / "a.parquet")
    quoted = json.dumps(chat).replace('"', '""')
    (tmp_path / "a.csv").write_text(f'id,messages\n1,"{quoted}"\n')
    for name in ("a.parquet", "a.csv"):
        assert check_file(tmp_path / name).read == 1


def parts():
    """ROWS in three splits."""
    rows = Dataset.from_list(ROWS)
    cut = {"train": range(8), "val": range(8, 10), "test": range(10, 12)}
    return DatasetDict({name: rows.select(places) for name, places in cut.items()})


def sizes(splits):
    return {name: len(rows) for name, rows in splits.items()}


def test_a_folder_that_datasets_saved(tmp_path):
    parts().save_to_disk(tmp_path / "three")
    whole = load_splits(tmp_path / "three", lines=True)
    assert sizes(whole) == {"train": 8, "validation": 2, "test": 2}
    assert whole["test"][1]["line"] == f"{tmp_path / 'three'}#test:2"
    parts()["train"].save_to_disk(tmp_path / "one")
    assert sizes(load_splits(tmp_path / "one")) == {
        "train": 6,
        "validation": 1,
        "test": 1,
    }


def test_a_name_on_the_hub_goes_to_datasets_as_it_is(monkeypatch):
    """No network here: what `load_dataset` is asked for, and what comes of it."""
    asked = []

    def load_dataset(*args, **options):
        asked.append((*args, options))
        return parts()["train"] if options["split"] else parts()

    monkeypatch.setattr("datasets.load_dataset", load_dataset)
    assert sizes(load_splits("hub:shop/tickets"))["train"] == 8
    assert sizes(load_splits("hub:shop/tickets/main@v1.2#train[:8]"))["train"] == 6
    assert asked == [
        ("shop/tickets", None, {"split": None, "revision": None}),
        ("shop/tickets", "main", {"split": "train[:8]", "revision": "v1.2"}),
    ]
    with pytest.raises(DataError, match="expected hub:OWNER/NAME"):
        load_splits("hub:tickets")
    monkeypatch.setattr("datasets.load_dataset", lambda *a, **o: 1 / 0)
    with pytest.raises(DataError, match="hub:a/b:1: cannot be loaded"):
        load_splits("hub:a/b")


def test_a_folder_without_a_split_is_told_which(tmp_path):
    for split in ("train", "val"):
        (tmp_path / f"{split}.csv").write_text(f"prompt,completion\n{split},x\n")
    with pytest.raises(DataError, match=r"no split test .*add a file such as test.csv"):
        load_splits(tmp_path)
    (tmp_path / "test.csv").write_text("prompt,completion\ntest,x\n")
    assert sizes(load_splits(tmp_path)) == {"train": 1, "validation": 1, "test": 1}


def test_shards_of_a_split_belong_together(tmp_path):
    for number, name in enumerate(
        ["train-00000-of-2", "train-00001-of-2", "test", "dev"]
    ):
        rows = pa.Table.from_pylist(ROWS[number : number + 1])
        parquet.write_table(rows, tmp_path / f"{name}.parquet")
    assert sizes(load_splits(tmp_path)) == {"train": 2, "validation": 1, "test": 1}


def test_a_shard_that_is_missing_is_told(tmp_path):
    names = ["train-00000-of-00003", "train-00002-of-00003", "test", "dev"]
    for number, name in enumerate(names):
        rows = pa.Table.from_pylist(ROWS[number : number + 1])
        parquet.write_table(rows, tmp_path / f"{name}.parquet")
    with pytest.raises(DataError) as error:
        load_splits(tmp_path)
    what = "2 of 3 files of this split are there, expected all"
    assert str(error.value) == f"{tmp_path / names[1]}.parquet:1: {what}"
    rows = pa.Table.from_pylist(ROWS[4:5])
    parquet.write_table(rows, tmp_path / "train-00001-of-00003.parquet")
    assert sizes(load_splits(tmp_path))["train"] == 3


@pytest.mark.parametrize(
    "names, last",
    [
        (["train-00000-of-00002.jsonl", "train-00000-of-00002.jsonl.gz"], 1),
        (["train-00000-of-00002.jsonl", "train-0-of-2.jsonl"], 0),
        (["train-00000-of-00001.jsonl", "train-00001-of-00002.jsonl"], 1),
        (["train-00000-of-00003.jsonl", "train-00001-of-00002.jsonl"], 1),
        (["train.jsonl", "train-00001-of-00002.jsonl"], 0),
    ],
)
def test_two_files_of_one_shard_are_no_split(tmp_path, names, last):
    for number, name in enumerate([*names, "test.jsonl", "dev.jsonl"]):
        raw = json.dumps(ROWS[number]).encode()
        (tmp_path / name).write_bytes(gzip.compress(raw) if ".gz" in name else raw)
    with pytest.raises(DataError) as error:
        load_splits(tmp_path)
    other = f"{names[1 - last]} is there too, expected one"
    assert str(error.value) == f"{tmp_path / names[last]}:1: {other}"


def test_files_of_a_folder_that_are_not_read_are_said(tmp_path):
    for split in ("train", "val", "test"):
        (tmp_path / f"{split}.csv").write_text(f"prompt,completion\n{split},x\n")
    for name in ("README.md", ".gitattributes"):  # no examples in any folder
        (tmp_path / name).write_text("x")
    said = []
    load_splits(tmp_path, say=said.append)
    assert said == []
    others = ["Train.JSONL", "extra.csv", "train-2.csv", "train.jsonl.zst", "val.xlsx"]
    for name in others:
        (tmp_path / name).write_text("x")
    load_splits(tmp_path, say=said.append)
    (remark,) = said
    start, _, names = remark.rpartition(": ")
    assert start == f"{tmp_path}: 5 files are not read"
    assert sorted(names.split(", ")) == others


def test_splits_of_one_name_or_of_an_unknown_one(tmp_path):
    three = parts()
    DatasetDict(three | {"extra": three["test"]}).save_to_disk(tmp_path / "four")
    said = []
    load_splits(tmp_path / "four", say=said.append)
    assert said == [f"{tmp_path / 'four'}: 1 splits are not read: extra"]
    DatasetDict(three | {"dev": three["test"]}).save_to_disk(tmp_path / "twice")
    with pytest.raises(DataError) as error:
        load_splits(tmp_path / "twice")
    what = "two splits are validation (val, dev), expected one"
    assert str(error.value) == f"{tmp_path / 'twice'}:1: {what}"


def test_one_wrong_header_is_one_error(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("Question,Answer\n" + "a,b\n" * 30)
    report = check_file(path)
    (error,) = report.errors
    assert (report.refused, report.more[error]) == (30, 29)
    assert "(and 29 more lines like it)" in str(report)
    assert '--map "question=prompt,answer=completion"' in error
    assert check_file(path, columns={"Question": "prompt", "Answer": "completion"}).read


def test_a_file_of_text_alone_is_told_the_way_out(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "Question: a Answer: b"}\n')
    with pytest.raises(DataError, match="cut each text where the answer begins"):
        read_examples(path)


@pytest.mark.parametrize("header", ["Question,Answer", "prompt,completion"])
def test_repeats_need_no_known_columns(tmp_path, header):
    path = tmp_path / "a.csv"
    path.write_text(f"{header}\na,x\nb,y\n a ,x\nb,z\n")
    assert find_repeats(path) == [(2, 4), (3, 5)]
