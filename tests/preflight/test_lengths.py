"""Checks on rows as tokens: what a template refuses, what a limit cuts."""

from functools import partial
from types import SimpleNamespace

import pytest

from helpers.config import load_profile
from helpers.models import load_tokenizer
from helpers.preflight import check
from tests.preflight.made import found, pairs, splits

look = partial(check, only=("refused-rows", "cut-answers"))


@pytest.fixture(scope="module")
def tokenizer():
    return load_tokenizer(load_profile("tiny"))


def limit(tokens):
    """Arguments with this limit."""
    return SimpleNamespace(max_length=tokens)


def test_nothing_is_found_where_all_rows_fit(tokenizer):
    for arguments in (limit(256), limit(None)):
        report = look(splits=splits(), tokenizer=tokenizer, arguments=arguments)
        assert report.findings == [] and len(report.checked) == 2
    assert report.checked["cut-answers"].startswith("100 rows, the longest has ")
    needs = {"tokenizer", "arguments"}
    assert set(look(splits=splits()).not_run["cut-answers"]) == needs


def test_what_a_limit_cuts(tokenizer):
    rows = pairs(60)
    rows[4] = (rows[4][0], "It is there. " * 60)
    given = {"splits": splits(rows), "tokenizer": tokenizer}
    one = found(look(**given, arguments=limit(256)), "cut-answers")
    assert (one.level, one.where) == ("warns", "train.jsonl:5")
    assert "spoils 1 of 60 train rows (1 words lost)" in one.what
    needed = int(one.mend.split(": {max_length: ")[1].split("}")[0])
    assert look(**given, arguments=limit(needed)).findings == []
    assert look(**given, arguments=limit(needed - 1)).findings != []
    report = look(**given, arguments=limit(20))
    assert {f.level for f in report.findings} == {"ruins"}  # of train and validation


def test_what_the_template_does_not_take(tokenizer):
    rows = pairs(60)
    rows[2] = (f"<|end|> {rows[2][0]}", rows[2][1])
    report = look(splits=splits(rows), tokenizer=tokenizer, arguments=limit(256))
    one = found(report, "refused-rows")
    assert (one.level, one.where) == ("ruins", "train.jsonl:3")
    assert "holds '<|end|>', a special token" in one.what and "take it out" in one.mend
    assert report.checked["refused-rows"].startswith("40 rows")
