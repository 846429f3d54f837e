"""An adapter is found, and refused in one line where it does not fit."""

import dataclasses
import json

import pytest

from helpers.config import load_profile
from helpers.files import ROOT
from helpers.finetune import starting_point as adapter_folder
from helpers.finetune.starting_point import AdapterError

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
    return adapter_folder.adapter_folder(profile, str(folder), "shipped")


def test_the_shipped_adapters_fit_the_tiny_profile(profile):
    for name in ("tickets-lora", "tickets-lora-half"):
        found = adapter_folder.adapter_folder(profile, "auto", name)
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

    monkeypatch.setattr("helpers.finetune.run", run)
    monkeypatch.setattr(adapter_folder, "ROOT", tmp_path)
    hub = dataclasses.replace(profile, name="gpu-16gb", model="some/model")
    found = adapter_folder.adapter_folder(hub, "auto", "half", max_steps=20)
    assert found == tmp_path / "build" / "adapters" / "gpu-16gb" / "half"
    [settings] = runs
    assert settings.overrides == {"training_config": {"max_steps": 20}}
    assert settings.resume and settings.profile == "gpu-16gb"
