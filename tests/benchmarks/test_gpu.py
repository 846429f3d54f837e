"""The benchmarks of a GPU's day: resumed, in order, within the time; on tiny shapes."""

import json
import sys

import pytest
import torch
from transformers import AutoConfig

from helpers import run_command
from helpers.config import Device
from helpers.course import ledger
from helpers.sweep import rows
from helpers.sweep.rows import Budget, Part
from tests.benchmarks import decoding, gpu, memory, training
from tests.sweep.clocked import Clock, contents, part

SMALL = {"vocab_size": 2112, "hidden_size": 64, "intermediate_size": 128}
SMALL |= {"num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1}
SMALL |= {"head_dim": 64, "max_position_embeddings": 512, "tie_word_embeddings": False}
SMALL |= {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}


def small():
    """The configuration of a small Qwen3."""
    return AutoConfig.for_model("qwen3", **SMALL)


@pytest.fixture
def clock():
    return Clock()


def test_without_a_gpu_it_ends_with_one_line(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(gpu, "use_one_gpu", lambda: None)
    monkeypatch.setattr(gpu, "probe_device", lambda: Device("cpu", "CPU"))
    argv = ["--output", str(tmp_path)]
    assert run_command("gpu benchmark", gpu.main, argv) == 2
    assert capsys.readouterr().err == (
        "gpu benchmark: no CUDA GPU is here, and what this measures needs one\n"
    )
    assert list(tmp_path.iterdir()) == []


def test_with_a_gpu_it_says_what_is_left(capsys, monkeypatch, tmp_path, clock):
    monkeypatch.setattr(gpu, "use_one_gpu", lambda: None)
    monkeypatch.setattr(gpu, "probe_device", lambda: Device("cuda", "A card", (9, 0)))
    monkeypatch.setattr(gpu, "lessons", lambda folder, budget: 2)
    monkeypatch.setattr(gpu, "plan", lambda: [part(clock, [], count=1)])
    argv = ["--output", str(tmp_path), "--minutes", "1"]
    assert gpu.main(argv) == 1
    assert "2 rows are left: run it again" in capsys.readouterr().out
    monkeypatch.setattr(gpu, "lessons", lambda folder, budget: 0)
    assert gpu.main(argv) == 0 and "all is measured" in capsys.readouterr().out


def lesson_row(stem):
    return {"lesson": stem, "profile": "tiny", "seconds": 1.0, "figures": {}}


def test_lessons_go_to_the_ledger_and_run_once(tmp_path):
    asked = []

    def run(command, cwd, timeout):
        asked.append(command[command.index("--output") + 2 :])
        table = [lesson_row(stem) for stem in asked[-1][:3]]  # the fourth one fails
        folder = command[command.index("--output") + 1]
        with open(f"{folder}/course.json", "w", encoding="utf-8") as file:
            json.dump(table, file)
        assert command[:3] == [sys.executable, "-m", "helpers.course"] and timeout > 0

    left = gpu.lessons(tmp_path, Budget(9), run)
    assert left == len(asked[0]) - 3 == gpu.lessons(tmp_path, Budget(1), run)
    assert len(asked) == 1, "a minute is not enough for lessons"
    gpu.lessons(tmp_path, Budget(9), run)
    assert asked[1] == asked[0][3:]
    assert [e["lesson"] for e in ledger.read_ledger(tmp_path)] == asked[0][:6]


def test_lessons_that_outlast_the_time_leave_no_row(tmp_path, capsys):
    def run(command, cwd, timeout):
        raise gpu.subprocess.TimeoutExpired(command, timeout)

    assert gpu.lessons(tmp_path, Budget(9), run) > 0
    assert list(tmp_path.iterdir()) == []


def test_the_most_important_rows_come_first(monkeypatch):
    monkeypatch.setattr(gpu, "bf16_peak", lambda: 1e12)
    monkeypatch.setattr(decoding, "bandwidth", lambda device: 1e12)
    parts = gpu.plan()
    names = [f"{p.name} {p.rows[0].get('model', '')}".strip() for p in parts]
    assert names[:3] == ["training Phi-3-mini", *["decoding.phi-3-mini"] * 2]
    first = parts[0].rows[0]
    assert (first["settings"], first["packing"]) == ("ours", False)
    small = [n for n, name in enumerate(names) if "hi-3-mini" in name][:-1]
    assert small == list(range(len(small))), "the small model before the large one"
    decode = [row for p in parts if "decoding" in p.name for row in p.rows]
    assert {row["batch"] for row in decode} == {1, 8, 32, 128}
    assert len(decode) == 2 * 2 * 2 * 4
    assert len([r for p in parts if p.name == "memory" for r in p.rows]) == 24


def test_the_peak_is_a_speed():
    assert gpu.bf16_peak(64) > 1e6


@pytest.mark.slow
@pytest.mark.parametrize("method", ["lora", "qlora"])
def test_training_is_measured_ours_and_stock(method, monkeypatch):
    monkeypatch.setattr(training, "WARM_UP", 1)
    few = {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 2}
    real = training.settings
    monkeypatch.setattr(training, "settings", lambda *a: real(*a) | few)
    some = training.load_splits(training.TICKETS)["train"].select(range(80))
    monkeypatch.setattr(training, "load_splits", lambda path: {"train": some})
    asked = [
        {"method": method, "settings": "ours", "packing": False},
        {"method": method, "settings": "stock TRL", "packing": True},
    ]
    ours, stock = training.measure(small(), asked, peak=1e12, steps=2)
    for row in (ours, stock):
        assert row["tokens_per_second"] > 0 and row["updates_measured"] == 2
        assert row["rows_an_update"] == 4
        work = 4 * 2 * (64 * (128 + 64 + 64) + 128 * 64 + 3 * 64 * 128)
        share = row["tokens_per_second"] * work / 1e12
        assert row["share_of_peak"] == round(share, 4)
    assert 0 < ours["padding"] < 0.6 and stock["padding"] == 0


def test_ours_is_the_profile_and_stock_is_trl(monkeypatch):
    ours, stock = (training.settings(r, False, 7) for r in ("ours", "stock TRL"))
    assert ours["learning_rate"] == 2e-4 and "learning_rate" not in stock
    assert ours["max_steps"] == stock["max_steps"] == 7
    assert ours["eval_strategy"] == stock["eval_strategy"] == "no"


def test_the_clock_leaves_out_the_first_updates_and_ends_the_run():
    counts = training.Counting(lambda rows: {"input_ids": torch.ones(2, 3)})
    ticks, control = training.clock(counts, seconds=0.0), type("Control", (), {})()
    control.should_training_stop = False
    for _ in range(training.WARM_UP):
        counts([])
        ticks.on_step_end(None, None, control)
        assert not control.should_training_stop
    ticks.on_step_end(None, None, control)
    assert control.should_training_stop and counts.all == counts.real == 12


def test_padding_is_counted_apart():
    batch = {"input_ids": torch.ones(2, 3), "attention_mask": torch.tensor([[1, 1, 0]])}
    counts = training.Counting(lambda rows: batch)
    assert counts([]) is batch and (counts.all, counts.real) == (6, 2)


def test_decoding_builds_a_model_a_precision(monkeypatch):
    built = []
    real = decoding.random_base
    monkeypatch.setattr(
        decoding, "random_base", lambda *a, **k: built.append(a[1]) or real(*a, **k)
    )
    took = decoding.times  # runs, but few tokens on a busy machine tell no speed
    monkeypatch.setattr(decoding, "times", lambda *a: took(*a) and (0.1, 0.01))
    parts = decoding.grid("Small", small(), "cpu", [1, 2], 4, 3)
    found = [list(p.measure(p.rows)) for p in parts]
    assert built == ["lora", "qlora"]
    assert [p.name for p in parts] == ["decoding.small"] * 2
    batches = [row["batch"] for part in parts for row in part.rows]
    speeds = [row["tokens_per_second"] for rows in found for row in rows]
    assert speeds == [100 * batch for batch in batches]
    again = parts[0].rows[2:] + parts[0].rows[:1]  # one that failed comes last
    assert len(list(parts[0].measure(again))) == 3 and built[2:] == ["lora"] * 2


def test_memory_is_measured_on_one_model_for_all_lengths(monkeypatch):
    built = []
    real = memory.random_model
    monkeypatch.setitem(memory.LENGTHS, "cpu", (16, 24))
    monkeypatch.setattr(
        memory, "random_model", lambda *a, **k: built.append(k) or real(*a, **k)
    )
    one = memory.grid("cpu", 2)[0]
    found = list(one.measure(one.rows))
    assert [k["checkpointing"] for k in built] == [False, True]
    assert [row["error"] for row in found] == [0] * 4


def test_a_run_that_does_not_fit_is_no_run(monkeypatch):
    card = Device("cuda", "Small", (8, 0), 0.1, 0.1)
    monkeypatch.setattr(memory, "probe_device", lambda: card)
    one = memory.grid("cuda", 2)[0]
    for row in one.measure(one.rows):
        assert row["what"] == "does not fit" and "measured" not in row


def test_a_part_is_resumed_where_it_ended(tmp_path):
    config = small()
    [one, _] = decoding.grid("Small", config, "cpu", [1, 2], 4, 3)
    first = Part(one.name, one.rows[:1], one.measure, 1, about=one.about)
    assert rows.measure([first], tmp_path, Budget(9)) == 0
    assert rows.measure([one], tmp_path, Budget(9)) == 0
    entry = contents(tmp_path, "decoding.small")
    assert len(entry["rows"]) == 4 and entry["bandwidth_gb_per_second"] > 0
    assert {(r["adapter"], r["batch"]) for r in entry["rows"]} == {
        (adapter, batch)
        for adapter in ("none or merged", "unmerged")
        for batch in (1, 2)
    }
