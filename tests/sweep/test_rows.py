"""Rows of measurements: written one by one, resumed, in order, within the time."""

import json

import pytest

from helpers import environment
from helpers.course import ledger
from helpers.sweep import rows
from helpers.sweep.rows import Budget, RowFile
from tests.sweep.clocked import Clock, contents, part


@pytest.fixture
def clock():
    return Clock()


def test_rows_are_written_one_by_one_with_machine_and_versions(clock, tmp_path):
    log, one = [], part(clock, [])
    steps = rows.measured(one, RowFile("speed", tmp_path), one.rows, Budget(9, clock))
    next(steps)
    entry = contents(tmp_path, "speed")
    assert entry["rows"] == [{"row": 0, "found": 0}]
    assert entry["versions"]["torch"] and entry["machine"] == ledger.machine()
    assert log == [] and len(list(steps)) == 2


def test_what_is_there_is_not_measured_again(clock, tmp_path):
    log = []
    assert rows.measure([part(clock, log)], tmp_path, Budget(0.35, clock)) == 1
    assert log == [("speed", 0), ("speed", 1)]
    assert rows.measure([part(clock, log)], tmp_path, Budget(9, clock)) == 0
    assert log == [("speed", 0), ("speed", 1), ("speed", 2)]
    found = contents(tmp_path, "speed")["rows"]
    assert found == [{"row": n, "found": n * n} for n in range(3)]


def test_a_figure_that_is_called_error_is_no_failure(tmp_path):
    file = RowFile("memory", tmp_path)
    file.add({"batch": 1}, {"error": 0.02})
    file.add({"batch": 2}, {"error": "OutOfMemoryError: 8 GiB"})
    assert file.missing([{"batch": 1}, {"batch": 2}]) == [{"batch": 2}]


def test_nothing_begins_that_would_not_fit(clock, tmp_path, capsys):
    log = []
    parts = [
        part(clock, log, "first"),
        part(clock, log, "dear", first=40.0),
        part(clock, log, "cheap", takes=5.0),
    ]
    left = rows.measure(parts, tmp_path, Budget(1, clock))
    assert [name for name, _ in log] == ["first"] * 3 + ["cheap"] * 3
    assert left == 3 and clock.now == 45
    assert "dear: stopped, the next row needs 50 s, 30 s are left" in (
        capsys.readouterr().out
    )


def test_a_row_that_takes_longer_than_said_is_believed(clock, tmp_path):
    log = []
    slow = part(clock, log, takes=25.0, seconds=1.0)
    assert rows.measure([slow], tmp_path, Budget(1, clock)) == 1 and clock.now == 50


def test_a_row_that_fails_is_kept_with_its_error_and_tried_last(clock, tmp_path):
    log = []
    parts = [part(clock, log, "broken"), part(clock, log, "whole", 1)]
    assert rows.measure(parts, tmp_path, Budget(9, clock)) == 2
    assert log == [("broken", 0), ("broken", 1), ("whole", 0)]
    failed = contents(tmp_path, "broken")["rows"][1]
    assert failed == {"row": 1, "error": "RuntimeError: no memory"}
    log.clear()
    assert rows.measure(parts, tmp_path, Budget(9, clock)) == 1
    assert log == [("broken", 2), ("broken", 1)]


def test_two_at_once_lose_no_row_of_each_other(tmp_path):
    one, other = (RowFile("speed", tmp_path) for _ in range(2))
    one.add({"row": 0}, {"found": 0})
    other.add({"row": 1}, {"found": 1})
    one.add({"row": 0}, {"found": 2})
    found = [(row["row"], row["found"]) for row in contents(tmp_path, "speed")["rows"]]
    assert found == [(1, 1), (0, 2)]


def test_a_row_is_measured_if_all_its_settings_are_equal(tmp_path):
    wide, plain, timed = {"r": 16, "train_rows": 8}, {"r": 16}, {"cpu_budget": 2}
    file = RowFile("speed", tmp_path)
    for row in (wide, timed):
        file.add(row, {"updates": 3, "loss": 1})
    assert file.missing([wide, plain, timed]) == [plain]
    file.add(plain | {"updates": 9}, {"updates": 9, "loss": 2})
    again = RowFile("speed", tmp_path)
    assert len(again.entry["rows"]) == 3 and again.missing([wide, timed]) == []
    again.add(wide, {"updates": 3, "loss": 4})
    assert [row.get("loss") for row in again.entry["rows"]] == [1, 2, 4]


def test_in_an_older_file_settings_come_first(tmp_path):
    """Those of the course do not say which names are results."""
    file = RowFile("speed", tmp_path)
    file.add({"r": 16, "rows": 8, "scored": 4}, {"loss": 1})
    del file.entry["found"]
    file.path.write_text(json.dumps(file.entry), encoding="utf-8")
    there, other = {"scored": 4, "r": 16, "rows": 8}, {"r": 16, "scored": 4}
    older = RowFile("speed", tmp_path)
    assert older.missing([there, other]) == [other]
    older.add(other, {"loss": 2})
    assert len(older.entry["rows"]) == 2 and "found" not in older.entry


def test_a_row_of_other_versions_says_so(clock, tmp_path, monkeypatch):
    rows.measure([part(clock, [], count=1)], tmp_path, Budget(9, clock))
    now = environment.versions() | {"torch": "9.9"}
    monkeypatch.setattr(rows, "versions", lambda: now)
    rows.measure([part(clock, [], count=2)], tmp_path, Budget(9, clock))
    one, other = contents(tmp_path, "speed")["rows"]
    assert "versions" not in one and other["versions"] == {"torch": "9.9"}
    assert rows.measure([part(clock, [], count=2)], tmp_path, Budget(9, clock)) == 0
