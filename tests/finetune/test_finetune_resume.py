"""A run of helpers.finetune that was stopped ends as if nothing had happened."""

import json
import os
import shutil
import signal
import time

import pytest
import torch
from safetensors.torch import load_file

from helpers.finetune import last_checkpoint
from helpers.finetune.errors import RunError
from helpers.finetune.run_folder import RunFolder
from tests.finetune import killed_runs, small_run
from tests.finetune.small_run import finetune
from tests.warm import Program, can_fork

ADAPTER = "adapter_model.safetensors"
needs_fork = pytest.mark.skipif(not can_fork, reason="no fork here")


def assert_same(folder, expected):
    """Weights bit for bit, and all metrics that do not depend on the machine."""
    got, wanted = load_file(folder / ADAPTER), load_file(expected / ADAPTER)
    assert got.keys() == wanted.keys()
    assert all(torch.equal(got[name], wanted[name]) for name in wanted)
    assert small_run.same_part(folder) == small_run.same_part(expected)


@needs_fork
@pytest.mark.slow
def test_killed_at_ten_random_moments(short, tmp_path):
    steps = killed_runs.killed(10, short.call(tmp_path / "out"), tmp_path)
    assert len(steps) == 10 and len(set(steps)) > 1, steps
    for folder in tmp_path.glob("out*"):
        assert_same(folder, short.done)


def started(case, output, checkpoint):
    """A program with a run, returned as soon as that checkpoint is whole."""
    said = output.with_name("said")
    program = Program(said, "helpers.finetune", *case.call(output))
    last = output / "checkpoints" / checkpoint / "trainer_state.json"
    end = time.monotonic() + 300
    while not last.exists():
        assert program.runs(), program.wait().stderr[-2000:]
        assert time.monotonic() < end, "the run did not come so far"
        time.sleep(0.002)
    return program


@needs_fork
@pytest.mark.slow
def test_killed_in_the_middle_of_a_checkpoint_and_after_a_later_one(short, tmp_path):
    output = tmp_path / "out"
    run = output / "checkpoints"
    moments = (
        (run / "checkpoint-2").is_dir,  # its last file is not there yet
        (run / "checkpoint-6/trainer_state.json").exists,
    )
    for ready in moments:
        program = Program(
            tmp_path / "said", "helpers.finetune", *short.call(output, "--resume")
        )
        end = time.monotonic() + 120
        while not ready():
            assert program.runs(), program.wait().stderr[-2000:]
            assert time.monotonic() < end, "the run did not come so far"
            time.sleep(0.001)
        program.send(signal.SIGKILL)
        assert program.wait().returncode == -signal.SIGKILL
        assert not RunFolder(output).complete()
    assert finetune(short.call(output, "--resume")) == 0
    assert_same(output, short.done)
    weights = load_file(output / ADAPTER)
    assert all(w.abs().max() > 0 for name, w in weights.items() if "lora_B" in name)


@pytest.mark.slow
def test_qlora_goes_on_with_the_same_bits(qlora, tmp_path):
    """TRL starts a QLoRA adapter in bf16 and resumes it in fp32: here it is fp32."""
    output = tmp_path / "out"
    program = started(qlora, output, "checkpoint-4")
    program.send(signal.SIGKILL)
    assert program.wait().returncode == -signal.SIGKILL
    assert not RunFolder(output).complete()
    assert finetune(qlora.call(output, "--resume")) == 0
    assert_same(output, qlora.done)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_and_stops(short, tmp_path, number, capsys):
    output = tmp_path / "out"
    program = started(short, output, "checkpoint-2")
    program.send(number)
    done = program.wait()
    stderr = done.stderr
    assert done.returncode == 128 + number
    line = [li for li in stderr.splitlines() if li.startswith("finetune: ")][-1]
    saved = last_checkpoint(output / "checkpoints")
    step = int(saved.name.partition("-")[2])
    assert 2 <= step < 8
    where = f"go on with --output {output} --resume"
    assert line == f"finetune: stopped by {number.name}, saved at step {step}: {where}"
    assert not (output / ADAPTER).exists() and "Traceback" not in stderr
    assert finetune(short.call(output, "--resume")) == 0
    assert_same(output, short.done)


def test_killed_before_anything_was_kept(tmp_path):
    """The trainer makes its folder before the run is noted: found by a random kill."""
    folder = RunFolder(tmp_path)
    folder.checkpoints.mkdir()
    for resume in (False, True):
        folder.check_free(resume)
    (folder.checkpoints / "mine.txt").touch()
    with pytest.raises(RunError, match="is not empty and holds no run.json"):
        folder.check_free(resume=True)


@pytest.mark.slow
def test_killed_after_the_last_update(short, tmp_path):
    """Nothing is trained again, and no update is added."""
    output = copy_unfinished(short.done, tmp_path / "out")
    seen = sorted(p.name for p in (output / "checkpoints").glob("checkpoint-*"))
    assert finetune(short.call(output, "--resume")) == 0
    assert_same(output, short.done)
    after = sorted(p.name for p in (output / "checkpoints").glob("checkpoint-*"))
    assert after == seen


@pytest.mark.slow
def test_one_that_finishes_says_how_many_trained(short, tmp_path):
    output = copy_unfinished(short.done, tmp_path / "out")
    state = last_checkpoint(output / "checkpoints") / "trainer_state.json"
    kept = json.loads(state.read_text(encoding="utf-8"))
    clock = kept["stateful_callbacks"]["Clock"]
    assert clock["args"] == {"processes": 1, "distributed": "NO"}
    clock["args"] = {"processes": 2, "distributed": "MULTI_CPU"}
    clock["attributes"] = {"seconds": 1.0}  # all that older versions kept
    state.write_text(json.dumps(kept), encoding="utf-8")
    assert finetune(short.call(output, "--resume")) == 0
    found = small_run.metrics(output)
    assert (found["processes"], found["distributed"]) == (2, "MULTI_CPU")
    assert found["training_seconds"] == 1.0 and "peak_rss_mib" not in found


def copy_unfinished(folder, copy):
    """A copy of a run as it was before its first file was moved into place."""
    shutil.copytree(folder, copy)
    for path in copy.iterdir():
        if path.name not in ("run.json", "checkpoints"):
            path.unlink()
    return copy


@pytest.mark.slow
def test_a_truncated_checkpoint_is_passed_over(short, tmp_path):
    output = copy_unfinished(short.done, tmp_path / "out")
    newest = last_checkpoint(output / "checkpoints") / "optimizer.pt"
    newest.write_bytes(newest.read_bytes()[:-100])
    assert finetune(short.call(output, "--resume")) == 0
    assert_same(output, short.done)


@pytest.mark.slow
def test_early_stopping_keeps_the_best_and_resumes_to_it(short, tmp_path):
    """A rate that grows until it spoils everything: the best adapter is kept."""
    wild = {"learning_rate": 1.0, "lr_scheduler_type": "constant_with_warmup"}
    steps = small_run.STEPS | wild | {"warmup_steps": 40, "max_steps": 40}
    del steps["eval_steps"]  # those of save_steps
    config = small_run.write_config(tmp_path, training_config=steps)
    output = tmp_path / "out"
    more = ("--patience", "2", "--force")  # preflight knows such a rate
    call = small_run.arguments(short.data, output, config, *more)
    assert finetune(call) == 0
    metrics = small_run.metrics(output)
    losses = {e["step"]: e["eval_loss"] for e in metrics["history"] if "eval_loss" in e}
    best = min(losses, key=losses.get)
    assert metrics["steps"] == best + 2 * small_run.STEPS["save_steps"] < 40
    assert metrics["best_step"] == best
    assert metrics["after"]["validation_loss"] == pytest.approx(losses[best], abs=1e-5)
    again = copy_unfinished(output, tmp_path / "again")
    call[call.index(str(output))] = str(again)
    assert finetune([*call, "--resume"]) == 0
    assert_same(again, output)


@pytest.mark.parametrize("files", range(4))
def test_files_come_into_the_folder_whole_and_metrics_last(
    tmp_path, monkeypatch, files
):
    """A power cut after so many files: what is there is whole, and it can go on."""

    def save(part):
        for name in ("metrics.json", "a.safetensors", "README.md", "z.json"):
            (part / name).write_text(name * 1000)

    folder, replace, moved = RunFolder(tmp_path), os.replace, []

    def failing(source, target):
        if len(moved) == files:
            raise OSError("power cut")
        moved.append(target)
        replace(source, target)

    monkeypatch.setattr(os, "replace", failing)
    with pytest.raises(OSError, match="power cut"):
        folder.publish(save)
    there = {p.name: p.read_text() for p in tmp_path.iterdir()}
    assert len(there) == files and not folder.complete()
    assert all(text == name * 1000 for name, text in there.items())
    monkeypatch.setattr(os, "replace", replace)
    folder.publish(save)
    assert len(list(tmp_path.iterdir())) == 4 and folder.metrics.exists()
