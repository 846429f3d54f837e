"""What a lesson has trained is what the lessons after it would train once more."""

import dataclasses

import pytest
from peft import LoraConfig
from trl import SFTConfig, SFTTrainer

from helpers.config import load_profile
from helpers.files import ROOT
from helpers.finetune import (
    adapter_folder,
    card,
    describe_adapter,
    keep_adapter,
    recipe,
    settings,
    starting_point,
)
from helpers.formatting import load_splits
from helpers.models import check_base, claims, load_model, load_tokenizer
from tests.finetune import small_run

pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing")
LLAMA = "data/checkpoints/tiny-llama"  # no adapter for it ships with the course


@pytest.fixture(scope="module")
def splits():
    return load_splits(ROOT / "data" / "tickets")


@pytest.fixture
def profile(tmp_path, monkeypatch):
    """Of another model, with a recipe of three updates."""
    profile = load_profile("tiny", LLAMA)
    short = {"max_steps": 3, "report_to": "none", "disable_tqdm": True}
    short = profile.training_config | short
    profile = dataclasses.replace(profile, training_config=short)
    monkeypatch.setattr(settings, "load_profile", lambda *_: profile)
    monkeypatch.setattr(starting_point, "TRAINED", tmp_path / "adapters")
    return profile


def train(profile, splits, folder, lora=None, stop=None, **changed):
    """A trainer as lesson 00 has one, after training. stop: updates, too few."""
    config = {"eval_strategy": "no", "save_strategy": "no", "output_dir": str(folder)}
    trainer = SFTTrainer(
        model=load_model(profile),
        args=SFTConfig(**profile.training_config | config | changed),
        train_dataset=splits["train"],
        processing_class=load_tokenizer(profile),
        peft_config=LoraConfig(**profile.peft_config | (lora or {})),
    )
    trainer.train()
    if stop:
        trainer.state.global_step = stop
    return trainer


def test_it_is_the_adapter_that_a_later_lesson_would_train(
    profile, splits, tmp_path, monkeypatch, capsys
):
    trainer = train(profile, splits, tmp_path / "lesson")
    kept = keep_adapter(trainer, profile, splits)
    assert f"start from an adapter: {kept.name}" in capsys.readouterr().out
    with monkeypatch.context() as nothing_trains:
        nothing_trains.setattr(recipe, "make_trainer", None)
        assert adapter_folder(profile, "auto", "tickets-lora") == kept
    weights = (kept / "adapter_model.safetensors").read_bytes()
    config = (kept / "adapter_config.json").read_bytes()
    assert keep_adapter(trainer, profile, splits) == kept  # as it is

    monkeypatch.setattr(starting_point, "TRAINED", tmp_path / "again")
    other = adapter_folder(profile, "auto", "tickets-lora")
    assert other != kept
    assert (other / "adapter_model.safetensors").read_bytes() == weights
    assert (other / "adapter_config.json").read_bytes() == config
    two, one = small_run.metrics(other), small_run.metrics(kept)
    assert one.keys() < two.keys()
    for key in ("base", "data", "settings", "steps", "left_out", "epochs"):
        assert one[key] == two[key], key


def test_its_claims_hold_and_make_a_card(profile, splits, tmp_path):
    kept = keep_adapter(train(profile, splits, tmp_path), profile, splits)
    model = load_model(profile)
    check_base(model, kept)
    assert claims(kept)["settings"]["training_config"]["max_steps"] == 3
    assert not (kept / "README.md").exists()  # nothing has been scored
    from helpers.evaluation import evaluate

    few = splits["test"].select(range(2))
    report = evaluate(model, load_tokenizer(profile), few, max_new_tokens=2)
    about = {"fingerprint": "f" * 64, "data": "tickets", "splits": splits}
    scores = {"before": (2.0, report), "after": (1.0, report)}
    text = card(describe_adapter(kept, profile, **about, **scores))
    assert "| updates | 3 |" in text


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"max_steps": 2}, "max_steps"),
        ({"learning_rate": 1e-3}, "learning_rate"),
        ({"lora": {"r": 4}}, "r"),
        ({"stop": 2}, "number of updates"),
    ],
)
def test_another_recipe_is_not_kept(changed, said, profile, splits, tmp_path, capsys):
    trainer = train(profile, splits, tmp_path / "lesson", **changed)
    assert keep_adapter(trainer, profile, splits) is None
    assert f"its {said} is not the profile's" in capsys.readouterr().out
    assert not (tmp_path / "adapters").exists()


def test_other_data_are_another_adapter(profile, splits, tmp_path, monkeypatch):
    fewer = type(splits)(splits | {"train": splits["train"].select(range(100))})
    kept = keep_adapter(train(profile, fewer, tmp_path / "lesson"), profile, fewer)
    monkeypatch.setattr(recipe, "run", lambda settings: kept.rename(settings.output))
    assert adapter_folder(profile, "auto", "tickets-lora") != kept


def test_the_shipped_adapter_stays_the_one_of_its_model(splits, capsys):
    assert keep_adapter(None, load_profile("tiny"), splits) is None
    assert "the adapter that ships with the course" in capsys.readouterr().out
