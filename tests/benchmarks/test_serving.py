"""The benchmark of servers compares like with like, on servers that are none."""

import json

import pytest

from helpers import run_command, serving
from tests.benchmarks import serving as benchmark
from tests.benchmarks.test_gpu import contents

SECONDS = {"transformers": 4.0, "vllm": 1.0, "vllm_adapter": 2.0}


class Nothing:
    """A server that answers nobody."""

    model, stopped = "merged", 0

    def __init__(self, name):
        self.url = name

    def stop(self):
        Nothing.stopped += 1


@pytest.fixture
def faked(monkeypatch):
    """Servers that take SECONDS, a little more each time; the models asked for."""
    asked = []

    async def ask(url, model, prompts, clients):
        asked.append((url, model, len(prompts), clients))
        slower = 1 + 0.01 * len(asked)
        texts = ["right"] * len(prompts)
        if url == "vllm_adapter" and clients == 1:
            texts[0] = "wrong"
        return SECONDS[url] * slower / clients, texts

    def starters(profile, merged, adapter, work):
        return {name: lambda name=name: Nothing(name) for name in SECONDS}

    for name, value in {
        "ask": ask,
        "starters": starters,
        "merge": lambda profile, folder, prompts, adapter: ["right"] * len(prompts),
        "adapter_folder": lambda profile, *_: profile.name,
        "version": lambda server: {"vllm": "9.9"}.get(server.url),
    }.items():
        monkeypatch.setattr(benchmark, name, value)
    monkeypatch.setattr(serving, "vllm_command", lambda: ["vllm", "serve"])
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setattr(Nothing, "stopped", 0)
    return asked


def test_each_server_gets_the_same_in_turn(faked, tmp_path):
    benchmark.main(["--output", str(tmp_path), "--clients", "1", "4"])
    assert Nothing.stopped == benchmark.ROUNDS * len(SECONDS)
    turns = [(url, clients) for url, _, count, clients in faked if count == 100]
    assert turns == [(n, c) for n in SECONDS for c in (1, 4)] * benchmark.ROUNDS
    assert {(url, model) for url, model, *_ in faked} == {
        ("transformers", "merged"),
        ("vllm", "merged"),
        ("vllm_adapter", "tickets"),
    }


def test_the_row_has_speeds_ratios_and_the_worst_agreement(faked, tmp_path):
    benchmark.main(["--output", str(tmp_path), "--clients", "1", "4"])
    entry = contents(tmp_path, "serving.tiny")
    one, four = entry["rows"]
    assert one["times_transformers"]["vllm"] == pytest.approx(4, rel=0.1)
    assert one["times_transformers"]["transformers"] == 1
    assert four["answers_per_second"]["vllm"] == pytest.approx(400, rel=0.3)
    assert one["agrees"] == {"transformers": 1, "vllm": 1, "vllm_adapter": 0.99}
    assert four["agrees"]["vllm_adapter"] == 1
    assert one["vllm_version"] == "9.9" and entry["versions"]["transformers"]
    assert entry["dtype"] == "float32" and entry["threads"] >= 1
    json.dumps(entry, allow_nan=False)


def test_the_real_model_has_a_file_of_its_own(faked, tmp_path):
    call = ["--output", str(tmp_path), "--clients", "1", "--profile", "small"]
    benchmark.main(call)
    assert len(contents(tmp_path, "serving.small")["rows"]) == 1


def test_a_server_that_fails_is_stopped_and_the_row_says_why(
    faked, tmp_path, monkeypatch
):
    async def ask(*_):
        raise RuntimeError("no answer")

    monkeypatch.setattr(benchmark, "ask", ask)
    benchmark.main(["--output", str(tmp_path), "--clients", "1"])
    [row] = contents(tmp_path, "serving.tiny")["rows"]
    assert row["error"] == "RuntimeError: no answer" and Nothing.stopped == 1


def test_without_vllm_it_says_so_in_one_line(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(serving, "vllm_command", lambda: None)
    arguments = ["--output", str(tmp_path)]
    assert run_command("serving benchmark", benchmark.main, arguments) == 2
    assert "make vllm" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
