"""Files that appear whole or not at all, and paths as others know them."""

import hashlib
import json
import os

import pytest

from helpers.files import ROOT, put_in_place, seal, shown, whole, write_json, write_text


def test_a_file_is_complete_or_absent(tmp_path):
    path = tmp_path / "made" / "course.json"
    with pytest.raises(TypeError):
        write_json(path, [object()])
    assert not path.exists()
    write_json(path, [{"lesson": "ä"}])
    assert json.loads(path.read_text("utf-8")) == [{"lesson": "ä"}]
    assert [p.name for p in path.parent.iterdir()] == ["course.json"]


@pytest.mark.parametrize(("mode", "half"), [("w", "half"), ("wb", b"half")])
def test_an_error_midway_leaves_the_old_file(tmp_path, mode, half):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError), whole(path, mode) as stream:
        stream.write(half)
        raise ZeroDivisionError
    assert path.read_text() == "old"


def test_a_power_cut_before_the_new_file_is_moved_leaves_the_old_one(
    tmp_path, monkeypatch
):
    def cut(*_):
        raise OSError("power cut")

    path = tmp_path / "a.txt"
    path.write_text("old")
    monkeypatch.setattr(os, "replace", cut)
    with pytest.raises(OSError, match="power cut"):
        write_text(path, "new")
    assert path.read_text() == "old"


def test_a_sealed_folder_takes_the_place_of_the_old_one(tmp_path):
    part = tmp_path / "v1.0.part"
    for folder in (part, tmp_path / "v1.0"):
        folder.mkdir()
        (folder / "a.txt").write_text(folder.name)
    part.joinpath("a.txt").chmod(0o600)
    seal(part)
    seal(part)  # its own sums are none of the files
    assert put_in_place(part) == tmp_path / "v1.0"
    assert [path.name for path in tmp_path.iterdir()] == ["v1.0"]
    digest = hashlib.sha256(b"v1.0.part").hexdigest()
    sums = (tmp_path / "v1.0" / "SHA256SUMS").read_text(encoding="utf-8")
    assert sums == f"{digest}  a.txt\n"
    assert (tmp_path / "v1.0" / "a.txt").stat().st_mode & 0o444 == 0o444


@pytest.fixture
def versions(tmp_path):
    """Folders v1, v1.part and v1.old, each with a file that names it."""
    for name in ("v1", "v1.part", "v1.old"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.txt").write_text(name)
    return tmp_path


def test_somebody_elses_old_folder_stays(versions):
    with pytest.raises(OSError, match="v1.old is in the way and is not sealed: move"):
        put_in_place(versions / "v1.part")
    seal(versions / "v1.old")  # theirs, and what is put in place is not sealed
    with pytest.raises(OSError, match="v1.old is in the way"):
        put_in_place(versions / "v1.part")
    (versions / "v1" / "a.txt").unlink()  # nothing is left that must wait there
    put_in_place(versions / "v1.part")
    found = {path.name: (path / "a.txt").read_text() for path in versions.iterdir()}
    assert found == {"v1": "v1.part", "v1.old": "v1.old"}


def test_the_old_folder_that_a_kill_left_goes(versions):
    for name in ("v1.part", "v1.old"):
        seal(versions / name)
    put_in_place(versions / "v1.part")
    assert [path.name for path in versions.iterdir()] == ["v1"]
    assert (versions / "v1" / "a.txt").read_text() == "v1.part"


def test_a_path_is_shown_without_the_folders_of_this_machine(tmp_path):
    assert shown(ROOT / "data" / "tickets") == "data/tickets"
    assert shown(tmp_path / "mine") == "mine"
    assert shown("owner/name") == "owner/name"
