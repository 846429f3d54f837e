"""An adapter is found, and refused in one line where it does not fit."""

import dataclasses
import json

import pytest

from helpers.config import load_profile
from helpers.files import ROOT
from helpers.finetune import AdapterError, adapter_folder, item_tickets, starting_point
from helpers.formatting import load_splits
from tests.finetune import small_run

TINY = "data/checkpoints/tiny-phi3"


@pytest.fixture
def profile():
    return load_profile("tiny")


def adapter(folder, base):
    folder.mkdir(exist_ok=True)
    text = json.dumps({"base_model_name_or_path": base})
    (folder / "adapter_config.json").write_text(text, encoding="utf-8")
    return folder


def find(profile, folder="auto"):
    return adapter_folder(profile, str(folder), "shipped")


def test_the_shipped_adapters_fit_the_tiny_profile(profile):
    for name in ("tickets-lora", "tickets-lora-half"):
        found = adapter_folder(profile, "auto", name)
        assert found == ROOT / "data" / "checkpoints" / name


@pytest.mark.parametrize("base", [TINY, str(ROOT / TINY)])
def test_the_readers_own_folder_is_taken(profile, tmp_path, base):
    own = adapter(tmp_path / "own", base)
    assert find(profile, own) == own


@pytest.mark.parametrize(
    "base", ["data/checkpoints/tiny-llama", "microsoft/Phi-3-mini-4k-instruct"]
)
def test_an_adapter_of_another_base_is_refused(profile, tmp_path, base):
    with pytest.raises(AdapterError, match=f"trained on '{base}'.*change one") as error:
        find(profile, adapter(tmp_path / "own", base))
    assert "\n" not in str(error.value)


def test_a_hub_id_fits_itself(profile, tmp_path):
    hub = dataclasses.replace(profile, name="gpu-16gb", model="some/model")
    own = adapter(tmp_path / "own", "some/model")
    assert find(hub, own) == own


@pytest.mark.parametrize("text", [None, "{", "[]", "{}"])
def test_a_folder_without_an_adapter_is_refused(profile, tmp_path, text):
    if text is not None:
        (tmp_path / "adapter_config.json").write_text(text, encoding="utf-8")
    with pytest.raises(AdapterError, match="no readable adapter_config.json in"):
        find(profile, tmp_path)


def test_another_profile_trains_its_adapter_once(profile, tmp_path, monkeypatch):
    runs = []

    def run(settings):
        runs.append(settings)
        settings.output.mkdir(parents=True, exist_ok=True)
        adapter(settings.output, "some/model")

    monkeypatch.setattr("helpers.finetune.recipe.run", run)
    monkeypatch.setattr(starting_point, "TRAINED", tmp_path)
    hub = dataclasses.replace(profile, name="gpu-16gb", model="some/model")
    found = adapter_folder(hub, "auto", "half", max_steps=20)
    assert found == tmp_path / "gpu-16gb" / "half"
    [settings] = runs
    assert settings.overrides == {"training_config": {"max_steps": 20}}
    assert settings.resume and settings.profile == "gpu-16gb"
    assert settings.data == ROOT / "data" / "tickets"


@pytest.mark.slow
def test_both_tasks_are_trained_on_another_base(profile, tmp_path, monkeypatch):
    """What happens on a GPU profile, here with the other tiny checkpoint."""
    few = profile.training_config | {"max_steps": 2, "report_to": "none"}
    other = dataclasses.replace(
        profile,
        name="other",
        model=str(ROOT / "data" / "checkpoints" / "tiny-llama"),
        training_config=few | {"disable_tqdm": True},
    )
    monkeypatch.setattr("helpers.finetune.settings.load_profile", lambda *_: other)
    monkeypatch.setattr(starting_point, "TRAINED", tmp_path)
    tickets = adapter_folder(other, "auto", "tickets-lora")
    items = item_tickets(tmp_path / "items")
    products = adapter_folder(other, "auto", "items-lora", data=items)
    assert tickets.is_relative_to(tmp_path) and products.is_relative_to(tmp_path)
    one, two = small_run.metrics(tickets), small_run.metrics(products)
    assert one["steps"] == two["steps"] == 2
    assert one["data"]["sha256"] != two["data"]["sha256"]
    assert "queue" in one["after"] and "queue" not in two["after"]


def test_the_second_task_is_the_product(tmp_path):
    tickets = load_splits(ROOT / "data" / "tickets")
    items = load_splits(item_tickets(tmp_path))
    for name, rows in tickets.items():
        assert len(items[name]) == len(rows)
    ticket, item = tickets["test"][0], items["test"][0]
    product = json.loads(ticket["completion"][-1]["content"])["item"]
    assert item["prompt"] == ticket["prompt"]
    assert item["completion"] == [{"role": "assistant", "content": product}]
