"""A training run that is killed and started again ends as if nothing had happened."""

import json
import random
import signal
import time

import pytest
import torch
from safetensors.torch import load_file

from helpers.finetune import last_checkpoint
from tests.warm import Program


def start(folder):
    said = folder.with_name(f"{folder.name}-said")
    return Program(said, "tests.finetune.resumable_run", folder)


def kill_when(program, ready, timeout=120):
    """SIGKILL a program as soon as ready() holds; False where it ended before."""
    end = time.monotonic() + timeout
    while not ready():
        if not program.runs():
            return False
        assert time.monotonic() < end, "the run did not come so far"
        time.sleep(0.001)
    program.send(signal.SIGKILL)
    program.wait()
    return True


def final(folder):
    return load_file(folder / "final" / "adapter_model.safetensors")


@pytest.mark.slow
def test_a_killed_run_ends_like_an_uninterrupted_one(tmp_path):
    straight, killed = tmp_path / "straight", tmp_path / "killed"
    assert start(straight).wait().returncode == 0
    # In the middle of a checkpoint: its folder is there, its last file is not.
    run = killed / "run"
    assert kill_when(start(killed), lambda: (run / "checkpoint-2").is_dir())
    # Some time after a later checkpoint.
    later = start(killed)
    assert kill_when(later, lambda: (run / "checkpoint-6/trainer_state.json").exists())
    assert not (killed / "final").exists()
    assert start(killed).wait().returncode == 0
    expected, got = final(straight), final(killed)
    assert expected.keys() == got.keys()
    assert all(torch.equal(expected[name], got[name]) for name in expected)
    assert any(w.abs().max() > 0 for name, w in got.items() if "lora_B" in name)


def make_checkpoint(folder, step):
    path = folder / f"checkpoint-{step}"
    path.mkdir(parents=True)
    from safetensors.torch import save_file

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


def test_a_missing_file_is_seen(tmp_path):
    newest = make_checkpoint(tmp_path, 10)
    (newest / "optimizer.pt").unlink()
    assert last_checkpoint(tmp_path) is None
