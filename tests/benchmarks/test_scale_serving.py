"""The benchmark of a server for many counts what is lost, on servers that are none."""

from collections import defaultdict
from itertools import count
from types import SimpleNamespace

import pytest
from transformers import AutoConfig

from helpers import run_command, serving
from tests.benchmarks import scale_serving as scale
from tests.benchmarks.test_gpu import contents
from tests.serving.broken import BROKEN, spoil


class Nothing:
    """A server that answers nobody."""

    model = "the base"
    watched, stops = 0, []  # replies that were counted; how many by each stop

    def __init__(self, url):
        self.url = url

    def stop(self):
        Nothing.stops.append(Nothing.watched)


class Here(scale.Local):
    """Answers without a model: the name and the row."""

    def __init__(self):
        self.prompts, self.known = list(range(200)), defaultdict(dict)
        config = AutoConfig.from_pretrained(scale.CHECKPOINTS / "tiny-phi3")
        self.model = SimpleNamespace(config=config)

    def answer(self, name, rows, batch_size=1):
        return [f"{name} {row}" for row in rows]


@pytest.fixture
def faked(monkeypatch):
    """Servers that answer as here, but for row 3 of what is loaded, and the dead.

    Each change of the adapters spoils one more row, from 30; of all at once row 9 is
    lost and 12 wrong.
    """
    changes = []

    async def ask(url, models, prompts, clients, retries=0, seen=None):
        replies = []
        for model, row in zip(models, prompts, strict=False):
            name = {"the base": scale.BASE, scale.WHOLE: "third"}.get(model, model)
            at_once = url == "one" and clients == 44
            wrong = (name, row) == ("third", 3) or 30 <= row < 30 + len(changes)
            wrong = wrong or (at_once and row == 12)
            text = "something else" if wrong else f"{name} {row}"
            lost = url == "nobody" and row % 4 == 1 and (clients > 40 or row == 5)
            lost = lost or (at_once and row == 9)
            replies.append(scale.Reply(error="gone") if lost else scale.Reply(text))
            replies[-1].retries = int(retries > 0 and row == 5)
            if seen:
                Nothing.watched += 1
                seen()
        return replies

    async def tell(url, path, lora_name, lora_path=None):
        changes.append(path)
        return (500, "no, please check") if lora_name.startswith("rank") else (200, "")

    ticks = count()
    for name, value in {
        "ask": ask,
        "cpu_seconds": lambda server: next(ticks),
        "tell": tell,
        "Local": Here,
        "start": lambda local, work, **options: Nothing("one"),
        "version": lambda server: "9.9",
        "BROKEN": {"rank 64": BROKEN["rank 64"]},
    }.items():
        monkeypatch.setattr(scale, name, value)
    routers = iter(scale.AGAIN)

    def router(replicas, *told, **options):
        who = next(routers)
        assert told == (() if who == "the router" else ("--disable-retries",))
        return Nothing(who)

    monkeypatch.setattr(scale, "start_router", router)
    monkeypatch.setattr(serving, "vllm_command", lambda: ["vllm", "serve"])
    monkeypatch.setattr(Nothing, "watched", 0)
    monkeypatch.setattr(Nothing, "stops", [])
    monkeypatch.setattr(scale.torch, "set_num_threads", lambda threads: None)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


@pytest.fixture
def rows(faked, tmp_path):
    scale.main(["--output", str(tmp_path), "--requests", "44"])
    return contents(tmp_path, "scale_serving.tiny")["rows"]


def test_each_way_has_its_speed_beside_one_process(rows):
    [row] = [row for row in rows if row["question"] == "throughput"]
    assert row["same"] == 42 / 43 and row["lost"] == 1  # of 44
    assert row["vllm_version"] == "9.9"
    assert row["times_process"]["process"] == 1
    assert set(row["answers_per_second"]) == set(row["answers_per_cpu_second"])


def test_a_load_says_what_became_of_it_and_of_the_others(rows):
    whole, large = (row for row in rows if row["question"] == "load")
    assert whole["status"] == whole["unloaded"] == 200
    assert whole["same"] == 0.95 and whole["others_same"] == 1
    assert whole["same_after"] == large["others_same"] == 58 / 60
    assert large["status"] == 500 and large["said"] == "no"
    assert "unloaded" not in large and large["same_after"] == 57 / 60


def test_what_a_death_costs_is_counted_for_each_who_asks_again(rows):
    found = {row["again"]: row for row in rows if row["question"] == "replicas"}
    assert list(found) == list(scale.AGAIN)
    assert (found["nobody"]["lost"], found["nobody"]["saved"]) == (11, 10)
    assert found["nobody"]["how"] == {"gone": 11}
    assert found["the client"]["lost"] == found["the router"]["lost"] == 0
    assert found["the client"]["asked_again_by_client"] == 1
    # the one; the killed, after a quarter of 3 x 44; it again, and all others
    assert Nothing.stops == [0, 33, *[132] * 5]


@pytest.mark.parametrize("wrong", BROKEN)
def test_the_check_before_finds_all_but_a_rank_too_large(wrong, tmp_path):
    folder = spoil(wrong, scale.ADAPTERS["products"], tmp_path / "spoilt")
    found = scale.checked(Here(), folder)
    assert (found is None) == (wrong == "rank 64") and str(tmp_path) not in str(found)


def test_without_vllm_it_says_so_in_one_line(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(serving, "vllm_command", lambda: None)
    arguments = ["--output", str(tmp_path)]
    assert run_command("scale_serving benchmark", scale.main, arguments) == 2
    assert "make vllm" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
