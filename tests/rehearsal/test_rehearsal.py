"""Every lesson runs to its end on every GPU profile, and nothing of it never runs.

No GPU is here: `stage` says what is real. A lesson that fails, holds two copies of a
base, trains 16-bit weights, breaks a claim, or has a branch that no run took is named
with its cell.
"""

import json
import os
import subprocess
import sys

import pytest

from helpers.files import ROOT
from tests.rehearsal import stage
from tests.rehearsal.play import lessons

PROFILES = [*stage.DEVICES, "tiny"]
NOTEBOOKS = {path.stem: path for path in lessons([])}
SECONDS = 900  # a run at most; a machine may be busy


@pytest.fixture(scope="session")
def reports(made_once):
    """{profile: {lesson: what happened}}: what `play` reports."""

    def make(folder):
        env = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "0"}
        for profile in PROFILES:
            report = folder / f"{profile}.json"
            command = [sys.executable, "-m", "tests.rehearsal.play", profile]
            with open(folder / f"{profile}.txt", "w", encoding="utf-8") as log:
                subprocess.run(
                    [*command, "--report", report],
                    cwd=ROOT,
                    env=env,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    timeout=SECONDS,
                )

    folder = made_once("rehearsal", make)
    files = {profile: folder / f"{profile}.json" for profile in PROFILES}
    return {p: json.loads(f.read_text(encoding="utf-8")) for p, f in files.items()}


@pytest.mark.slow
@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("lesson", NOTEBOOKS)
def test_a_lesson_runs_to_its_end(reports, profile, lesson):
    report = reports[profile][lesson]
    assert report["error"] is None, report["error"]
    assert report["faults"] == []
