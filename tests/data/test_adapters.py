"""The shipped adapters belong to their recipe and to the shipped base."""

import hashlib
import json

import pytest
from peft import PeftModel
from safetensors.torch import load_file

from data.recipes import adapters
from helpers import run_command
from helpers.config import load_profile
from helpers.evaluation.scoring import evaluate
from helpers.files import ROOT
from helpers.finetune.recipe import identify
from helpers.finetune.rows import choose_rows
from helpers.finetune.run_folder import RunFolder
from helpers.finetune.settings import complete
from helpers.formatting.splits import load_splits
from helpers.models.inspection import fingerprint
from helpers.models.loading import load_model, load_tokenizer
from tests.finetune import small_run

CHECKPOINTS = ROOT / "data" / "checkpoints"
each_adapter = pytest.mark.parametrize("name", adapters.ADAPTERS)


def metrics(name):
    return json.loads((CHECKPOINTS / name / "metrics.json").read_text("utf-8"))


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    return tmp_path_factory.mktemp("adapters")


@pytest.fixture(scope="module")
def base():
    """The fingerprint of the shipped base."""
    return fingerprint(load_model(load_profile("tiny")))


@each_adapter
def test_sums_agree(name):
    folder = CHECKPOINTS / name
    lines = (folder / "SHA256SUMS").read_text(encoding="utf-8").splitlines()
    sums = {file: digest for digest, file in (line.split("  ") for line in lines)}
    found = {f: hashlib.sha256((folder / f).read_bytes()).hexdigest() for f in sums}
    assert sums == found
    assert {f.name for f in folder.iterdir()} == sums.keys() | {"SHA256SUMS"}
    assert sums.keys() == set(adapters.KEPT)


@each_adapter
def test_it_was_trained_on_the_shipped_base(name, base):
    assert metrics(name)["base"] == {
        "model": "data/checkpoints/tiny-phi3",
        "fingerprint": base,
    }
    config = json.loads((CHECKPOINTS / name / "adapter_config.json").read_text("utf-8"))
    assert config["base_model_name_or_path"] == "data/checkpoints/tiny-phi3"


@each_adapter
def test_settings_and_data_are_those_of_the_recipe(name, work):
    settings, kept = adapters.settings(name, work), metrics(name)
    profile = complete(settings)
    splits = choose_rows(load_splits(settings.data), settings)
    identity = identify(settings, profile, splits)
    identity = json.loads(json.dumps(identity))
    assert kept["data"]["sha256"] == identity["data_sha256"]
    assert kept["data"]["rows"] == identity["rows"]
    same_everywhere = {"use_cpu", "dataloader_pin_memory"}  # these know the device
    for key, value in identity["training_config"].items():
        if key not in same_everywhere:
            assert kept["settings"]["training_config"][key] == value, key
    assert kept["settings"]["peft_config"] == identity["peft_config"]
    assert kept["steps"] == identity["training_config"]["max_steps"]


@each_adapter
def test_no_weight_is_left_at_zero(name):
    weights = load_file(CHECKPOINTS / name / "adapter_model.safetensors")
    assert weights and all(w.abs().max() > 0 for w in weights.values())


@pytest.mark.slow
def test_it_answers_as_its_card_says(work):
    """Lesson 05 asks the other two, all their test rows: tests/lessons."""
    profile, settings = load_profile("tiny"), adapters.settings("items-lora", work)
    rows = load_splits(settings.data)["test"].select(range(100))
    model = PeftModel.from_pretrained(load_model(profile), CHECKPOINTS / "items-lora")
    report = evaluate(model, load_tokenizer(profile), rows, max_new_tokens=56)
    low, high = report.intervals["exact_match"]  # of these 100 rows
    kept = metrics("items-lora")["after"]["exact_match"]
    assert low - 0.03 <= kept <= high + 0.03


def test_the_half_trained_one_is_worse_and_the_other_is_not_the_house_format():
    after = {name: metrics(name)["after"] for name in adapters.ADAPTERS}
    assert after["tickets-lora"]["exact_match"] > 0.90
    whole = after["tickets-lora"]["intervals"]["exact_match"]
    half = after["tickets-lora-half"]["intervals"]["exact_match"]
    assert half[1] < whole[0]
    assert after["items-lora"]["exact_match"] > 0.90
    assert "queue" not in after["items-lora"]


def test_a_run_of_another_base_is_refused(tmp_path, capsys, monkeypatch):
    (tmp_path / "data").mkdir()
    few = small_run.write_splits(tmp_path / "data")
    monkeypatch.setattr(adapters, "TICKETS", few)
    (tmp_path / "tickets-lora").mkdir()
    RunFolder(tmp_path / "tickets-lora").run.write_text('{"model": "other"}')
    arguments = ["--work", str(tmp_path), "--output", str(tmp_path / "out")]
    assert run_command("adapters", adapters.main, arguments) == 2
    [*_, line] = capsys.readouterr().err.splitlines()
    assert line.startswith("adapters: tickets-lora: ")
    assert not (tmp_path / "out").exists()
