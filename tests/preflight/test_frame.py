"""The frame of preflight: what runs, what is reported, and the command."""

import json
from pathlib import Path

import pytest

from helpers.files import ROOT
from helpers.formatting import load_splits
from helpers.preflight import Finding, Report, all_checks, check, registry
from helpers.preflight.__main__ import main
from tests.preflight.made import pairs, splits


@pytest.fixture
def checks(monkeypatch):
    """Registers checks for one test, and no others."""
    monkeypatch.setattr(registry, "CHECKS", [])
    monkeypatch.setattr(registry, "DERIVED", {})
    monkeypatch.setattr(registry, "MODULES", ())
    return registry


def finding(code, level="warns"):
    return Finding(code, level, "a:1", "two of it", "one is enough", "take one out")


def test_a_check_runs_where_its_inputs_are_given(checks):
    @checks.check_of("needs-both", about="both")
    def both(tokenizer, splits):
        yield finding("needs-both")
        return "2 of them"

    @checks.check_of("can-do-without", about="one")
    def one(tokenizer, splits=None):
        assert splits is None
        yield from ()

    report = check(tokenizer="t", splits=None)
    assert report.not_run == {"needs-both": ["splits"]}
    assert report.checked == {"can-do-without": ""} and report.findings == []
    report = check(tokenizer="t", splits="s", only=["needs-both"])
    assert report.checked == {"needs-both": "2 of them"}
    assert report.codes == {"needs-both"}


def test_what_is_derived_is_made_once_and_says_what_it_lacks(checks):
    made = []

    @checks.derived
    def lengths(splits, tokenizer):
        made.append(splits)
        return len(splits)

    for code in ("first", "second"):

        @checks.check_of(code, about="lengths")
        def look(lengths):
            yield from ()
            return f"{lengths} rows"

    assert check(splits="s").not_run == {n: ["tokenizer"] for n in ("first", "second")}
    report = check(splits="abc", tokenizer="t")
    assert report.checked == {"first": "3 rows", "second": "3 rows"} and len(made) == 1


def test_an_input_that_nothing_knows_is_refused(checks):
    with pytest.raises(TypeError, match="no check takes 'tokeniser'"):
        check(tokeniser="t")


def test_a_check_cannot_find_what_it_does_not_name(checks):
    @checks.check_of("named", about="x")
    def look(splits):
        yield finding("other")

    with pytest.raises(AssertionError, match="named has no code other"):
        check(splits="s")


def test_a_report_says_all_of_it():
    report = Report([finding("a"), finding("b", "ruins")], {"a": "9 rows", "b": ""})
    report.not_run = {"c": ["model"]}
    assert [f.code for f in report.ruins] == ["b"]
    assert report.summary() == "2 checks: 2 findings, 1 of which ruins the run"
    text = str(report)
    for part in ("ruins: b, a:1", "two of it", "one is enough", "take one out"):
        assert part in text
    assert text.index("ruins: b") < text.index("warns: a")
    assert "checked: a (9 rows), b\nnot checked for want of model: c" in text
    assert list(report.table()["code"]) == ["a", "b"]
    assert Report().table().empty and "why" in Report().table().columns
    assert json.loads(report.to_json())["findings"][1]["mend"] == "take one out"


def test_few_rows_are_seen():
    report = check(splits=splits(train=pairs(49), test=pairs(19, 2000)))
    found = [f.where for f in report.findings if f.code == "too-few-rows"]
    assert found == ["train", "test"]
    assert report.checked["too-few-rows"] == "train 49, validation 20, test 19"
    assert "too-few-rows" not in check(splits=splits()).codes


@pytest.mark.slow
def test_the_command_finds_nothing_in_the_tickets(capsys):
    assert main(["--data", "data/tickets", "--profile", "tiny"]) == 0
    assert "0 findings" in capsys.readouterr().out


@pytest.mark.slow
def test_the_command_names_what_it_finds(tmp_path, capsys):
    rows = [{"prompt": f"How much is {n}?", "completion": f"{n}"} for n in range(9)]
    file = tmp_path / "nine.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert main(["--data", str(file), "--profile", "tiny", "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert "too-few-rows" in {f["code"] for f in report["findings"]}


def test_what_cannot_be_looked_at_is_one_line(tmp_path, capsys):
    assert main(["--data", str(tmp_path / "none.csv"), "--profile", "tiny"]) == 2
    assert capsys.readouterr().err.startswith("preflight: ")
    assert main(["--profiel", "tiny"]) == 2


def test_the_page_lists_every_check(capsys):
    """Changed a check? Put what `python -m helpers.preflight --list` prints there."""
    assert main(["--list"]) == 0
    table = capsys.readouterr().out
    page = (ROOT / "data" / "README.md").read_text(encoding="utf-8")
    assert f"\n\n{table}\n" in page
    codes = [code for one in all_checks() for code in one.codes]
    assert len(codes) == len(set(codes)) and all(f"`{code}`" in table for code in codes)


def test_every_check_has_a_test_of_what_it_finds():
    texts = [
        path.read_text("utf-8") for path in Path(__file__).parent.glob("test_*.py")
    ]
    codes = [code for one in all_checks() for code in one.codes]
    assert [code for code in codes if f'"{code}"' not in "".join(texts)] == []


GOOD = ("prompt_completion.jsonl", "messages.jsonl", "share_gpt.jsonl", "alpaca.csv")


@pytest.mark.parametrize("name", GOOD)
def test_nothing_but_few_rows_is_found_in_the_formats(name):
    report = check(splits=load_splits(ROOT / "data" / "formats" / name, lines=True))
    assert report.codes == {"too-few-rows"}
