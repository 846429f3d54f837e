"""Lesson 07: what is merged, refused, described and not uploaded."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
from huggingface_hub.errors import HFValidationError, HTTPError

from helpers import sharing
from helpers.config import load_profile
from helpers.evaluation import score
from helpers.finetune import card, describe_adapter
from helpers.finetune.model_card import summary
from tests.house import gates
from tests.lessons import cells

STEM = "07_merge_and_share"
METRICS = {
    "before": {
        "validation_loss": 1.5,
        "exact_match": 0.0,
        "intervals": {"exact_match": [0.0, 0.0]},
    },
    "after": {
        "validation_loss": 0.25,
        "exact_match": 0.875,
        "intervals": {"exact_match": [0.8, 0.95]},
    },
    "base": {"model": "owner/base", "fingerprint": "f" * 64},
    "data": {
        "name": "mine.csv",
        "sha256": "d" * 64,
        "rows": {"train": 1234, "validation": 20, "test": 40},
    },
    "settings": {
        "qlora": True,
        "dtype": "bfloat16",
        "peft_config": {"r": 8, "lora_alpha": 16, "target_modules": "all-linear"},
        "quantization_config": {"load_in_4bit": True},
    },
    "versions": {"peft": "0.21.2"},
}


def test_the_base_is_loaded_in_the_precision_of_the_training(monkeypatch, tmp_path):
    """An adapter of a T4 belongs to a base in fp16, on a card with bf16 as well."""
    settings = {"settings": {"dtype": "float16"}}
    (tmp_path / "metrics.json").write_text(json.dumps(settings))
    monkeypatch.setattr("helpers.finetune.adapter_folder", lambda *_: tmp_path)
    space = {"ADAPTER": ""}
    monkeypatch.chdir(tmp_path)
    space |= {"PROFILE": "tiny", "MODEL": None, "Path": Path}
    cells.run(cells.sources(STEM), space, "adapter")
    assert load_profile("tiny").dtype == "float32"
    assert space["profile"].dtype == "float16"


def test_a_card_holds_its_figures_and_no_others():
    text = card(METRICS, licence="cc0-1.0")
    for figure in ("1.5000 | 0.2500", "0.0% | 87.5% | 80.0% to 95.0%", "1,234"):
        assert figure in text
    assert "whose weights in bfloat16 have the fingerprint" in text
    assert "A QLoRA adapter of rank 8 for `owner/base`" in text
    assert "license: cc0-1.0" in text and "learning rate" not in text
    assert "BitsAndBytesConfig(load_in_4bit=True)" in text
    assert "license:" not in card(METRICS) and "none is stated yet" in card(METRICS)
    assert "not adapted" not in card(METRICS | {"left_out": ""})
    assert "| not adapted | 2 of 9 weights |" in card(
        METRICS | {"left_out": "2 of 9 weights"}
    )
    assert "87.5%" in summary(METRICS)


def test_metrics_of_an_adapter_keep_what_its_training_knew(tmp_path):
    """And without a training run's file they still make a card."""
    config = METRICS["settings"]["peft_config"]
    (tmp_path / "adapter_config.json").write_text(json.dumps(config))
    before, after = (replace(score(["a"], [a]), stopped=1.0) for a in "ba")
    splits = {name: [{"text": name}] for name in ("train", "validation", "test")}
    given = {"fingerprint": "f" * 64, "data": "mine.csv", "splits": splits}
    given |= {"before": (1.5, before), "after": (0.25, after)}

    def describe():
        return describe_adapter(tmp_path, load_profile("tiny"), **given)

    metrics = describe()
    assert metrics == json.loads((tmp_path / "metrics.json").read_text())
    base = {"model": "data/checkpoints/tiny-phi3", "fingerprint": "f" * 64}
    assert metrics["base"] == base and metrics["settings"]["peft_config"] == config
    assert metrics["after"]["exact_match"] == 1 and metrics["versions"]["peft"]
    assert "1.5000 | 0.2500" in card(metrics) and "0.0% | 100.0%" in card(metrics)
    known = {"steps": 160, "versions": {"peft": "1"}, "after": {}, "base": {}}
    (tmp_path / "metrics.json").write_text(json.dumps(known))
    again = describe()
    assert again["steps"] == 160 and again["versions"] == {"peft": "1"}
    assert again["after"] == metrics["after"] and again["base"] == base


@pytest.fixture
def folder(tmp_path):
    """A run's folder, with what must stay at home."""
    (tmp_path / "checkpoints").mkdir()
    for name in (
        *("README.md", "adapter_model.safetensors", "metrics.json", "run.json"),
        *("training_args.bin", "notes.txt", "checkpoints/optimizer.pt"),
    ):
        (tmp_path / name).write_text("x" * 2048)
    return tmp_path


@pytest.fixture
def hub(monkeypatch):
    """What was asked of the Hub; nothing reaches it."""
    calls = []

    def recorder(name):
        return lambda self, *args, **kwargs: calls.append((name, args, kwargs))

    for name in ("create_repo", "upload_folder"):
        monkeypatch.setattr(f"huggingface_hub.HfApi.{name}", recorder(name))
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    return calls


SHARED = ["README.md", "adapter_model.safetensors", "metrics.json"]


def test_a_dry_run_shows_and_sends_nothing(folder, hub, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    plan = sharing.push(folder, "me/tickets")
    assert list(plan["file"]) == SHARED and list(plan["KiB"]) == [2.0] * 3
    assert hub == [] and plan.attrs["sent"] is False


@pytest.mark.parametrize("repository", ["", "tickets", "/tickets", "me/"])
def test_nothing_is_sent_without_a_repository(folder, hub, monkeypatch, repository):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    with pytest.raises(sharing.SharingError, match="requires a repository") as caught:
        sharing.push(folder, repository, send=True)
    assert hub == [] and "hf_secret" not in str(caught.value)


def test_nothing_is_sent_without_a_token(folder, hub):
    with pytest.raises(sharing.SharingError, match="requires a token"):
        sharing.push(folder, "me/tickets", send=True)
    assert hub == []


def test_with_both_it_goes_to_a_private_repository(folder, hub, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    assert sharing.push(folder, "me/tickets", send=True).attrs["sent"] is True
    assert [name for name, _, _ in hub] == ["create_repo", "upload_folder"]
    assert hub[0][1] == ("me/tickets",) and hub[0][2]["private"] is True
    assert hub[1][2]["allow_patterns"] == SHARED


@pytest.mark.parametrize(
    "error", [HTTPError("403"), HFValidationError("a"), ConnectionError("offline")]
)
def test_what_the_hub_refuses_is_said_in_one_line(folder, hub, monkeypatch, error):
    def refuse(*_, **__):
        raise error

    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setattr("huggingface_hub.HfApi.create_repo", refuse)
    with pytest.raises(sharing.SharingError, match="me/x cannot be written") as caught:
        sharing.push(folder, "me/x", send=True)
    assert hub == [] and "hf_secret" not in str(caught.value)


@pytest.mark.parametrize("missing", ["README.md", "adapter_model.safetensors"])
def test_a_folder_that_nobody_could_use_is_refused(folder, missing):
    (folder / missing).unlink()
    with pytest.raises(sharing.SharingError, match="requires a README.md and"):
        sharing.push(folder)


@pytest.mark.slow
def test_the_merged_model_is_the_tuned_one(figures):
    assert figures["base_exact_match"] == 0 and figures["tuned_exact_match"] > 0.8
    assert 0 < figures["merge_gap"] < 1e-3
    assert figures["fresh_same"] == 1


@pytest.mark.slow
def test_the_wrong_base_does_damage_and_is_refused(figures):
    assert figures["twice_exact_match"] < figures["tuned_exact_match"] - 0.2
    assert figures["wrong_base_refused"] is True


@pytest.mark.slow
def test_sizes_and_pickles(figures):
    expected = 25_165_824 / 3_821_079_552
    assert math.isclose(figures["adapter_share"], expected, rel_tol=1e-9)
    assert figures["code_ran"] is True


def test_the_real_models_file_answers_as_the_prose_says():
    path = gates.ROOT / "notebooks" / f"{STEM}.ipynb"
    said = {cell.id: cell.source for _, cell in gates.cells(path, "markdown")}
    file = gates.ROOT / f"data/results/{STEM}.small.cpu-2-cores.json"
    found = json.loads(file.read_text(encoding="utf-8"))["figures"]
    assert found["gguf_same_ids"] == 1
    file = gates.ROOT / "data/results/llamacpp.small.cpu-2-cores.json"
    rows = json.loads(file.read_text(encoding="utf-8"))["rows"]
    same = {row["cause"]: row["same"] for row in rows if row["what"] == "weights"}
    assert same["F32, exact"] == same["F16"] == 1
    changed = (100 * (1 - same[kind]) for kind in ("Q4_0", "Q4_K_M"))
    text = "16 bits change none, `Q4_0` {:.0f}% and `Q4_K_M` {:.0f}%".format(*changed)
    assert text in said["gguf-causes-after"]
    left, ends = {}, {}
    for name in ("tiny", "small"):
        file = gates.ROOT / f"data/results/llamacpp.{name}.cpu-2-cores.json"
        rows = json.loads(file.read_text(encoding="utf-8"))["rows"]
        angles = [r for r in rows if r["cause"].startswith("position angles unread")]
        left[name] = [row["same"] for row in angles if row["what"] == "cause"]
        [ends[name]] = [r["same"] for r in rows if "last line break" in r["cause"]]
    assert left["tiny"] == [0] and ends == {"tiny": 1, "small": 0}
    text = (
        "not one of the tiny model's answers is left (of the tuned SmolLM2's, {:.0f}%)"
    )
    assert text.format(*(100 * x for x in left["small"])) in said["gguf-causes-after"]
