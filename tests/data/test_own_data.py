"""The two data sets of lesson 12: reproducible, as messy as the card says."""

import csv
import hashlib
import io
import json
import re
from collections import Counter

import pytest

from data import make_tickets
from data.recipes import held_out_messages, own_data
from helpers import run_command
from helpers.files import ROOT
from helpers.formatting import check_file, load_splits, parse_map

FOLDER = ROOT / "data" / "own"
CARD = (ROOT / "data" / "README.md").read_text(encoding="utf-8")
FILES = own_data.files()
SHEET = [
    *csv.DictReader(io.StringIO(FILES["letters.csv"].decode("cp1252")), delimiter=";")
]
EXPORT = [json.loads(line) for line in FILES["replies.jsonl"].decode().splitlines()]
TOPICS = own_data.read_phrases("replies")["topics"]


@pytest.mark.parametrize("maker", [make_tickets, held_out_messages, own_data])
def test_a_maker_writes_nothing_where_it_does_not_know_a_flag(maker, monkeypatch):
    def write(*_):
        raise RuntimeError("it wrote")

    for name in {"write_splits", "write_text", "whole"} & vars(maker).keys():
        monkeypatch.setattr(maker, name, write)
    assert run_command("maker", maker.main, ["--all"]) == 2
    with pytest.raises(RuntimeError, match="it wrote"):
        maker.main([])


def test_the_recipe_makes_the_committed_bytes():
    there = {path.name: path.read_bytes() for path in FOLDER.iterdir()}
    assert there == FILES


@pytest.mark.parametrize("name", FILES)
def test_the_card_has_their_sums(name):
    assert f"{hashlib.sha256(FILES[name]).hexdigest()}  {name}" in CARD


def test_the_sheet_is_as_excel_writes_it():
    report = check_file(FOLDER / "letters.csv")
    assert "cp1252" in str(report) and "parted by ';'" in str(report)
    names = parse_map("Letter=prompt,Department=completion")
    report = check_file(FOLDER / "letters.csv", columns=names)
    unsorted = sum(row["Department"] == "" for row in SHEET)
    assert report.refused == unsorted > 10
    assert f"{len(SHEET)} letters of {own_data.CUSTOMERS} customers" in CARD


def test_four_departments_in_more_spellings():
    typed = {row["Department"] for row in SHEET} - {""}
    assert len(typed) > 10
    assert {name.strip().capitalize() for name in typed} == {
        *("Workshop", "Dispatch", "Accounts", "Counter")
    }


def test_who_writes_again_says_the_same():
    by_customer = {}
    for row in SHEET:
        by_customer.setdefault(row["Customer no."], []).append(row["Letter"])
    several = [texts for texts in by_customer.values() if len(texts) > 1]
    assert len(several) > 100 and len(by_customer) == own_data.CUSTOMERS
    for texts in several:
        first, *later = sorted(texts, key=len)
        assert all(text.endswith(first) for text in later)


def test_a_reply_promises_the_time_of_its_topic_and_copies_the_rest():
    assert len({*TOPICS.values()}) == len(TOPICS)
    found = Counter()
    for row in EXPORT:
        topic, time = re.match(r"subject: (\w+), within (.+)\n", row["reply"]).groups()
        assert TOPICS[topic] == time
        found[topic] += 1
        name = re.search(r"\n(?:Dear|Hello|Good day) (\S+),", row["reply"])[1]
        assert name in row["mail"]
        for number in re.findall(r"\b[A-Z]{1,2}\d{3,5}\b", row["reply"]):
            assert number in row["mail"]
    assert min(found.values()) > 50
    assert f"{len(EXPORT)} mails" in CARD


def test_the_same_reply_hardly_comes_twice():
    bare = Counter(re.sub(r"\S*\d\S*", "", row["reply"]) for row in EXPORT)
    assert max(bare.values()) == 1


def test_the_readers_take_the_export():
    names = parse_map("mail=prompt,reply=completion")
    splits = load_splits(FOLDER / "replies.jsonl", columns=names)
    assert splits.num_rows == {"train": 480, "validation": 60, "test": 60}
