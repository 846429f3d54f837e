"""Appendix 16: its own functions are right, and its figures are what it claims."""

import json

import matplotlib.pyplot as plt
import pytest
import torch

from helpers.plotting import finished
from tests.benchmarks import decoding as benchmark_decoding
from tests.lessons import cells

STEM = "16_find_the_bottleneck"
SOURCES = cells.sources(STEM)


def test_bytes_read_leaves_out_a_table_but_not_a_tied_head():
    space = {}
    exec(SOURCES["limit"].split("arrival =")[0], space)

    class Model(torch.nn.Module):
        def __init__(self, tied):
            super().__init__()
            self.table = torch.nn.Embedding(10, 4)
            self.head = torch.nn.Linear(4, 10, bias=False)
            if tied:
                self.head.weight = self.table.weight
            self.config = type("Config", (), {"tie_word_embeddings": tied})

        def get_input_embeddings(self):
            return self.table

    assert space["bytes_read"](Model(tied=False)) == 160
    assert space["bytes_read"](Model(tied=True)) == 160


@pytest.mark.parametrize(("step", "fails"), [(1.03, True), (0.97, False)])
def test_a_merged_model_that_is_slower_fails(step, fails):
    space = {"unmerged_times": [1.0, 1.2], "merged_times": [step, 1.2 * step]}
    space |= {"median": max, "merged_flops": 1, "unmerged_flops": 2}
    if not fails:
        return exec(SOURCES["merged-speed"], space)
    with pytest.raises(AssertionError):
        exec(SOURCES["merged-speed"], space)


@pytest.mark.parametrize("peak", [5e13, 4e15])
def test_the_roof_rises_and_is_flat_also_where_the_ridge_is_far(peak):
    space = {"peak": peak, "bandwidth": 3e12, "plt": plt, "finished": finished}
    space["sizes"] = [1, 4, 16, 64]
    space |= {"bytes_read": lambda _: 2e9, "ids": [[0] * 60], "prefill_seconds": 1e-3}
    space |= {"steps": dict.fromkeys(space["sizes"], 1e-3)}
    space["merged"] = torch.zeros(1, dtype=torch.bfloat16)
    exec(SOURCES["points"], space)
    exec(SOURCES["roofline-figure"], space)
    x, roof = space["figure"].axes[0].lines[0].get_data()
    assert sorted(x) == list(x) and roof[0] < roof[1] == roof[2]


def test_the_head_of_a_4_bit_model_stays_in_16_bit():
    limits = {}
    space = {"pd": type("pd", (), {"DataFrame": lambda found: limits.update(found)})}
    with pytest.raises(AttributeError):  # the table is not drawn here
        exec(SOURCES["mini"], space)
    [head] = [n for name, n in limits["L4"].items() if "head" in name]
    assert head == pytest.approx(300e9 / 2.0666e9, rel=1e-3)


@pytest.mark.slow
def test_the_benchmark_runs_and_writes_its_rows(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    options = ["--output", str(tmp_path), "--prompt", "8", "--new", "16"]
    benchmark_decoding.main([*options, "--batches", "1", "2"])
    [file] = tmp_path.glob("decoding.tiny.*.json")
    result = json.loads(file.read_text(encoding="utf-8"))
    rows = result["rows"]
    assert len(rows) == 8 and result["bandwidth_gb_per_second"] > 0
    assert {(r["precision"], r["adapter"], r["batch"]) for r in rows} == {
        (precision, adapter, batch)
        for precision in ("bf16", "4-bit")
        for adapter in ("none or merged", "unmerged")
        for batch in (1, 2)
    }
    for row in rows:
        assert row["tokens_per_second"] > 0 and row["limit_tokens_per_second"] > 0
    limits = {r["precision"]: r["limit_tokens_per_second"] for r in rows[::-1]}
    assert limits["4-bit"] > 1.5 * limits["bf16"]


def test_the_benchmark_refuses_nonsense_in_one_line(capsys):
    with pytest.raises(SystemExit) as stopped:
        benchmark_decoding.main(["--batches", "0"])
    assert stopped.value.code == 2
    assert "1 or more" in capsys.readouterr().err.splitlines()[-1]


def test_the_benchmark_counts_the_cache_of_phi_3_mini():
    config = benchmark_decoding.AutoConfig.for_model(
        **benchmark_decoding.CONFIGS["Phi-3-mini"]
    )
    assert benchmark_decoding.cache_bytes(config) == 393_216


@pytest.mark.slow
def test_speed_ups_are_ratios_of_one_run(figures):
    assert figures["batch_speed_up"] > 1.5 and figures["merged_agrees"] == 1
    assert figures["prefill_advantage"] > 2
    assert figures["four_bit_speed"] > 0
