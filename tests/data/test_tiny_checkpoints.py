"""The shipped checkpoints belong to their recipe, and the recipe can be interrupted."""

import hashlib
import json
import os
import signal
import stat
import time
from dataclasses import asdict, replace

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl.chat_template_utils import llama3_chat_template, phi3_chat_template

from data.recipes import (
    checkpoint_export,
    corpus,
    held_out_messages,
    pretraining,
    tiny_checkpoints,
)
from data.recipes.pretraining import Recipe
from helpers import run_command
from helpers.files import ROOT
from tests.warm import Program

CHECKPOINTS = ROOT / "data" / "checkpoints"
LLAMA, PHI3 = CHECKPOINTS / "tiny-llama", CHECKPOINTS / "tiny-phi3"
FOLDERS = {"tiny-llama": LLAMA, "tiny-phi3": PHI3}
TEMPLATES = {"tiny-llama": llama3_chat_template, "tiny-phi3": phi3_chat_template}
MAX_MIB = 10
# Steps of some milliseconds, and a tokenizer at once.
SMALL = Recipe(
    vocab_size=320,
    hidden_size=64,
    intermediate_size=64,
    layers=1,
    heads=2,
    rows=2,
    length=32,
    steps=4,
    rates=((-1, 0.0), (1, 1.0), (4, 0.0)),
    tokenizer_documents=50,
)
shipped = pytest.mark.skipif(
    not (LLAMA.is_dir() and PHI3.is_dir()),
    reason="python -m data.recipes.tiny_checkpoints has not made data/checkpoints",
)
each_folder = pytest.mark.parametrize("name", FOLDERS)


@pytest.fixture(scope="module")
def facts():
    return json.loads((LLAMA / "recipe.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def rebuilt():
    """The tokenizer, trained again from the recipe."""
    return pretraining.build_tokenizer(Recipe())


@pytest.fixture(scope="module")
def models():
    """Both checkpoints in fp32."""
    load = AutoModelForCausalLM.from_pretrained
    return {n: load(f, dtype=torch.float32).eval() for n, f in FOLDERS.items()}


@pytest.fixture(scope="module")
def tokenizers():
    return {n: AutoTokenizer.from_pretrained(f) for n, f in FOLDERS.items()}


# The files


@shipped
@each_folder
def test_sums_agree(name):
    lines = (FOLDERS[name] / "SHA256SUMS").read_text(encoding="utf-8").splitlines()
    sums = {file: digest for digest, file in (line.split("  ") for line in lines)}
    files = {f.name: f for f in FOLDERS[name].iterdir() if f.name != "SHA256SUMS"}
    found = {n: hashlib.sha256(f.read_bytes()).hexdigest() for n, f in files.items()}
    assert sums == found
    assert {"model.safetensors", "tokenizer.json", "README.md"} <= sums.keys()


@shipped
@each_folder
def test_folder_is_small_and_says_nothing_of_the_machine(name):
    files = list(FOLDERS[name].iterdir())
    assert sum(f.stat().st_size for f in files) < MAX_MIB * 2**20
    for file in files:
        if file.suffix != ".safetensors":
            text = file.read_text(encoding="utf-8")
            assert not any(path in text for path in ("/home/", "/root/", "/tmp/"))


@shipped
def test_both_folders_come_from_one_run(facts):
    recipe = (PHI3 / "recipe.json").read_text(encoding="utf-8")
    assert json.loads(recipe) == facts
    assert (LLAMA / "tokenizer.json").read_bytes() == (
        PHI3 / "tokenizer.json"
    ).read_bytes()


@shipped
@each_folder
def test_card_gives_the_figures(name, facts, models):
    card = (FOLDERS[name] / "README.md").read_text(encoding="utf-8")
    assert card == checkpoint_export.model_card(name, models[name], facts)
    assert f"{models[name].num_parameters():,} parameters" in card
    assert f"{facts['tokens']:,} tokens" in card
    assert f"copying unseen names {facts['held_out']['copy']} nats" in card


# They belong to the recipe


@shipped
def test_recipe_is_the_committed_one_and_was_run_to_its_end(facts):
    recipe = Recipe()
    assert facts["recipe"] == json.loads(json.dumps(asdict(recipe)))
    assert facts["steps_done"] == recipe.steps
    assert facts["tokens"] == recipe.steps * recipe.rows * recipe.length


@shipped
@each_folder
def test_tokenizer_is_the_recipes(name, rebuilt):
    committed = json.loads((FOLDERS[name] / "tokenizer.json").read_text("utf-8"))
    assert committed["model"] == json.loads(rebuilt.to_str())["model"]
    assert committed["pre_tokenizer"] == json.loads(rebuilt.to_str())["pre_tokenizer"]


@shipped
def test_corpus_is_the_recipes(facts, rebuilt):
    assert pretraining.corpus_digest(rebuilt, Recipe()) == facts["corpus_sha256"]


def test_another_seed_is_another_corpus(rebuilt):
    one, other = (Recipe(seed=seed) for seed in (0, 1))
    digest = pretraining.corpus_digest
    assert digest(rebuilt, one) != digest(rebuilt, other)


@shipped
def test_first_steps_repeat(facts, rebuilt):
    """The recorded losses come again from the seed.

    Tolerance 0.003 nats: matrix products in bf16 round differently on another CPU (fp32
    instead moves these losses by less than 0.001). Seed 1 ends 0.008 away.
    """
    recipe = Recipe()
    model = pretraining.new_model(recipe)
    optimizers = pretraining.make_optimizers(model, recipe)
    losses = []
    for step in range(3):
        ids = pretraining.make_batch(rebuilt, recipe, step)
        losses.append(pretraining.train_step(model, optimizers, recipe, ids, step))
    assert losses == pytest.approx(facts["first_losses"], abs=0.003)


@shipped
@each_folder
def test_weights_reproduce_the_held_out_losses(name, facts, models, rebuilt):
    found = pretraining.held_out_losses(models[name], rebuilt)
    assert found == pytest.approx(facts["held_out"], abs=1e-3)


def test_held_out_messages_are_the_recipes():
    lines = held_out_messages.FILE.read_text(encoding="utf-8")
    assert lines == held_out_messages.content() and lines.count("\n") == 32


@shipped
def test_copying_works(facts):
    """The gate of the pretraining: without it, no lesson can learn to read a name."""
    assert facts["held_out"]["copy"] < 0.05


def test_an_untrained_model_cannot_copy(rebuilt):
    losses = pretraining.held_out_losses(pretraining.new_model(Recipe()), rebuilt, 4)
    assert min(losses.values()) > 7  # ln(2048) = 7.62: it knows nothing


# What the lessons rely on


@shipped
def test_the_twins_agree(models, tokenizers):
    """Largest difference of the logits on a ticket, fp32."""
    line = (ROOT / "data" / "tickets" / "test.jsonl").open(encoding="utf-8").readline()
    text = json.loads(line)["messages"][0]["content"]
    ids = tokenizers["tiny-llama"](text, return_tensors="pt").input_ids
    with torch.inference_mode():
        llama, phi3 = (model(input_ids=ids).logits for model in models.values())
    assert (llama - phi3).abs().max() <= 1e-5
    assert llama.std() > 0.1  # not two constants


@shipped
def test_phi3_has_fused_modules(models):
    single, fused = (
        {name.rpartition(".")[2] for name, _ in models[folder].named_modules()}
        for folder in FOLDERS
    )
    assert {"qkv_proj", "gate_up_proj", "o_proj", "down_proj"} <= fused
    assert not {"q_proj", "k_proj", "v_proj", "gate_proj", "up_proj"} & fused
    assert not {"qkv_proj", "gate_up_proj"} & single


@shipped
@each_folder
def test_every_width_suits_4_bit_blocks(name, models):
    """bitsandbytes' blocks on a CPU are wrong unless 64 divides a matrix's width."""
    matrices = [p for p in models[name].parameters() if p.ndim == 2]
    assert matrices and not any(side % 64 for p in matrices for side in p.shape)


@shipped
@each_folder
def test_special_tokens_are_one_id_each(name, tokenizers):
    tokenizer = tokenizers[name]
    ids = [tokenizer.encode(t, add_special_tokens=False) for t in corpus.SPECIAL_TOKENS]
    assert ids == [[i] for i in range(len(corpus.SPECIAL_TOKENS))]
    assert {k: getattr(tokenizer, k) for k in checkpoint_export.SPECIAL[name]} == (
        checkpoint_export.SPECIAL[name]
    )
    assert tokenizer.pad_token not in checkpoint_export.STOP_TOKENS[name]


@shipped
@each_folder
def test_generation_stops_where_the_template_ends_a_turn(name, models, tokenizers):
    tokenizer, settings = tokenizers[name], models[name].generation_config
    stops = tokenizer.convert_ids_to_tokens(settings.eos_token_id)
    assert stops == checkpoint_export.STOP_TOKENS[name]
    turn = [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}]
    rendered = tokenizer.apply_chat_template(turn, tokenize=False)
    assert rendered.rpartition("A")[2].startswith(stops[0])


@shipped
def test_tokens_of_the_templates_are_trained(models):
    """Their embeddings are as long as others; those of the padding tokens, which the
    text never has, are not: they only ever were pushed away."""
    norms = models["tiny-llama"].get_input_embeddings().weight.norm(dim=1)
    unseen = norms[[corpus.SPECIAL_TOKENS.index(t) for t in corpus.PAD_TOKENS]]
    seen = norms[: len(corpus.SPECIAL_TOKENS) - len(corpus.PAD_TOKENS)]
    usual = norms.median()
    assert ((seen > 0.5 * usual) & (seen < 1.5 * usual)).all(), seen / usual
    assert (unseen > 1.5 * usual).all(), unseen / usual


@shipped
@each_folder
def test_chat_template_is_the_familys(name, tokenizers):
    assert tokenizers[name].chat_template == TEMPLATES[name]


# The recipe can be interrupted


def states_equal(one, other):
    """Whether two models have the same weights, bit for bit."""
    pairs = zip(one.state_dict().items(), other.state_dict().items(), strict=True)
    return all(a == b and torch.equal(x, y) for (a, x), (b, y) in pairs)


def test_resumed_equals_uninterrupted(tmp_path):
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    straight, log = tiny_checkpoints.pretrain(SMALL, tmp_path / "one")
    half, _ = tiny_checkpoints.pretrain(SMALL, tmp_path / "two", steps=2)
    resumed, log2 = tiny_checkpoints.pretrain(SMALL, tmp_path / "two")
    assert states_equal(straight, resumed)
    assert log["losses"] == log2["losses"] and len(log["losses"]) == 4
    assert not states_equal(straight, half)


def test_optimizer_state_matters(tmp_path):
    """The control: without the optimizers' memory the resumed run goes another way."""
    straight, log = tiny_checkpoints.pretrain(SMALL, tmp_path)
    state_file = tmp_path / "state.pt"
    state_file.unlink()
    tiny_checkpoints.pretrain(SMALL, tmp_path, steps=2)
    state = torch.load(state_file, weights_only=True)
    for optimizer in state["optimizers"]:
        optimizer["state"] = {}
    torch.save(state, state_file)
    resumed, _ = tiny_checkpoints.pretrain(SMALL, tmp_path)
    assert not states_equal(straight, resumed)


def test_a_failed_save_keeps_the_state_before(tmp_path, monkeypatch):
    tiny_checkpoints.pretrain(SMALL, tmp_path, steps=2)
    before = (tmp_path / "state.pt").read_bytes()

    def save_half(state, stream):
        stream.write(before[: len(before) // 2])
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", save_half)
        with pytest.raises(KeyboardInterrupt):
            tiny_checkpoints.pretrain(SMALL, tmp_path)
    assert (tmp_path / "state.pt").read_bytes() == before
    _, log = tiny_checkpoints.pretrain(SMALL, tmp_path)
    assert len(log["losses"]) == SMALL.steps


ENDLESS = """
import sys
from pathlib import Path
sys.path.insert(0, {root!r})
from data.recipes import tiny_checkpoints
from data.recipes.pretraining import Recipe
tiny_checkpoints.SAVE_EVERY = 1
tiny_checkpoints.pretrain(Recipe(**{recipe}), Path({work!r}))
"""


def test_a_killed_run_goes_on(tmp_path):
    """SIGKILL while it saves after every step: the state is whole, and another run goes
    on from it."""
    recipe, script = replace(SMALL, steps=100_000), tmp_path / "endless.py"
    text = ENDLESS.format(root=str(ROOT), recipe=asdict(recipe), work=str(tmp_path))
    script.write_text(text, encoding="utf-8")
    run = Program(tmp_path / "said", str(script))
    deadline = time.monotonic() + 60
    while not (tmp_path / "state.pt").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.3)
    run.send(signal.SIGKILL)
    assert run.wait().returncode == -signal.SIGKILL
    done = len(
        tiny_checkpoints.load_state(tmp_path / "state.pt", recipe)["log"]["losses"]
    )
    assert done > 0
    _, log = tiny_checkpoints.pretrain(recipe, tmp_path, steps=done + 1)
    assert len(log["losses"]) == done + 1


# The command


@pytest.fixture
def command(tmp_path, monkeypatch):
    """The command for the small recipe; returns its folders and its exit code."""
    monkeypatch.setattr(tiny_checkpoints, "Recipe", lambda: SMALL)
    folders = {"work": tmp_path / "work", "output": tmp_path / "output"}

    def run(**changed):
        paths = folders | changed
        flags = [f"--{name}={path}" for name, path in paths.items()]
        return paths | {
            "code": run_command("tiny_checkpoints", tiny_checkpoints.main, flags)
        }

    return run


def exit_of(run, capsys, **changed):
    """The one line on stderr of a command that ends with exit code 2."""
    capsys.readouterr()
    assert run(**changed)["code"] == 2
    line = capsys.readouterr().err
    assert line.count("\n") == 1 and line.startswith("tiny_checkpoints: ")
    return line


def test_command_writes_both_folders(command, capsys):
    output = command()["output"]
    assert sorted(f.name for f in output.iterdir()) == ["tiny-llama", "tiny-phi3"]
    assert f"wrote {output / 'tiny-llama'}" in capsys.readouterr().out
    for folder in output.iterdir():
        modes = {stat.S_IMODE(f.stat().st_mode) for f in folder.iterdir()}
        assert modes == {0o644} or os.name == "nt"
        model = AutoModelForCausalLM.from_pretrained(folder)
        assert model.dtype == torch.bfloat16


def test_command_again_only_exports_and_replaces(command):
    """What a killed export left beside the folders goes; old files do not stay."""
    output = command()["output"]
    first = {f: f.read_bytes() for f in output.glob("*/*")}
    (output / "tiny-llama" / "stray").touch()
    (output / "tiny-llama.part").mkdir()
    (output / "tiny-phi3").rename(output / "tiny-phi3.old")
    command()
    assert {f: f.read_bytes() for f in output.glob("*/*")} == first
    assert len(list(output.iterdir())) == 2


def test_a_failed_export_leaves_the_folders_alone(command, monkeypatch):
    output = command()["output"]
    before = {f: f.read_bytes() for f in output.glob("*/*")}

    def fail(name, model, facts):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint_export, "model_card", fail)
    assert command()["code"] == 2
    assert {f: f.read_bytes() for f in before} == before


def test_state_of_another_recipe(command, capsys, tmp_path):
    work = tmp_path / "other"
    work.mkdir()
    tiny_checkpoints.pretrain(replace(SMALL, seed=1, muon_lr=0.1), work, steps=1)
    line = exit_of(command, capsys, work=work)
    assert str(work / "state.pt") in line and "seed, muon_lr" in line
    assert "--work" in line
    assert not list((tmp_path / "output").iterdir())


@pytest.mark.parametrize("kept", [0.0, 0.5, 0.99])
def test_truncated_state(command, capsys, tmp_path, kept):
    tiny_checkpoints.pretrain(SMALL, tmp_path, steps=1)
    file = tmp_path / "state.pt"
    data = file.read_bytes()
    file.write_bytes(data[: int(kept * len(data))])
    line = exit_of(command, capsys, work=tmp_path)
    assert f"{file} is damaged" in line and "move it away" in line


def test_state_without_a_part(command, capsys, tmp_path):
    torch.save({"recipe": asdict(SMALL), "log": {}}, tmp_path / "state.pt")
    assert "lacks a part" in exit_of(command, capsys, work=tmp_path)


def test_output_that_is_a_file(command, capsys, tmp_path):
    file = tmp_path / "a-file"
    file.touch()
    assert str(file) in exit_of(command, capsys, output=file)
