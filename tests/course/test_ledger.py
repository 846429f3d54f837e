"""README and lessons quote the ledger, and the ledger is what a run measured."""

import base64
import json
import os
from math import ceil

import pytest

from helpers import UserError, run_command
from helpers.course import ledger
from helpers.course.lessons import CARDS
from helpers.files import ROOT

ROW = {
    "lesson": "00_start_here",
    "profile": "tiny",
    "seconds": 41.2,
    "peak_rss_mib": 1234.5,
    "figures": {
        "base_exact_match": 0.0,
        "tuned_exact_match": 0.7525,
        "training_seconds": 12.3,
    },
}


def test_every_lesson_is_in_the_ledger():
    lessons = {path.stem for path in (ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb")}
    assert {e["lesson"] for e in ledger.read_ledger() if e["profile"] == "tiny"} == (
        lessons
    )


def test_readme_and_lessons_quote_the_committed_ledger(copy):
    ledger.quote(ledger.read_ledger(), copy)
    for path in (ROOT / "README.md", *(ROOT / "notebooks").glob("*.ipynb")):
        quoted = copy / path.relative_to(ROOT)
        assert quoted.read_text("utf-8") == path.read_text("utf-8"), path.name


def test_another_figure_would_be_seen(copy):
    ledger.store([ROW], copy / "results")
    ledger.quote(ledger.read_ledger(copy / "results"), copy)
    assert "75.2%" in (copy / "README.md").read_text("utf-8")
    assert "41 s, 1,234 MiB" in (copy / "notebooks/00_start_here.ipynb").read_text()
    assert "not yet" in (copy / "notebooks/03_finetune_with_lora.ipynb").read_text()


def test_what_is_predicted_is_quoted_until_it_is_measured(tmp_path):
    ledger.predict(tmp_path)
    kept = (ledger.RESULTS / ledger.PREDICTED).read_text("utf-8")
    assert (tmp_path / ledger.PREDICTED).read_text("utf-8") == kept, "make pages"
    rows = json.loads(kept)
    lessons = {path.stem for path in (ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb")}
    asked = [(lesson, profile) for profile in CARDS for lesson in sorted(lessons)]
    assert [(row["lesson"], row["profile"]) for row in rows] == asked
    line = ledger.measured_line("00_start_here", ledger.read_ledger(tmp_path))
    row = rows[0]
    said = (
        f"`gpu-16gb` (T4) {ceil(row['minutes'])} min, {ceil(row['gib'])} GiB; `gpu-24"
    )
    assert f"not yet. **Predicted, not measured**: {said}" in line
    ledger.store([ROW | {"profile": "gpu-16gb"}], tmp_path)
    line = ledger.measured_line("00_start_here", ledger.read_ledger(tmp_path))
    assert line.count("gpu-16gb") == 1 and "`gpu-16gb` on a" in line
    assert "41 s, 1,234 MiB. **Predicted, not measured**: `gpu-24gb` (L4)" in line


def test_equal_predictions_keep_their_time(tmp_path):
    """A page takes no run that began before a file that its lesson reads."""
    files = [tmp_path / ledger.PREDICTED, tmp_path / ledger.BY_CARD]
    ledger.predict(tmp_path)
    files[0].write_text("[]\n", encoding="utf-8")
    for file in files:
        os.utime(file, (0, 0))
    ledger.predict(tmp_path)
    assert [file.stat().st_mtime == 0 for file in files] == [False, True]
    assert files[0].stat().st_size > 1000


def test_a_row_is_stored_with_machine_and_versions(tmp_path):
    ledger.store([ROW], tmp_path)
    (entry,) = ledger.read_ledger(tmp_path)
    assert entry | ROW == entry
    assert entry["versions"]["torch"].startswith("2.13.0")
    assert entry["machine"]["device"]


@pytest.mark.parametrize("profile", ["small", "tiny"])
@pytest.mark.parametrize("ran", ["03_finetune_with_lora", "00_start_here"])
def test_the_picture_of_the_readme_is_that_of_a_real_model(tmp_path, profile, ran):
    """What another run left in the folder may be of the tiny one."""
    [[lesson, cell]] = ledger.PICTURES
    kept = (profile, ran) == ("small", lesson)
    output = {"data": {"image/png": base64.b64encode(b"drawn").decode()}}
    book = {"cells": [{"id": cell, "outputs": [output]}]}
    (tmp_path / "notebooks").mkdir()
    (tmp_path / f"notebooks/{lesson}.ipynb").write_text(json.dumps(book))
    row = ROW | {"lesson": ran, "profile": profile}
    (tmp_path / "course.json").write_text(json.dumps([row]))
    ledger.keep(tmp_path, tmp_path)
    picture = tmp_path / "before_after.png"
    assert picture.exists() == kept and (not kept or picture.read_bytes() == b"drawn")


@pytest.mark.parametrize(
    ("other", "says"),
    [
        ({"parameters": {"TRAIN_ROWS": 64}}, "other parameters, {'TRAIN_ROWS': 64}"),
        ({"profile": "auto"}, "run it with --profile and a name"),
    ],
)
def test_a_run_that_is_not_everybody_s_is_not_kept(tmp_path, other, says):
    (tmp_path / "course.json").write_text(json.dumps([ROW, ROW | other]))
    with pytest.raises(UserError, match=f"course.json: 00_start_here .*{says}"):
        ledger.keep(tmp_path, tmp_path / "results")
    assert not (tmp_path / "results").exists()


def test_without_a_run_there_is_one_line_and_exit_code_2(tmp_path, capsys):
    assert run_command("ledger", ledger.main, ["--run", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert "make course" in said and said.count("\n") == 1


@pytest.mark.slow
def test_this_run_measures_what_the_ledger_says(course_run):
    """Exact match is the same on the same machine; another CPU may round otherwise."""
    for entry in ledger.read_ledger():
        if entry["profile"] != "tiny":
            continue
        now = course_run.rows[entry["lesson"]]["figures"]
        assert now.keys() == entry["figures"].keys()
        for name, value in entry["figures"].items():
            if name.endswith("exact_match"):
                assert now[name] == pytest.approx(value, abs=0.03), json.dumps(now)
