"""What a lesson has trained is what the lessons after it would train once more."""

import dataclasses
import functools
from copy import deepcopy

import pytest
from peft import LoraConfig
from trl import SFTConfig, SFTTrainer

from helpers.config import load_profile
from helpers.evaluation import evaluate
from helpers.finetune import (
    adapter_folder,
    card,
    describe_adapter,
    keep_adapter,
    keeping,
    recipe,
    settings,
    starting_point,
)
from helpers.formatting import load_splits
from helpers.models import check_base, claims, load_model, load_tokenizer
from tests.finetune import small_run


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return small_run.write_splits(tmp_path_factory.mktemp("tickets"))


@pytest.fixture(scope="module")
def profile():
    """Of a model for which no adapter ships, with a recipe of three updates."""
    profile = load_profile("tiny", "data/checkpoints/tiny-llama")
    short = {"max_steps": 3, "report_to": "none", "disable_tqdm": True}
    return dataclasses.replace(profile, training_config=profile.training_config | short)


def train(profile, data, folder, times=1, **lora):
    """A trainer as lesson 00 has one, after training so many times."""
    config = {"eval_strategy": "no", "save_strategy": "no", "output_dir": str(folder)}
    trainer = SFTTrainer(
        model=load_model(profile),
        args=SFTConfig(**profile.training_config | config),
        train_dataset=load_splits(data)["train"],
        processing_class=load_tokenizer(profile),
        peft_config=LoraConfig(**profile.peft_config | lora),
    )
    for _ in range(times):
        trainer.train()
    return trainer


@pytest.fixture(scope="module")
def trained(profile, data, tmp_path_factory):
    """Not to be changed."""
    return train(profile, data, tmp_path_factory.mktemp("lesson"))


@pytest.fixture(autouse=True)
def course(profile, data, tmp_path, monkeypatch):
    """A course of these tickets and this recipe, with no adapter yet."""
    for module in (settings, keeping):
        monkeypatch.setattr(module, "load_profile", lambda *_: deepcopy(profile))
    monkeypatch.setattr(starting_point, "TICKETS", data)
    monkeypatch.setattr(starting_point, "TRAINED", tmp_path / "adapters")


def test_it_is_the_adapter_that_a_later_lesson_would_train(
    trained, profile, data, tmp_path, monkeypatch, capsys
):
    later = functools.partial(adapter_folder, profile, "auto", "tickets-lora", data)
    kept = keep_adapter(trained, profile, load_splits(data))
    assert f"start from an adapter: {kept.name}" in capsys.readouterr().out
    with monkeypatch.context() as nothing_trains:
        nothing_trains.setattr(recipe, "make_trainer", None)
        assert later() == kept
    assert keep_adapter(trained, profile, load_splits(data)) == kept  # as it is

    monkeypatch.setattr(starting_point, "TRAINED", tmp_path / "again")
    other = later()
    assert other != kept
    for name in ("adapter_model.safetensors", "adapter_config.json"):
        assert (other / name).read_bytes() == (kept / name).read_bytes()
    one, two = small_run.metrics(kept), small_run.metrics(other)
    assert one.keys() < two.keys()
    for key in ("base", "settings", "steps", "left_out", "epochs"):
        assert one[key] == two[key], key
    assert one["data"]["sha256"] == two["data"]["sha256"]


def test_its_claims_hold_and_make_a_card(trained, profile, data):
    splits = load_splits(data)
    kept = keep_adapter(trained, profile, splits)
    check_base(model := load_model(profile), kept)
    assert claims(kept)["settings"]["training_config"]["max_steps"] == 3
    assert not (kept / "README.md").exists()  # nothing has been scored
    report = evaluate(model, load_tokenizer(profile), splits["test"], max_new_tokens=2)
    about = {"fingerprint": "f" * 64, "data": "tickets", "splits": splits}
    scores = {"before": (2.0, report), "after": (1.0, report)}
    text = card(describe_adapter(kept, profile, **about, **scores))
    assert "| updates | 3 |" in text


@pytest.mark.parametrize(
    ("whose", "name", "value", "said"),
    [
        ("args", "max_steps", 2, "max_steps"),
        ("args", "learning_rate", 1e-3, "learning_rate"),
        ("args", "neftune_noise_alpha", 5.0, "neftune_noise_alpha"),
        ("lora", "r", 4, "r"),
        ("lora", "use_dora", True, "use_dora"),
        ("state", "global_step", 2, "number of updates"),
        ("trainer", "train_dataset", [], "number of rows"),
        ("trainer", "aux_loss_enabled", True, "kind of model"),
    ],
)
def test_another_recipe_is_not_kept(
    trained, profile, data, monkeypatch, capsys, whose, name, value, said
):
    parts = {"trainer": trained, "args": trained.args, "state": trained.state}
    parts["lora"] = trained.model.peft_config["default"]
    monkeypatch.setattr(parts[whose], name, value)
    assert keep_adapter(trained, profile, load_splits(data)) is None
    assert f"its {said} is not the profile's" in capsys.readouterr().out
    assert not [*starting_point.TRAINED.glob("*/*/adapter*")]


def test_what_a_cell_changed_in_the_profile_itself_is_seen(
    trained, profile, data, monkeypatch, capsys
):
    mine = deepcopy(profile)
    mine.peft_config["r"] = trained.model.peft_config["default"].r = 4
    assert keep_adapter(trained, mine, load_splits(data)) is None
    trained.model.peft_config["default"].r = profile.peft_config["r"]
    assert "its r is not the profile's" in capsys.readouterr().out


def test_fewer_layers_are_not_kept(profile, data, tmp_path, capsys):
    trainer = train(profile, data, tmp_path, target_modules=["q_proj", "v_proj"])
    assert keep_adapter(trainer, profile, load_splits(data)) is None
    assert "its target_modules is not the profile's" in capsys.readouterr().out


def test_a_training_that_was_begun_before_is_not_kept(profile, data, tmp_path, capsys):
    trainer = train(profile, data, tmp_path, times=2)
    assert trainer.state.global_step == trainer.state.max_steps == 3
    assert keep_adapter(trainer, profile, load_splits(data)) is None
    assert "its number of updates is not the profile's" in capsys.readouterr().out


def test_one_that_was_not_trained_is_not_kept(profile, data, tmp_path, capsys):
    trainer = train(profile, data, tmp_path, times=0)
    assert keep_adapter(trainer, profile, load_splits(data)) is None
    assert "its number of updates is not the profile's" in capsys.readouterr().out


def test_other_data_are_not_kept(trained, profile, data, capsys):
    splits = load_splits(data)
    splits["train"] = splits["train"].select([*range(1, len(splits["train"])), 0])
    assert keep_adapter(trained, profile, splits) is None
    assert "its data is not the profile's" in capsys.readouterr().out


def test_the_shipped_adapter_stays_the_one_of_its_model(capsys):
    assert keep_adapter(None, load_profile("tiny"), None) is None
    assert "the adapter that ships with the course" in capsys.readouterr().out
