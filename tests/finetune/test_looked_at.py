"""What preflight finds stops a run before a model is loaded, unless --force."""

import json

import pytest

from tests.finetune import small_run
from tests.finetune.small_run import finetune


@pytest.fixture
def place(tmp_path):
    """A folder with a configuration of two updates."""
    steps = {"max_steps": 2, "save_steps": 2, "eval_strategy": "no"}
    return tmp_path, small_run.write_config(tmp_path, training_config=steps)


def arguments(data, output, config, *more):
    few = ["--validation-rows", "4", "--profile", "tiny", "--config", str(config)]
    return ["--data", str(data), "--output", str(output), *few, *more]


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_a_leak_is_named_before_anything_is_written(place, capsys):
    folder, config = place
    rows = [{"prompt": f"{n} plus {n}?", "completion": f"{2 * n}"} for n in range(80)]
    data = folder / "data"
    data.mkdir()
    parts = {"train": rows[:60], "validation": rows[58:70], "test": rows[70:]}
    for name, part in parts.items():
        write(data / f"{name}.jsonl", part)
    assert finetune(arguments(data, folder / "out", config)) == 2
    *_, found, last = capsys.readouterr().err.splitlines()
    assert not (folder / "out").exists() and "preflight ruins: " in found
    assert "2 prompts of validation are in train too" in found and "(leak)" in found
    assert last.startswith("finetune: preflight found what ruins this run (leak)")
    assert last.endswith("or add --force")


@pytest.mark.slow
def test_force_goes_on_and_card_and_metrics_say_so(place, capsys):
    folder, config = place
    rows = [{"prompt": f"{n} plus {n}?", "completion": "Yes."} for n in range(70)]
    data = write(folder / "yes.jsonl", rows)
    call = arguments(data, folder / "out", config)
    assert finetune(call) == 2
    assert "(constant-answers)" in capsys.readouterr().err
    assert finetune([*call, "--force"]) == 0
    seen = small_run.metrics(folder / "out")["preflight"]
    assert seen["overridden"] == ["constant-answers"]
    levels = {found["code"]: found["level"] for found in seen["findings"]}
    assert levels["constant-answers"] == "ruins" and levels["few-updates"] == "warns"
    card = (folder / "out" / "README.md").read_text(encoding="utf-8")
    said = "**Overridden** (--force): train: 56 of 56 answers are 'Yes.'"
    assert said in card and card.count("**Overridden**") == 1
