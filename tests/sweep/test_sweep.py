"""Sweeps: their grids, their rows, and runs of two updates."""

import json

import pytest
from bitsandbytes.functional import dequantize_4bit

from helpers import UserError, run_command, sweep
from helpers.config import load_profile, profile_names
from helpers.course import RESULTS
from helpers.models import load_model
from helpers.sweep import __main__ as command
from helpers.sweep import answer, grids, make_trainer, profile_of, questions, runs
from helpers.sweep.rows import RowFile
from helpers.sweep.runs import tickets

PROFILE = load_profile("tiny")
# Of these the first two share a setting.
QUESTIONS = """
tiny:
  usual: {updates: 2}
  questions:
    rank: [{r: [16, 4]}]
    dropout: [{lora_dropout: [0.0, 0.5]}]
    fewer: [{train_rows: 8}]
"""
FLAGS = ["--seeds", "0", "--scored", "4"]


def rows(question: str, seeds=(0,)) -> list[dict]:
    return grids.rows_of(question, PROFILE, list(seeds), 200)


@pytest.fixture
def few(monkeypatch, tmp_path):
    """The command on QUESTIONS, in a folder of its own; counts what is measured."""
    asked = []

    def count(row, profile):
        asked.append(row)
        return {"updates": row["updates"], "exact_match": 0.5}

    file = tmp_path / "questions.yaml"
    file.write_text(QUESTIONS, encoding="utf-8")
    monkeypatch.setattr(grids, "QUESTIONS", file)
    monkeypatch.setattr(sweep, "answer", count, raising=False)

    def run(*given: str, flags=FLAGS) -> list[dict]:
        argv = [*given, *flags, "--output", str(tmp_path)]
        run.code = run_command("sweep", command.main, argv)
        return asked

    run.folder = tmp_path
    return run


def ledger(folder) -> dict:
    [file] = folder.glob("sweep.tiny.*.json")
    return json.loads(file.read_text(encoding="utf-8"))


@pytest.mark.parametrize("profile", ["tiny", "small"])
def test_every_setting_of_a_question_reaches_the_trainer(profile):
    usual = load_profile(profile)
    for question in questions(profile):
        for row in grids.rows_of(question, usual, [1], 200):
            changed = profile_of(row | {"updates": 7}, profile)
            training, adapter = changed.training_config, changed.peft_config
            assert (training["seed"], training["max_steps"]) == (row["seed"], 7)
            assert training["learning_rate"] == row["learning_rate"]
            size = training["per_device_train_batch_size"]
            assert size == row["rows_per_update"]
            if row["method"] != "full":
                assert adapter["r"] == row["r"]


def test_a_grid_is_every_combination_for_each_seed():
    found = rows("rate-rank", [0, 1])
    pairs = {(r["r"], r["learning_rate"], r["seed"]) for r in found}
    ranks, rates = ({r[key] for r in found} for key in ("r", "learning_rate"))
    assert len(found) == len(pairs) == 2 * len(ranks) * len(rates)
    assert [row["seed"] for row in found] == sorted(row["seed"] for row in found)


def test_what_two_grids_have_in_common_is_one_row(few):
    few_grids = QUESTIONS.replace("4]}]", "4]}, {r: [4, 8]}]")
    grids.QUESTIONS.write_text(few_grids, encoding="utf-8")
    assert [row["r"] for row in few("rank")] == [16, 4, 8]


def test_batches_are_compared_on_equal_rows_read():
    found = rows("batch")
    assert len({row["updates"] * row["rows_per_update"] for row in found}) == 1
    assert len({row["rows_per_update"] for row in found}) > 2


def test_full_fine_tuning_names_no_rank():
    assert all("r" not in row and "lora_alpha" not in row for row in rows("rate-full"))


def test_equal_targets_are_equal():
    sizes = []
    for row in rows("targets"):
        model = load_model(PROFILE)
        lora = profile_of(row, "tiny").peft_config
        sizes.append(trainable(model, lora))
    assert max(sizes) < 1.02 * min(sizes)
    assert trainable(load_model(PROFILE), lora | {"r": 16}) < 0.9 * min(sizes)


def trainable(model, lora: dict) -> int:
    from peft import LoraConfig, get_peft_model

    return get_peft_model(model, LoraConfig(**lora)).get_nb_trainable_parameters()[0]


def test_a_row_is_measured_once(few):
    assert len(few("rank")) == 2 and few.code == 0
    assert len(few("rank")) == 2 and few.code == 0
    assert [row["r"] for row in ledger(few.folder)["rows"]] == [16, 4]


def test_a_sweep_goes_on_where_it_ended(few):
    assert few("rank", "--minutes", "0") == [] and few.code == 1
    few("rank")
    file = RowFile("sweep.tiny", few.folder)
    file.entry["rows"].pop()
    file.path.write_text(json.dumps(file.entry), encoding="utf-8")
    assert [row["r"] for row in few("rank")] == [16, 4, 4]


def test_the_same_settings_are_not_measured_for_two_questions(few):
    few("rank")
    assert [row["lora_dropout"] for row in few("dropout")[2:]] == [0.5]
    copied = ledger(few.folder)["rows"][2]
    assert (copied["question"], copied["exact_match"]) == ("dropout", 0.5)
    assert [row["train_rows"] for row in few("fewer")[3:]] == [8]


def test_the_users_mistakes_are_one_line(few, capsys):
    few("rnak")
    assert few.code == 2 and "rank, dropout" in (told := capsys.readouterr().err)
    assert told.count("\n") == 1
    few("rank")
    [file] = few.folder.glob("*.json")
    file.write_text('{"rows": [', encoding="utf-8")
    capsys.readouterr()
    few("rank")
    told = capsys.readouterr().err
    assert few.code == 2 and str(file) in told and told.count("\n") == 1


@pytest.mark.parametrize("flag", ["--jobs 0", "--scored 0", "--scored 201"])
def test_numbers_that_cannot_be_are_one_line(few, capsys, flag):
    few("rank", *flag.split(), flags=() if "scored" in flag else FLAGS)
    told = capsys.readouterr().err
    assert few.code == 2 and f"{flag.split()[0]} must be from 1 to" in told
    assert told.count("\n") == 1 and not [*few.folder.glob("*.json")]


def test_seeds_and_folders_that_cannot_be_are_one_line(few, tmp_path, capsys):
    few("rank", flags=["--seeds", "-1"])
    told = capsys.readouterr().err
    assert few.code == 2 and "--seeds must be from 0" in told and told.count("\n") == 1
    (file := tmp_path / "file").touch()
    assert run_command("sweep", command.main, ["rank", "--output", str(file)]) == 2
    told = capsys.readouterr().err
    assert f"{file} is a file" in told and told.count("\n") == 1


def test_one_gpu_is_chosen_before_a_profile_looks_for_it(few, monkeypatch):
    seen, load = [], command.load_profile
    monkeypatch.setattr(command, "use_one_gpu", lambda: seen.append("one GPU"))
    said = lambda name: (seen.append("profile"), load(name))[1]  # noqa: E731
    monkeypatch.setattr(command, "load_profile", said)
    few("rank")
    assert seen[:2] == ["one GPU", "profile"]


def test_fewer_rows_in_a_question_of_before_are_another_setting(few):
    few("fewer")
    assert [row["train_rows"] for row in few("fewer")] == [8]
    text = QUESTIONS.replace("{train_rows: 8}", "{}")
    grids.QUESTIONS.write_text(text, encoding="utf-8")
    assert "train_rows" not in few("fewer")[1] and len(ledger(few.folder)["rows"]) == 2


def test_all_of_the_courses_rows_are_measured():
    [file] = RESULTS.glob("sweep.tiny.*.json")
    there = json.loads(file.read_text(encoding="utf-8"))["rows"]
    kept = RowFile("sweep.tiny", RESULTS)
    kept.entry = {"rows": there}
    for question in questions("tiny"):
        asked = [
            row for row in rows(question, (0, 1, 2)) if row["question"] == question
        ]
        assert kept.missing(asked) == []


@pytest.mark.parametrize("place", ["usual: {updates: 2", "{lora_dropout: [0.0, 0.5]"])
def test_a_mistyped_setting_is_refused(few, capsys, place):
    file = grids.QUESTIONS
    file.write_text(QUESTIONS.replace(place, f"{place}, lerning_rate: 1"), "utf-8")
    assert few("dropout") == [] and few.code == 2
    assert "'lerning_rate' is no setting" in capsys.readouterr().err


def test_a_mistyped_method_is_not_lora():
    with pytest.raises(KeyError, match="rslra"):
        answer(SHORT | {"method": "rslra"}, "tiny")


def test_another_length_is_tokenised_again(monkeypatch):
    def longest(trainer, *_):
        return {"longest": max(map(len, trainer.train_dataset["input_ids"]))}

    monkeypatch.setattr(runs, "train_and_score", longest)
    row = SHORT | {"method": "lora"}
    whole, cut = (answer(row | {"max_length": n}, "tiny") for n in (256, 60))
    assert cut["longest"] == 60 < whole["longest"]


def test_profiles_without_questions_say_so():
    without = set(profile_names()) - {"tiny", "small", "auto"}
    with pytest.raises(UserError, match="tiny, small"):
        questions(min(without))


SHORT = {"learning_rate": 2.5e-3, "rows_per_update": 2, "seed": 0, "scored": 4}
SHORT |= {"train_rows": 8, "updates": 2, "r": 4, "lora_alpha": 8}


@pytest.mark.parametrize("method", ["lora", "dora", "pissa", "full", "lora+", "loftq"])
def test_a_method_trains(method):
    found = answer(SHORT | {"method": method, "loraplus_lr_ratio": 4}, "tiny")
    assert found["updates"] == 2 and 0.5 < found["validation_loss"] < 3
    assert (found["trainable"] > 10**6) == (method == "full")


def test_a_curve_and_equal_time():
    row = SHORT | {"method": "lora", "look_every": 1}
    found = answer(row, "tiny")
    assert [look["updates"] for look in found["curve"]] == [1, 2]
    assert found["curve"][-1]["validation_loss"] == found["validation_loss"]
    del row["updates"], row["look_every"]
    some = answer(row | {"cpu_budget": 4 * found["seconds_an_update"]}, "tiny")
    assert 1 < some["updates"] < 12


def test_loftq_begins_with_what_rounding_lost():
    row = SHORT | {"method": "loftq"}
    profile = profile_of(row, "tiny")
    train = tickets()["train"].select([0])
    whole, lost = load_model(PROFILE), []
    for method in ("qlora", "loftq"):
        trainer = make_trainer(profile, method, train)
        layer = trainer.model.base_model.model.model.layers[0].mlp.down_proj
        rounded = dequantize_4bit(layer.weight.data, layer.weight.quant_state)
        rounded = rounded.float() + layer.get_delta_weight("default")
        lost.append((whole.model.layers[0].mlp.down_proj.weight - rounded).norm())
    assert lost[1] < 0.99 * lost[0]
