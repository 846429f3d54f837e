"""The settings that are compared on SmolLM2: each is one that the trainer takes."""

import inspect
import json

import pytest
import torch
from peft import LoraConfig
from transformers import AutoTokenizer
from trl import SFTConfig

from helpers import run_command
from helpers.config import load_profile
from helpers.course.ledger import RESULTS
from helpers.files import ROOT
from helpers.models import small as model
from tests.benchmarks import small, small_speed
from tests.lessons import cells

ROW = {"seed": 1, "rows_read": 1200}
LESSON_00 = "00_start_here.small"


def ledger(name):
    """What a file of the ledger holds; its name without the machine's, or a pattern."""
    [file] = RESULTS.glob(f"{name}.cpu-2-cores.json")
    return json.loads(file.read_text(encoding="utf-8"))


def profile_rows(count):
    """The ledger's runs of the profile as it is that read that many rows."""
    rows = [r for r in ledger("small_settings")["rows"] if r["rows_read"] == count]
    return [row for row in rows if row["setting"] == "as the profile"]


@pytest.mark.parametrize("name", small.SETTINGS)
def test_a_setting_changes_the_profile_in_what_it_names(name):
    profile, changed = (
        load_profile("small"),
        small.settings_of(ROW | {"setting": name}),
    )
    for section, keys in small.SETTINGS[name].items():
        if section != "template":
            assert getattr(changed, section).items() >= keys.items()
            same = getattr(profile, section).items() >= keys.items()
            assert not same or name == small.DEFAULTS
    known = inspect.signature(SFTConfig).parameters.keys()
    assert changed.training_config.keys() <= known
    assert LoraConfig(**changed.peft_config)


def test_the_default_arguments_are_those_of_trl_and_peft():
    changed = small.settings_of(ROW | {"setting": small.DEFAULTS})
    given, own = SFTConfig(**changed.training_config), SFTConfig(use_cpu=True)
    for name in ("learning_rate", "lr_scheduler_type", "warmup_steps", "adam_beta2"):
        assert getattr(given, name) == getattr(own, name)
    for name in ("per_device_train_batch_size", "gradient_accumulation_steps"):
        assert getattr(given, name) == getattr(own, name)
    assert changed.peft_config == {"task_type": "CAUSAL_LM"}


def test_every_setting_is_measured():
    rows = ledger("small_settings")["rows"]
    assert {row["setting"] for row in rows} == {*small.SETTINGS}


def test_all_settings_read_the_same_rows():
    for name in small.SETTINGS:
        training = small.settings_of(ROW | {"setting": name}).training_config
        size = training["per_device_train_batch_size"]
        assert training["max_steps"] * size == 1200
        assert (training["seed"], training["data_seed"]) == (1, 1)


@pytest.mark.parametrize("flag", ["--rows 10", "--rows 2001", "--scored 201"])
def test_rows_that_cannot_be_are_refused_before_training(flag, tmp_path, capsys):
    call = [*flag.split(), "--output", str(tmp_path)]
    assert run_command("small", small.main, call) == 2
    assert f"{flag.split()[0]} must be from" in capsys.readouterr().err
    assert not [*tmp_path.iterdir()]


def test_what_the_readme_says_of_the_aim_stands_in_the_ledger():
    rows = ledger("small_speed")["rows"]
    rows = rows[2:] + rows[:2]  # of the machine of the table, of a faster one
    assert [row["threads"] for row in rows] == [1, 2, 1, 2]
    faster = rows[2]["limit_gflops"] / rows[0]["limit_gflops"]
    seconds = [row["profile small"]["seconds_an_update"] for row in rows]
    steps = load_profile("small").training_config["max_steps"]
    minutes = [steps * second / 60 for second in seconds]
    shares = [100 * row["profile small"]["share_of_limit"] for row in rows]
    other = ("the same settings, TRL's own way", "TRL's and PEFT's default arguments")
    slower, defaults = ([row["times_as_fast"][way] for row in rows] for way in other)
    lessons = [ledger(name) for name in ("03_finetune_with_lora.small", LESSON_00)]
    third, first = (100 * one["figures"]["tuned_exact_match"] for one in lessons)
    [stock] = [
        r for r in ledger("small_settings")["rows"] if r["setting"] == small.DEFAULTS
    ]
    ten = [100 * row["exact_match"] for row in profile_rows(small.READ)]
    readme = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    hour = [ledger(f"0{n}_*.small")["seconds"] for n in range(8)]
    clock = ledger("small_course")["clock_seconds"]
    assert sum(hour) / 2 < clock < 3600  # and the set-up
    for said in (
        f"00 to 07 took {clock / 60:.0f} minutes on two cores",
        f"test messages one seed gets {third:.0f} % in 03, {first:.0f} % in 00",
        f"It gets {first:.0f} % after 1,400 updates",
        f"reach {min(ten):.0f} to {max(ten):.0f} % of 100 validation",
        f"after 1,200 of them they get {100 * stock['exact_match']:.0f} % of those 100",
        f"on one that is {faster:.1f} times as fast in such products",
        "an update takes {:.2f} s on one thread and {:.2f} s on two".format(*seconds),
        "so 1,400 take {:.0f} and {:.0f} minutes, at".format(*minutes),
        "at {:.0f} and {:.0f} % of that speed".format(*shares),
        "{:.2f} s on one thread and {:.2f} s on two".format(*seconds[2:]),
        "so 1,400 take {:.0f} and {:.0f} minutes, at".format(*minutes[2:]),
        "at {:.0f} and {:.0f} %. The rest".format(*shares[2:]),
        "{:.1f}, {:.1f}, {:.1f} and {:.1f} times as long, and".format(*slower),
        "{:.1f}, {:.1f}, {:.1f} and {:.1f} times as long for the".format(*defaults),
    ):
        assert said in readme


def test_what_pages_say_of_the_ledger_stands_in_it():
    rows = ledger("small_settings")["rows"]
    training = load_profile("small").training_config
    runs = profile_rows(training["max_steps"] * training["per_device_train_batch_size"])
    scores = [100 * row["exact_match"] for row in runs]
    said = f"{min(scores):g} to {max(scores):g} % of {runs[0]['scored']} validation"
    assert said in (ROOT / "README.md").read_text(encoding="utf-8")
    assert {row["seed"] for row in runs} == {0, 1, 2}

    short = [r for r in rows if r["rows_read"] == small.READ and r["train_loss"] < 0.1]
    assert [r["setting"] for r in rows if r["train_loss"] >= 0.1] == [small.DEFAULTS]
    assert len({row["setting"] for row in rows}) > 20
    losses, scores = zip(
        *((r["train_loss"], r["exact_match"]) for r in short), strict=True
    )
    said = f"At losses of {min(losses):.2f} to {max(losses):.2f} the scores reach "
    said += f"from {100 * min(scores):.0f} to {100 * max(scores):.0f} %"
    assert said in cells.sources("09_find_silent_failures")["small-after"]
    assert all(
        row["train_loss"] < 0.01 for row in rows if row["rows_read"] != small.READ
    )


@pytest.mark.skipif(not model.FOLDER.exists(), reason="python -m helpers.models.small")
def test_the_system_prompt_can_be_left_out():
    tokenizer = AutoTokenizer.from_pretrained(model.FOLDER)
    chat = [{"role": "user", "content": "hello"}]
    usual = tokenizer.apply_chat_template(chat, tokenize=False)
    tokenizer.chat_template = small.without_system(tokenizer.chat_template)
    bare = tokenizer.apply_chat_template(chat, tokenize=False)
    assert usual.endswith(bare) and bare == "<|im_start|>user\nhello<|im_end|>\n"


def test_the_limit_is_that_of_a_product(monkeypatch):
    monkeypatch.setattr(small_speed, "WIDTH", 256)
    assert 1e8 < small_speed.limit() < 1e15


def test_a_share_follows_from_operations_and_seconds(monkeypatch):
    took = {"seconds_an_update": 2.0, "rows_per_second": 1.0}
    slow = {"seconds_an_update": 8.0, "rows_per_second": 0.25}
    monkeypatch.setattr(small_speed, "limit", lambda: 100e9)
    monkeypatch.setattr(small_speed, "operations", lambda **way: 100e9)
    monkeypatch.setattr(small_speed, "turn", lambda **way: slow if way else took)
    [found] = small_speed.measure([{"threads": torch.get_num_threads()}])
    assert found["profile small"]["share_of_limit"] == 0.5
    assert found["the same settings, TRL's own way"]["share_of_limit"] == 0.125
    assert set(found["times_as_fast"].values()) == {1.0, 4.0}
