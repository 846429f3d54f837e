"""Lesson 04: its figures are what it claims, and its table of names is today's."""

import inspect
import json
import re

import pytest
from trl import SFTConfig, SFTTrainer

from tests.house import gates

STEM = "04_finetune_with_qlora"


def test_the_names_that_many_guides_use_are_gone():
    """Both columns of the table, as far as they name arguments."""
    path = gates.ROOT / "notebooks" / f"{STEM}.ipynb"
    [table] = [c.source for _, c in gates.cells(path) if c.id == "guide-intro"]
    rows = [row.split("|") for row in table.splitlines() if row.startswith("|")]
    trainer, config = (inspect.signature(c).parameters for c in (SFTTrainer, SFTConfig))
    columns = (" ".join(row[k] for row in rows) for k in (1, 2))
    old, new = (set(re.findall(r"`(\w+)=?`", column)) for column in columns)
    assert {"tokenizer", "max_seq_length", "dataset_text_field"} < old
    assert not {"tokenizer", "max_seq_length", "dataset_text_field"} & trainer.keys()
    assert not {"max_seq_length", "evaluation_strategy"} & config.keys()
    assert {"max_length", "eval_strategy"} <= new & config.keys()
    assert "processing_class" in new & trainer.keys()


def test_the_real_model_did_what_the_prose_says():
    path = gates.ROOT / "notebooks" / f"{STEM}.ipynb"
    text = {cell.id: cell.source for _, cell in gates.cells(path)}
    text |= {cell.id: cell.source for _, cell in gates.cells(path, "markdown")}
    [steps] = re.findall(r"^SMALL_STEPS = (\d+)", text["parameters"], re.M)
    assert f"On `small` it has {steps} of 2" in text["trainer-intro"]
    file = gates.ROOT / f"data/results/{STEM}.small.cpu-2-cores.json"
    found = json.loads(file.read_text(encoding="utf-8"))["figures"]
    shares = (100 * found[f"{name}_exact_match"] for name in ("tuned", "lora"))
    said = "exact match was {:.0f} % with QLoRA and {:.0f} % with LoRA"
    assert said.format(*shares) in text["speed-intro"]


@pytest.mark.slow
def test_qlora_learns_as_well_as_lora(figures):
    assert figures["base_exact_match"] == 0
    qlora, lora = figures["tuned_exact_match"], figures["lora_exact_match"]
    assert min(qlora, lora) > 0.90 and qlora >= lora - 0.03
    assert max(figures["qlora_loss"], figures["lora_loss"]) < 0.1


@pytest.mark.slow
def test_only_the_restored_base_gives_back_the_trained_model(figures):
    assert abs(figures["drift_restored"]) < 1e-6
    assert min(figures["drift_original"], figures["drift_4bit"]) > 1e-4
    assert figures["prompt_drift"] > figures["drift_original"]
