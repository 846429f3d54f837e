"""What a lesson has trained is what the lessons after it would train once more."""

import dataclasses
import functools

import pytest
from peft import LoraConfig
from trl import SFTConfig, SFTTrainer

from helpers.config import load_profile
from helpers.evaluation import evaluate
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
ROWS = {"train": 40, "validation": 4, "test": 4}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A folder with a few tickets."""
    folder = tmp_path_factory.mktemp("tickets")
    for name, count in ROWS.items():
        text = (ROOT / "data/tickets" / f"{name}.jsonl").read_text(encoding="utf-8")
        few = "".join(text.splitlines(keepends=True)[:count])
        (folder / f"{name}.jsonl").write_text(few, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def profile():
    """Of a model for which no adapter ships, with a recipe of three updates."""
    profile = load_profile("tiny", "data/checkpoints/tiny-llama")
    short = {"max_steps": 3, "report_to": "none", "disable_tqdm": True}
    return dataclasses.replace(profile, training_config=profile.training_config | short)


@pytest.fixture(scope="module")
def trained(profile, data, tmp_path_factory):
    """A trainer as lesson 00 has one, after training. Not to be changed."""
    config = {"eval_strategy": "no", "save_strategy": "no"}
    config |= {"output_dir": str(tmp_path_factory.mktemp("lesson"))}
    trainer = SFTTrainer(
        model=load_model(profile),
        args=SFTConfig(**profile.training_config | config),
        train_dataset=load_splits(data)["train"],
        processing_class=load_tokenizer(profile),
        peft_config=LoraConfig(**profile.peft_config),
    )
    trainer.train()
    return trainer


@pytest.fixture(autouse=True)
def course(profile, data, tmp_path, monkeypatch):
    """A course of these tickets and this recipe, with no adapter yet."""
    monkeypatch.setattr(settings, "load_profile", lambda *_: profile)
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
        ("lora", "r", 4, "r"),
        ("state", "global_step", 2, "number of updates"),
    ],
)
def test_another_recipe_is_not_kept(
    trained, profile, data, monkeypatch, capsys, whose, name, value, said
):
    parts = {"args": trained.args, "state": trained.state}
    parts["lora"] = trained.model.peft_config["default"]
    monkeypatch.setattr(parts[whose], name, value)
    assert keep_adapter(trained, profile, load_splits(data)) is None
    assert f"its {said} is not the profile's" in capsys.readouterr().out
    assert not starting_point.TRAINED.exists()


def test_other_data_are_another_adapter(trained, profile, data):
    splits = load_splits(data)
    kept = keep_adapter(trained, profile, splits)
    splits["train"] = splits["train"].select(range(20))
    assert keep_adapter(trained, profile, splits) != kept


def test_the_shipped_adapter_stays_the_one_of_its_model(capsys):
    assert keep_adapter(None, load_profile("tiny"), None) is None
    assert "the adapter that ships with the course" in capsys.readouterr().out
