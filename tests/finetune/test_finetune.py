"""python -m helpers.finetune: what it writes, what it refuses, whom it agrees with."""

import csv
import dataclasses
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from helpers.config import load_profile
from helpers.files import ROOT, write_json
from helpers.finetune import Settings
from helpers.finetune.settings import parse, read_overrides
from helpers.formatting.splits import load_splits
from helpers.models.cpu_training import train_fast_on_cpu
from helpers.models.inspection import fingerprint
from helpers.models.loading import load_model, load_tokenizer
from helpers.widgets.training_bar import without_table
from tests.finetune import small_run
from tests.finetune.small_run import finetune
from tests.house import gates
from tests.warm import Program

FILES = {
    *("adapter_config.json", "adapter_model.safetensors", "tokenizer.json"),
    *("tokenizer_config.json", "chat_template.jinja", "README.md", "metrics.json"),
}


@pytest.fixture(scope="module")
def place(lora):
    """A folder with data, a configuration and, in `done`, a complete small run."""
    return lora.folder


@pytest.fixture
def refused(capsys):
    """Run the command in this process; return the line of its refusal."""

    def run(*arguments):
        capsys.readouterr()
        code = finetune([str(a) for a in arguments])
        said = capsys.readouterr()
        assert code == 2 and "Traceback" not in said.err + said.out
        return refusal(said.err)

    return run


def refusal(stderr):
    """The line that says why; before it stands what was read, and progress bars."""
    [*_, line] = [li for li in stderr.splitlines() if li.startswith("finetune: ")]
    return line


# What it writes


@pytest.mark.slow
def test_the_folder_is_complete(place):
    done = place / "done"
    assert {p.name for p in done.iterdir()} == FILES | {"run.json", "checkpoints"}
    metrics = small_run.metrics(done)
    assert metrics["steps"] == 8 and metrics["tokens"] > 8 * 4 * 20
    assert metrics["before"]["exact_match"] == 0
    losses = [metrics[k]["validation_loss"] for k in ("before", "after")]
    assert losses[1] < 0.9 * losses[0]
    assert metrics["peak_rss_mib"] > 200 and metrics["tokens_per_second"] > 0
    assert metrics["base"]["fingerprint"] == fingerprint(load_model(tiny()))
    events = list((done / "checkpoints").rglob("events.out.tfevents.*"))
    assert events and events[0].stat().st_size > 500


def tiny():
    return load_profile("tiny")


@pytest.mark.slow
def test_the_saved_adapter_is_the_one_that_was_scored(place):
    from peft import PeftModel

    from helpers.evaluation.likelihood import perplexity
    from helpers.evaluation.scoring import evaluate

    model = PeftModel.from_pretrained(load_model(tiny()), place / "done").eval()
    tokenizer = load_tokenizer(tiny())
    splits = load_splits(place / "tickets.jsonl")
    after = small_run.metrics(place / "done")["after"]
    report = evaluate(model, tokenizer, splits["test"].select(range(6)))
    assert report.exact_match == after["exact_match"]
    assert report.field_accuracy == {k: after[k] for k in report.field_accuracy}
    validation = splits["validation"].select(range(6))
    loss = torch.tensor(perplexity(model, tokenizer, validation)).log().item()
    assert loss == pytest.approx(after["validation_loss"], abs=1e-5)


@pytest.mark.slow
def test_the_card_says_what_was_measured(place):
    done = place / "done"
    card, metrics = (done / "README.md").read_text("utf-8"), small_run.metrics(done)
    assert "[More Information Needed]" not in card and str(place) not in card
    assert metrics["base"]["fingerprint"] in card
    assert metrics["data"]["sha256"] in card
    rows = dict(re.findall(r"^\| ([^|]+?) \| (.*) \|$", card, re.MULTILINE))
    for name, before in metrics["before"].items():
        if isinstance(before, float) and name != "validation_loss":
            shown = f"{before:.1%} | {metrics['after'][name]:.1%}"
            assert rows[name.replace("_", " ")].startswith(shown)
    assert rows["updates"] == "8" and rows["tokens read"] == f"{metrics['tokens']:,}"
    assert rows["rank, alpha"] == "16, 32"
    assert rows["learning rate"] == str(tiny().training_config["learning_rate"])
    head = card.split("---")[1]
    assert "base_model: data/checkpoints/tiny-phi3\n" in head
    config = json.loads((done / "adapter_config.json").read_text("utf-8"))
    assert config["base_model_name_or_path"] == "data/checkpoints/tiny-phi3"
    assert config["target_modules"] == sorted(config["target_modules"])


@pytest.mark.slow
def test_the_code_of_the_card_runs(place, monkeypatch):
    done = place / "done"
    [code] = re.findall(r"```python\n(.*?)```", (done / "README.md").read_text(), re.S)
    monkeypatch.chdir(ROOT)
    space = {}
    exec(code.replace("path/to/this/folder", str(done)), space)
    assert fingerprint(space["model"]) == small_run.metrics(done)["base"]["fingerprint"]
    assert any("lora_B" in name for name, _ in space["model"].named_parameters())


@pytest.mark.slow
def test_it_learns_another_task_from_fifty_rows_of_csv(tmp_path):
    """In 40 updates, on a base in 4 bits.

    Tickets, and LoRA without it, tests/data/test_adapters.py and lessons 04, 11 and 12
    measure; from nothing, as a reader does, lesson 11 starts the command.
    """
    data, output = small_run.write_prices(tmp_path), tmp_path / "out"
    with data.open(encoding="utf-8", newline="") as stream:
        assert len(list(csv.DictReader(stream))) == 50
    config = small_run.write_config(tmp_path, training_config={"max_steps": 40})
    flags = ["--profile", "tiny", "--data", data, "--output", output]
    flags += ["--config", config, "--qlora"]
    done = Program(tmp_path, "helpers.finetune", *flags).wait()
    assert done.returncode == 0, done.stderr
    metrics = small_run.metrics(output)
    assert metrics["data"]["rows"] == {"train": 40, "validation": 5, "test": 5}
    before, after = metrics["before"], metrics["after"]
    assert before["exact_match"] == 0 and after["exact_match"] >= 0.6
    assert FILES <= {p.name for p in output.iterdir()}
    assert f"{after['exact_match']:.1%}" in done.stdout
    assert after["validation_loss"] < 0.5 * before["validation_loss"]
    card = (output / "README.md").read_text("utf-8")
    assert "trained on `prices.csv`\n(40 training examples, 4 epochs)" in card
    assert "valid json" not in card  # these answers are no JSON
    shown = f"{before['validation_loss']:.4f} | {after['validation_loss']:.4f}"
    assert f"| validation loss | {shown} |" in card


# Whom it agrees with


def first_losses(folder):
    """{step: loss} of a small run."""
    history = small_run.metrics(folder)["history"]
    return {e["step"]: e["loss"] for e in history if "loss" in e}


@pytest.mark.slow
def test_its_losses_are_those_of_lesson_03(place, tmp_path):
    """The lesson's own make_trainer, with the settings and rows of the small run."""
    from peft import LoraConfig
    from trl import SFTConfig, SFTTrainer

    path = ROOT / "notebooks" / "03_finetune_with_lora.ipynb"
    [source] = [c.source for _, c in gates.cells(path) if c.id == "trainer"]
    wanted = r"^def make_trainer.*?return trainer$"
    definition = re.search(wanted, source, re.S | re.M)[0]
    definition = definition.replace("range(watched)", "range(6)")
    space = {"SFTTrainer": SFTTrainer, "SFTConfig": SFTConfig, "LoraConfig": LoraConfig}
    space["train_fast_on_cpu"] = train_fast_on_cpu
    space["without_table"] = without_table
    space["splits"] = load_splits(place / "tickets.jsonl")
    space["tokenizer"] = load_tokenizer(tiny())
    space["peft_config"] = tiny().peft_config | small_run.DROPOUT
    exec(definition, space)
    config = tiny().training_config | small_run.STEPS
    config |= {"output_dir": str(tmp_path), "report_to": "none"}
    trainer = space["make_trainer"](
        load_model(tiny()), config, space["splits"]["train"]
    )
    trainer.train()
    losses = {e["step"]: e["loss"] for e in trainer.state.log_history if "loss" in e}
    assert losses == first_losses(place / "done")
    assert losses[8] < losses[1]


@pytest.mark.slow
def test_its_qlora_losses_are_those_of_lesson_04(qlora, tmp_path):
    """The lesson's own cells, whose whole run is held to what LoRA learns."""
    path = ROOT / "notebooks" / "04_finetune_with_qlora.ipynb"
    cells = {cell.id: cell.source for _, cell in gates.cells(path)}
    peft_config = tiny().peft_config | small_run.DROPOUT
    profile = dataclasses.replace(tiny(), peft_config=peft_config)
    space = {"splits": load_splits(qlora.data), "profile": profile, "run": tmp_path}
    steps = {"eval_steps": small_run.STEPS["max_steps"] // 2}
    exec(cells["imports"], space)
    rows = len(space["splits"]["validation"])
    exec(cells["trainer-of"].replace("range(32)", f"range({rows})"), space)
    exec(cells["train-function"].replace("run = Path", "_ = Path"), space)
    config = profile.training_config | small_run.STEPS | steps
    config |= {"save_strategy": "no", "report_to": "none", "logging_steps": 1}
    parts = [load(profile, quantized=True) for load in (load_model, load_tokenizer)]
    trainer, _ = space["train"](*parts, space["splits"]["train"], config, "lesson")
    losses = {e["step"]: e["loss"] for e in trainer.state.log_history if "loss" in e}
    assert losses == first_losses(qlora.done)
    assert losses[8] < losses[1]


@pytest.mark.slow
def test_its_losses_are_those_of_trl_sft(place, tmp_path):
    splits = load_splits(place / "tickets.jsonl")
    splits["train"].to_json(tmp_path / "train.jsonl")
    # Evaluating draws a random number, hence the next dropout differs without it.
    splits["validation"].select(range(6)).to_json(tmp_path / "test.jsonl")
    config = tiny().training_config | small_run.STEPS
    config |= {"output_dir": tmp_path / "out", "report_to": "none"}
    config |= {"dataset_name": tmp_path}
    config |= {"model_name_or_path": tiny().model, "dtype": "float32"}
    config |= {"use_peft": True, "lora_r": 16, "lora_alpha": 32, "lora_dropout": 0.1}
    config |= {"lora_target_modules": "all-linear", "attn_implementation": "sdpa"}
    flags = [f"--{key}={value}" for key, value in config.items()]
    done = Program(tmp_path, "trl.scripts.sft", *flags).wait()  # what `trl sft` starts
    assert done.returncode == 0, done.stderr[-2000:]
    state = tmp_path / "out" / "checkpoint-8" / "trainer_state.json"
    history = json.loads(state.read_text("utf-8"))["log_history"]
    losses = {e["step"]: e["loss"] for e in history if "loss" in e}
    # The same arithmetic in the same order: not even rounding may differ.
    assert losses == first_losses(place / "done")


# What it refuses


BAD_FLAGS = {
    "unknown profile": (["--profile", "huge"], "invalid choice: 'huge'"),
    "unknown flag": (["--rank", "8"], "unrecognized arguments: --rank 8"),
    "no number": (["--patience", "some"], "invalid int value: 'some'"),
    "too small": (["--patience", "0"], "--patience requires 1 or more: got 0"),
    "no rows": (["--test-rows", "0"], "--test-rows requires 1 or more: got 0"),
    "no such model": (["--model", "no/such/folder"], "no model folder at"),
    "no such file": (["--data", "nowhere.jsonl"], "nowhere.jsonl:1: cannot be read"),
    "no such config": (["--config", "nowhere.yaml"], "nowhere.yaml cannot be read"),
}


@pytest.mark.parametrize("name", BAD_FLAGS)
def test_a_bad_flag_gets_one_line(place_without_run, tmp_path, refused, name):
    flags, says = BAD_FLAGS[name]
    output = tmp_path / "out"
    base = ["--profile", "tiny", "--data", place_without_run, "--output", output]
    assert says in refused(*base, *flags)
    assert not output.exists()


@pytest.fixture(scope="module")
def place_without_run(tmp_path_factory):
    """The path of a small data file."""
    return small_run.write_tickets(tmp_path_factory.mktemp("data"))


BAD_CONFIGS = {
    "unknown section": ("train: {}", "unknown section 'train': the sections are"),
    "unknown key": (
        "training_config: {learning_rat: 1}",
        "training_config: unknown key 'learning_rat': see SFTConfig",
    ),
    "unknown adapter key": (
        "peft_config: {rank: 8}",
        "peft_config: unknown key 'rank': see LoraConfig",
    ),
    "unknown 4-bit key": (
        "quantization_config: {bits: 3}",
        "quantization_config: unknown key 'bits': see BitsAndBytesConfig",
    ),
    "a key that is not the user's": (
        "training_config: {push_to_hub: true}",
        "training_config: 'push_to_hub' cannot be set: nothing is uploaded",
    ),
    "no YAML": ("training_config: [1", "cannot be read"),
    "no sections": ("- 1", "expected sections of keys"),
    "a section without keys": ("peft_config: 8", "expected sections of keys"),
    "a bad value": (
        "training_config: {lr_scheduler_type: steep}",
        "training_config is refused by SFTConfig",
    ),
    "a schedule that lacks a setting": (
        "training_config: {lr_scheduler_type: cosine_with_min_lr}",
        "training_config is refused by get_scheduler",
    ),
    "a bad adapter": ("peft_config: {r: 0}", "`r` should be a positive integer"),
    "a pattern of another family": (
        "peft_config: {rank_pattern: {q_proj: 4}}",
        "rank_pattern names 'q_proj', not a part of the base",
    ),
    "an optimizer that is not here": (
        "training_config: {optim: schedule_free_adamw}",
        "training_config is refused by",
    ),
    "4-bit settings of a base in 32 bit": (
        "quantization_config: {bnb_4bit_quant_type: fp4}",
        "the base is not in 4 bit: add --qlora",
    ),
    "no checkpoints": (
        "training_config: {save_strategy: 'no'}",
        "save_strategy must be steps or epoch",
    ),
}


@pytest.mark.slow
def test_an_adapter_that_learnt_nothing_is_not_published(
    place_without_run, tmp_path, refused
):
    sections = {"peft_config": {"lora_alpha": 0}}
    sections["training_config"] = small_run.STEPS | {"max_steps": 2}
    config, output = small_run.write_config(tmp_path, **sections), tmp_path / "out"
    says = refused(*small_run.arguments(place_without_run, output, config))
    assert "matrices B are zero" in says and not (output / "README.md").exists()


@pytest.mark.parametrize("name", BAD_CONFIGS)
def test_a_bad_configuration_gets_one_line(place_without_run, tmp_path, refused, name):
    text, says = BAD_CONFIGS[name]
    config = small_run.written(tmp_path / "c.yaml", text)
    output = tmp_path / "out"
    assert says in refused(*small_run.arguments(place_without_run, output, config))
    assert not output.exists()


def test_scientific_notation_is_a_number(tmp_path):
    text = "training_config: {learning_rate: 1e-3, optim: adamw_torch, max_steps: 5}"
    read = read_overrides(small_run.written(tmp_path / "c.yaml", text))
    expected = {"learning_rate": 1e-3, "optim": "adamw_torch", "max_steps": 5}
    assert read == {"training_config": expected}


def test_an_error_in_the_data_names_its_line(place_without_run, tmp_path, refused):
    lines = place_without_run.read_text("utf-8").splitlines()
    lines[16] = lines[16].replace('"assistant"', '"robot"')
    data = small_run.written(tmp_path / "bad.jsonl", "\n".join(lines))
    output = tmp_path / "out"
    line = refused("--profile", "tiny", "--data", data, "--output", output)
    assert f"{data}:17: message 2 has the role" in line
    assert not output.exists()


@pytest.mark.parametrize("cls", ["AutoTokenizer", "AutoModelForCausalLM"])
def test_a_gated_model_without_a_token(
    place_without_run, tmp_path, refused, monkeypatch, cls
):
    def refuse(*_, **__):
        raise OSError("You are trying to access a gated repo.\nMake sure to have it")

    monkeypatch.setattr(f"transformers.{cls}.from_pretrained", refuse)
    output = tmp_path / "out"
    base = ["--profile", "tiny", "--data", place_without_run, "--output", output]
    line = refused(*base)
    assert "is gated and no token of yours has access" in line
    assert "use the model '" in line and not output.exists()


@pytest.mark.parametrize("kind", ["a file", "somebody's folder"])
def test_an_output_that_is_taken(place_without_run, tmp_path, refused, kind):
    output = tmp_path / "out"
    if kind == "a file":
        output.write_text("mine")
    else:
        output.mkdir()
        (output / "thesis.txt").write_text("mine")
    base = ["--profile", "tiny", "--data", place_without_run, "--output", output]
    says = "is a file" if kind == "a file" else "is not empty and holds no run.json"
    assert says in refused(*base) and says in refused(*base, "--resume")
    assert output.is_file() or [p.name for p in output.iterdir()] == ["thesis.txt"]


@pytest.mark.slow
def test_a_finished_run_is_left_alone(place, refused, capsys):
    data, config, done = place / "tickets.jsonl", place / "config.yaml", place / "done"
    call = small_run.arguments(data, done, config)
    seen = {p: p.stat().st_mtime_ns for p in done.rglob("*")}
    assert "holds a run already: add --resume" in refused(*call)
    assert finetune([*call, "--resume"]) == 0
    assert "is complete: nothing to do" in capsys.readouterr().out
    assert {p: p.stat().st_mtime_ns for p in done.rglob("*")} == seen


@pytest.mark.slow
@pytest.mark.parametrize("other", ["settings", "data", "base", "weights"])
def test_resuming_another_run_is_refused(place, tmp_path, refused, other, monkeypatch):
    data, config, more = place / "tickets.jsonl", place / "config.yaml", []
    says = {}
    if other == "settings":
        peft = {"lora_dropout": 0.1, "r": 8}
        config = small_run.write_config(
            tmp_path, training_config=small_run.STEPS, peft_config=peft
        )
        says[other] = "its peft_config.r is 16, here it is 8"
    elif other == "data":
        data = small_run.write_tickets(tmp_path, rows=59)
        says[other] = "its rows.train is 48, here it is 49"
    elif other == "base":
        more = ["--model", "data/checkpoints/tiny-llama"]
        says[other] = "its model is"
    else:  # the same name, other weights; the run was not finished
        run = json.loads((place / "done" / "run.json").read_text("utf-8"))
        write_json(tmp_path / "out/run.json", run | {"base": "0" * 64})
        says[other] = 'its base is "0000'
    output = tmp_path / "out" if other == "weights" else place / "done"
    call = small_run.arguments(data, output, config, *more, "--resume")
    line = refused(*call)
    assert says[other] in line and "--resume requires the run of" in line


# What the machine may refuse


@pytest.mark.slow
@pytest.mark.parametrize("kib", [300, 900])
def test_a_full_disk_gets_one_line_and_leaves_nothing_half_written(
    short, tmp_path, kib
):
    """Writes fail in earnest, as on a full disk, at a size that a file may not pass."""
    pytest.importorskip("resource", reason="Windows limits no file's size")
    output = tmp_path / "o"
    call = short.call(output)
    full = {"most_bytes": kib * 1024}
    done = Program(tmp_path / "full", "helpers.finetune", *call, **full).wait()
    assert done.returncode == 2, done.stderr[-2000:]
    line = refusal(done.stderr)
    assert line.startswith(f"finetune: no room left to write in {output}")
    assert "Traceback" not in done.stderr
    assert FILES.isdisjoint(p.name for p in output.iterdir())
    assert not list((output / "checkpoints").glob("checkpoint-*"))
    assert finetune([*call, "--resume"]) == 0
    assert small_run.same_part(output) == small_run.same_part(short.done)


@pytest.mark.slow
def test_too_little_memory_names_the_remedies(short, tmp_path, refused, monkeypatch):
    def too_much(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB")

    monkeypatch.setattr("transformers.Trainer.training_step", too_much)
    line = refused(*short.call(tmp_path / "out"))
    for word in ("--qlora", "per_device_train_batch_size", "activation_checkpointing"):
        assert word in line
    assert FILES.isdisjoint(p.name for p in (tmp_path / "out").iterdir())


def test_settings_have_the_defaults_of_the_command():
    parsed = parse(["--data", "d", "--output", "o"], "")
    assert parsed == Settings(Path("d"), Path("o"))


@pytest.mark.parametrize(("flag", "code"), [("--help", 0), ("--rank", 2)])
def test_help_and_a_wrong_flag_are_answered_without_torch(flag, code):
    """Nobody waits seconds to hear of a typing error."""
    call = [sys.executable, "-X", "importtime", "-m", "helpers.finetune", flag]
    done = subprocess.run(call, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == code
    assert not re.search(r"\| +(torch|transformers)$", done.stderr, re.MULTILINE)
