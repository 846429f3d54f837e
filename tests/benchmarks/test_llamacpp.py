"""The benchmark of llama.cpp counts what it says, without llama.cpp."""

import json
import math

import pytest
import torch

from helpers import UserError, run_command, serving
from helpers.files import ROOT, write_json
from helpers.sweep.rows import Part, RowFile
from tests.benchmarks import llamacpp as benchmark

CHECKPOINTS = ROOT / "data" / "checkpoints"


def step(token, *likely):
    """One step of an answer of the server's: its token, and (id, log-probability)s."""
    pairs = [{"id": number, "logprob": value} for number, value in likely]
    return {"id": token, "top_logprobs": pairs}


def answer(*steps, text=""):
    return {"content": text, "completion_probabilities": list(steps)}


REFERENCE = {
    "new": [1, 0],
    "text": "yes",
    "logprobs": torch.tensor([[-2.0, -0.5], [-0.25, -4.0]]),
}


def test_the_difference_is_the_largest_of_all_steps():
    same = answer(step(1, (1, -0.5), (0, -2.0)), step(0, (0, -0.25)))
    assert benchmark.apart(REFERENCE, same) == 0
    other = answer(step(1, (1, -0.5), (0, -2.5)), step(0, (0, -0.5)))
    assert benchmark.apart(REFERENCE, other) == 0.5


def test_nothing_is_compared_behind_another_token():
    answers = answer(step(0, (0, -1.0)), step(0, (0, -100.0)))
    assert benchmark.apart(REFERENCE, answers) == 1.0


def test_a_model_without_numbers_is_infinitely_far():
    broken = answer(step(1, (1, None)))
    assert benchmark.apart(REFERENCE, broken) == math.inf


def test_answers_are_counted_as_texts(tmp_path):
    rows = [{"prompt": [], "completion": [{"content": c}]} for c in ("yes", "no")]
    model = benchmark.Model(tmp_path, tmp_path, rows, 8)
    model.reference = [REFERENCE, REFERENCE]
    given = [answer(step(1, (1, -0.5)), text=text) for text in ("yes", "no")]
    found = model.scores(given)
    assert found == {"same": 0.5, "exact_match": 1.0, "difference": 0.0}


def test_a_prompt_is_cut_as_ollama_cuts():
    ids = list(range(100))
    assert benchmark.cut(ids[:47], 48) == ids[:47]
    assert benchmark.cut(ids, 48) == [0, 1, 2, 3, *ids[-22:]]  # half of 44 stays free


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("tiny-phi3", {"phi3.rope.freq_base": 0.0}),
        ("tiny-llama", {"llama.rope.freq_base": None}),
    ],
)
def test_ollama_does_not_find_the_angles(tmp_path, name, changes):
    config = json.loads((CHECKPOINTS / name / "config.json").read_text())
    assert "rope_theta" not in config  # it is in rope_parameters
    model = benchmark.Model(CHECKPOINTS / name, tmp_path, [], 8)
    assert benchmark.angles(model) == changes


def test_without_llamacpp_it_ends_in_one_line(monkeypatch, capsys):
    monkeypatch.setattr(serving, "llamacpp_python", lambda: None)
    assert run_command("benchmark", benchmark.main, []) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_file_of_another_model_is_refused(tmp_path):
    about = {"model": "a", "answers": 50, "new_tokens": 56}
    part = Part("llamacpp.small", [], None, 1, about=about)
    benchmark.check_file(part, tmp_path)  # none there yet
    path = RowFile(part.name, tmp_path).path
    write_json(path, about | {"found": [], "rows": []})
    benchmark.check_file(part, tmp_path)
    for key, value in {"model": "b", "answers": 10, "new_tokens": 24}.items():
        write_json(path, about | {key: value, "found": [], "rows": []})
        with pytest.raises(UserError, match=f"has {key} {value}, and not {about[key]}"):
            benchmark.check_file(part, tmp_path)


def test_the_ledger_has_what_lesson_07_says():
    """Of the tickets model, whose row "ours" is what the course exports."""
    file = ROOT / "data" / "results" / "llamacpp.tiny.cpu-2-cores.json"
    rows = json.loads(file.read_text(encoding="utf-8"))["rows"]
    same = {(r["what"], r["cause"]): r["same"] for r in rows if "same" in r}
    assert same["cause", "ours"] == same["weights", "F16"] == 1
    assert same["cause", benchmark.ANGLES] == 0
    assert min(same, key=same.get) == ("cause", benchmark.ANGLES)
    assert same["weights", "Q4_K_M"] > same["weights", "Q4_0"] > 0.8
    [exact] = [r["difference"] for r in rows if r["cause"] == "F32, exact"]
    assert exact < 1e-4
    tokens = [r for r in rows if r["what"] == "tokens"]
    assert tokens[0]["same_ids"] == tokens[0]["messages"] == 2600
