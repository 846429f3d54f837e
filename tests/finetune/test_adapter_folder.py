"""An adapter is found, and refused in one line where it does not fit."""

import dataclasses
import gc
import json
import re
import shutil
import time
import weakref
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from safetensors.torch import save_file

from helpers import models
from helpers.config import load_profile
from helpers.files import ROOT, shown_model
from helpers.finetune import (
    AdapterError,
    adapter_folder,
    item_tickets,
    recipe,
    starting_point,
)
from helpers.formatting import load_splits
from helpers.models import ModelError
from tests.finetune import small_run

TINY = "data/checkpoints/tiny-phi3"


@pytest.fixture
def profile():
    return load_profile("tiny")


def adapter(folder, base):
    folder.mkdir(exist_ok=True)
    text = json.dumps({"base_model_name_or_path": base, "peft_type": "LORA"})
    (folder / "adapter_config.json").write_text(text, encoding="utf-8")
    weights = {"base_model.model.x.lora_B.weight": torch.ones(1)}
    save_file(weights, folder / "adapter_model.safetensors")
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


def test_the_readers_own_must_have_been_trained(profile, tmp_path):
    own = adapter(tmp_path / "own", TINY)
    weights = {"base_model.model.x.lora_B.weight": torch.zeros(1)}
    save_file(weights, own / "adapter_model.safetensors")
    with pytest.raises(ModelError, match="1 of 1 matrices B are zero"):
        find(profile, own)


def test_a_hub_id_fits_itself(profile, tmp_path):
    hub = dataclasses.replace(profile, name="gpu-16gb", model="some/model")
    own = adapter(tmp_path / "own", "some/model")
    assert find(hub, own) == own


def test_a_hub_s_name_is_no_folder_s(profile, tmp_path):
    """Of the Hub's gpt2; a folder elsewhere is named local:gpt2."""
    (tmp_path / "gpt2").mkdir()
    local = dataclasses.replace(profile, model=str(tmp_path / "gpt2"))
    assert starting_point.fits(adapter(tmp_path / "a", "local:gpt2"), local)
    assert not starting_point.fits(adapter(tmp_path / "b", "gpt2"), local)


@pytest.mark.parametrize("text", [None, "{", "[]", "{}"])
def test_a_folder_without_an_adapter_is_refused(profile, tmp_path, text):
    if text is not None:
        (tmp_path / "adapter_config.json").write_text(text, encoding="utf-8")
    with pytest.raises(AdapterError, match="no readable adapter_config.json in"):
        find(profile, tmp_path)


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """The settings of every run asked for; each writes an adapter in no time."""
    asked = []

    def run(settings):
        asked.append(settings)
        settings.output.mkdir(parents=True, exist_ok=True)
        adapter(settings.output, shown_model(settings.model))

    monkeypatch.setattr("helpers.finetune.recipe.run", run)
    monkeypatch.setattr(starting_point, "TRAINED", tmp_path / "adapters")
    return asked


def test_another_profile_trains_its_adapter(runs, tmp_path):
    hub, data = (
        load_profile("gpu-16gb", "some/model"),
        small_run.write_tickets(tmp_path),
    )
    found = adapter_folder(hub, "auto", "half", data, max_steps=20)
    assert found.parent == tmp_path / "adapters" / "model"
    assert re.fullmatch(r"half-[0-9a-f]{8}", found.name)
    [settings] = runs
    assert settings.output == found and settings.data == data
    assert (settings.profile, settings.model) == ("gpu-16gb", "some/model")
    assert settings.overrides == {"training_config": {"max_steps": 20}}
    assert settings.resume and settings.test_rows == settings.validation_rows == 20


def test_lessons_side_by_side_train_an_adapter_one_after_the_other(
    runs, tmp_path, monkeypatch
):
    data, inside, most = small_run.write_tickets(tmp_path), [], []

    def run(settings):
        inside.append(1)
        most.append(len(inside))
        time.sleep(0.2)
        settings.output.mkdir(parents=True, exist_ok=True)
        adapter(settings.output, shown_model(settings.model))
        inside.pop()

    monkeypatch.setattr("helpers.finetune.recipe.run", run)
    hub = load_profile("gpu-16gb", "some/model")
    with ThreadPoolExecutor() as lessons:
        asked = [lessons.submit(adapter_folder, hub, "auto", "a", data) for _ in "ab"]
    assert len({lesson.result() for lesson in asked}) == 1
    assert most == [1, 1]


def test_what_changes_an_adapter_changes_its_folder(runs, tmp_path, monkeypatch):
    data, weights = small_run.write_tickets(tmp_path), tmp_path / "mine"
    weights.mkdir()
    (weights / "model.safetensors").write_bytes(b"one")

    def folder(
        name="half", profile="gpu-16gb", model="some/model", data=data, **config
    ):
        return adapter_folder(
            load_profile(profile, model), "auto", name, data, **config
        )

    same = folder()
    assert folder() == same
    (tmp_path / "fewer").mkdir()
    fewer = small_run.write_tickets(tmp_path / "fewer", rows=50)
    others = [
        folder("whole"),
        folder(model="other/model"),
        folder(profile="gpu-24gb"),
        folder(data=fewer),
        folder(max_steps=20),
        folder("tickets-lora", "tiny"),  # the shipped one is of another base
        folder(model=str(weights)),
    ]
    (weights / "model.safetensors").write_bytes(b"another")
    others.append(folder(model=str(weights)))
    monkeypatch.setattr(
        "helpers.config._dtype", lambda *_, **__: ("float16", "says the test")
    )
    others.append(folder())
    assert len({same, *others}) == 1 + len(others)


def test_the_other_tiny_checkpoint_trains_its_own(runs, tmp_path):
    other = load_profile("tiny", "data/checkpoints/tiny-llama")
    data = small_run.write_tickets(tmp_path)
    found = adapter_folder(other, "auto", "tickets-lora", data)
    assert found.parent == tmp_path / "adapters" / "tiny-llama" and len(runs) == 1


@pytest.mark.slow
def test_both_tasks_are_trained_once_on_a_model_of_the_reader(tmp_path, monkeypatch):
    """For real, in the place of the profile's model: a folder outside of the course."""
    mine = shutil.copytree(ROOT / "data/checkpoints/tiny-llama", tmp_path / "mine")
    other, freed, free = load_profile("tiny", str(mine)), [], models.free

    def spy(trainer):
        freed.append(weakref.ref(trainer.model))
        free(trainer)
        assert not any(weight.numel() for weight in trainer.model.parameters())

    run = recipe.run

    def on_fewer_rows(settings):
        assert settings.validation_rows == settings.test_rows == 20
        run(settings)

    monkeypatch.setattr(recipe, "run", on_fewer_rows)
    monkeypatch.setattr(models, "free", spy)
    monkeypatch.setattr(starting_point, "TRAINED", tmp_path / "adapters")
    few = {"max_steps": 2, "report_to": "none", "disable_tqdm": True}
    (data := tmp_path / "tickets").mkdir()
    few["data"] = small_run.write_splits(data)
    monkeypatch.setattr(starting_point, "TICKETS", data)
    tickets = adapter_folder(other, "auto", "tickets-lora", **few)
    items = item_tickets(tmp_path / "items")
    products = adapter_folder(other, "auto", "items-lora", **few | {"data": items})
    one, two = small_run.metrics(tickets), small_run.metrics(products)
    assert one["steps"] == two["steps"] == 2
    assert one["data"]["sha256"] != two["data"]["sha256"]
    assert one["data"]["rows"]["test"] == 4
    assert "queue" in one["after"] and "queue" not in two["after"]
    assert adapter_folder(other, "auto", "tickets-lora", **few) == tickets
    assert len(freed) == 2  # two trainings, and no third
    gc.collect()
    assert [model() for model in freed] == [None, None]


def test_the_second_task_is_the_product(tmp_path):
    tickets = load_splits(ROOT / "data" / "tickets")
    items = load_splits(item_tickets(tmp_path))
    for name, rows in tickets.items():
        assert len(items[name]) == len(rows)
    ticket, item = tickets["test"][0], items["test"][0]
    product = json.loads(ticket["completion"][-1]["content"])["item"]
    assert item["prompt"] == ticket["prompt"]
    assert item["completion"] == [{"role": "assistant", "content": product}]
