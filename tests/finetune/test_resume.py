"""The newest whole checkpoint is found, and one that is not whole is passed over."""

import json
import random

import pytest
import torch
from safetensors.torch import save_file

from helpers.finetune import checkpoints, last_checkpoint
from helpers.finetune.run_folder import RunFolder


def make_checkpoint(folder, step):
    path = folder / f"checkpoint-{step}"
    path.mkdir(parents=True)
    save_file({"w": torch.ones(100)}, path / "adapter_model.safetensors")
    for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth"):
        torch.save({"w": torch.ones(100)}, path / name)
    (path / "trainer_state.json").write_text(json.dumps({"global_step": step}))
    return path


def test_the_newest_whole_checkpoint_is_found(tmp_path):
    assert last_checkpoint(tmp_path) is None
    make_checkpoint(tmp_path, 9)
    newest = make_checkpoint(tmp_path, 10)  # a number, not a text: 10 is after 9
    (tmp_path / "checkpoint-x").mkdir()
    assert last_checkpoint(tmp_path) == newest


@pytest.mark.parametrize(
    "name",
    [
        "adapter_model.safetensors",
        "optimizer.pt",
        "scheduler.pt",
        "rng_state.pth",
        "trainer_state.json",
    ],
)
@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_a_truncated_checkpoint_is_passed_over(tmp_path, name, share):
    older, newest = make_checkpoint(tmp_path, 5), make_checkpoint(tmp_path, 10)
    data = (newest / name).read_bytes()
    (newest / name).write_bytes(data[: int(len(data) * share)])
    assert last_checkpoint(tmp_path) == older


@pytest.mark.parametrize("seed", range(5))
def test_a_flipped_byte_in_a_torch_file_is_seen(tmp_path, seed):
    newest = make_checkpoint(tmp_path, 10)
    file = newest / "optimizer.pt"
    data = bytearray(file.read_bytes())
    at = data.find(b"\x00\x00\x80?") + 4 * random.Random(seed).randrange(100)
    data[at] ^= 1
    file.write_bytes(bytes(data))
    assert last_checkpoint(tmp_path) is None


def test_what_cannot_be_read_at_the_moment_is_not_thrown_away(tmp_path, monkeypatch):
    folder = RunFolder(tmp_path)
    older, newest = (make_checkpoint(folder.checkpoints, step) for step in (5, 10))

    def fail(path):
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "read_whole", fail)
        with pytest.raises(OSError, match="Input/output"):
            folder.newest_whole()
    assert older.exists() and newest.exists()


def test_a_copy_of_a_checkpoint_is_left_alone(tmp_path):
    folder = RunFolder(tmp_path)
    newest = make_checkpoint(folder.checkpoints, 10)
    copy = newest.with_name("checkpoint-10-good")
    newest.rename(copy)
    assert folder.newest_whole() is None and copy.exists()
    make_checkpoint(folder.checkpoints, 5)
    assert folder.newest_whole().name == "checkpoint-5" and copy.exists()


def test_a_missing_file_is_seen(tmp_path):
    newest = make_checkpoint(tmp_path, 10)
    (newest / "optimizer.pt").unlink()
    assert last_checkpoint(tmp_path) is None
