"""python -m helpers.merge: what it writes, what it proves, what it refuses."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from datasets import DatasetDict
from peft import LoraConfig, get_peft_model
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from transformers import GenerationConfig

from helpers.config import load_profile
from helpers.files import ROOT, write_json
from helpers.merge import merging
from helpers.merge.__main__ import main as merge
from helpers.merge.proof import check
from helpers.models import ModelError, fingerprint, load_model, load_tokenizer
from tests.models.families import build
from tests.models.tiny_model import build_model, build_tokenizer
from tests.warm import Program

ADAPTER = ROOT / "data" / "checkpoints" / "tickets-lora"
TICKETS = ROOT / "data" / "tickets"
UNUSED = 0  # a token that no answer holds


@pytest.fixture(autouse=True, scope="module")
def tickets_read_once():
    """Each merge reads them all, for a few rows."""
    read, tickets = merging.load_splits, merging.load_splits(TICKETS)

    def once(path, columns=None):
        ours = path == TICKETS and not columns
        return DatasetDict(tickets) if ours else read(path, columns=columns)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(merging, "load_splits", once)
        yield


@pytest.fixture
def adapter(tmp_path):
    """A copy of the shipped adapter, to be changed."""
    return shutil.copytree(ADAPTER, tmp_path / "adapter")


@pytest.fixture
def warm(tmp_path, monkeypatch):
    """The proof's new process starts warm: a fork that knows nothing of the course."""

    def run(command, cwd, env, **_):
        return Program(tmp_path / "said", *command[1:], cwd=cwd, env=env).wait()

    own = SimpleNamespace(run=run)
    monkeypatch.setattr("helpers.merge.proof.subprocess", own)


@pytest.fixture
def refused(tmp_path):
    """Run the command; return its error, having seen that it left nothing."""

    def run(*arguments, kind=ValueError):
        output = tmp_path / "out" / "merged"
        with pytest.raises(kind) as error:
            merge([*map(str, arguments), "--output", str(output)])
        assert not output.parent.exists() or not any(output.parent.iterdir())
        assert "\n" not in str(error.value)
        return str(error.value)

    return run


@pytest.mark.slow
def test_the_merged_model_is_the_trained_one_on_its_own(tmp_path, capsys, monkeypatch):
    from transformers import AutoModelForCausalLM

    output = tmp_path / "merged"
    own = merging.stop_ids
    monkeypatch.setattr(merging, "stop_ids", lambda *model: [*own(*model), UNUSED])
    theirs = ("merged.old", "merged.part.proof")  # of somebody else, by chance
    for name in theirs:
        (tmp_path / name).mkdir()
        (tmp_path / name / "thesis.txt").touch()
    merge(["--adapter", str(ADAPTER), "--output", str(output), "--rows", "3"])
    proof = json.loads((output / "merge.json").read_text())
    assert (
        proof["dtype"] == proof["trained_in"] == "float32"
    )  # its metrics.json says so
    assert 0 < proof["largest_difference"] < 1e-3 and proof["largest_logit"] > 10
    assert proof["share_of_the_effect"] < 1e-4
    assert proof["equal_answers"] == proof["answers"] == 3
    said = capsys.readouterr().out
    assert "3 of 3 answers are equal" in said and "the base is untouched" in said
    model = AutoModelForCausalLM.from_pretrained(output)
    stop = json.loads((output / "generation_config.json").read_text())["eos_token_id"]
    assert stop[-1] == UNUSED and len(stop) > 1  # all that ends an answer
    assert type(model).__name__ == "Phi3ForCausalLM" and model.dtype == torch.float32
    assert {"tokenizer.json", "chat_template.jinja"} <= {
        f.name for f in output.iterdir()
    }
    assert {p.name for p in tmp_path.iterdir()} == {"merged", *theirs}
    assert all((tmp_path / name / "thesis.txt").exists() for name in theirs)
    with pytest.raises(ValueError, match="is there already: give a new folder"):
        merge(["--adapter", str(ADAPTER), "--output", str(output)])


@pytest.mark.slow
def test_another_precision_is_measured_on_prompts_of_the_readers_own(
    tmp_path, warm, monkeypatch
):
    output, data = tmp_path / "merged", tmp_path / "mine.csv"
    rows = "".join(f"Order G{n}21,b\n" for n in range(12))
    data.write_text(f"Mail,Answer\n{rows}", encoding="utf-8")
    names = {"data": data, "map": "Mail=prompt,Answer=completion"}
    beside = tmp_path / "tokenizer.model"  # as Phi-3's, for llama.cpp
    beside.write_bytes(b"pieces")
    there = {beside.name: str(beside)}
    monkeypatch.setattr(merging, "find_file", lambda model, name: there.get(name))
    proof = merging.merge_adapter(ADAPTER, output, "bfloat16", rows=1, **names)
    assert proof["answers"] == 1
    assert (output / "tokenizer.model").read_bytes() == b"pieces"
    assert proof["trained_in"] == "float32" and proof["dtype"] == "bfloat16"
    assert 0.01 < proof["largest_difference"] < 2
    assert 1e-3 < proof["share_of_the_effect"] < 0.25
    weights = load_file(output / "model.safetensors")
    assert {weight.dtype for weight in weights.values()} == {torch.bfloat16}


def save_trained(base, folder, known, **more):
    """Writes an adapter as if it had been trained; known: its metrics.json."""
    config = {"r": 4, "target_modules": "all-linear", "task_type": "CAUSAL_LM"}
    model = get_peft_model(base, LoraConfig(**config | more))
    torch.manual_seed(1)
    for name, weight in model.named_parameters():
        if "lora_B" in name or name.endswith("bias"):
            with torch.no_grad():
                weight += torch.randn_like(weight) * 0.02
    model.save_pretrained(folder)
    write_json(folder / "metrics.json", known)


CHANGES = {  # what an adapter changes of its base, and a model that has it
    "pissa": (None, {"init_lora_weights": "pissa"}),
    "olora": (None, {"init_lora_weights": "olora"}),
    "bias": ("Qwen2.5", {"bias": "all"}),
}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Careful, disabling adapter layers with bias")
@pytest.mark.parametrize("how", CHANGES)
def test_an_adapter_that_changes_its_base_is_merged_into_the_base(tmp_path, warm, how):
    family, config = CHANGES[how]
    model = family and str(build(family, tmp_path / "family").folder)
    profile = load_profile("tiny", model)
    base = load_model(profile)
    known = {
        "base": {"model": profile.model, "fingerprint": (bare := fingerprint(base))}
    }
    known["settings"] = {"dtype": "float32", "peft_config": {"r": 4}}
    save_trained(base, tmp_path / "adapter", known, **config)
    assert fingerprint(base) != bare  # the negative control: as merging saw it before
    proof = merging.merge_adapter(tmp_path / "adapter", tmp_path / "merged", rows=2)
    assert proof["base"]["fingerprint"] == bare
    assert proof["largest_difference"] < 1e-4 * proof["largest_logit"]
    assert proof["share_of_the_effect"] < 0.01 and proof["equal_answers"] == 2


@pytest.mark.slow
def test_an_adapter_of_a_4_bit_base_is_merged_into_those_weights(tmp_path, warm):
    profile = load_profile("tiny")
    base = load_model(profile, quantized=True)
    known = {"base": {"model": profile.qlora_model, "fingerprint": fingerprint(base)}}
    known["settings"] = {"qlora": True, "dtype": "float32"}
    known["settings"]["quantization_config"] = profile.quantization_config
    save_trained(base, tmp_path / "adapter", known)
    proof = merging.merge_adapter(tmp_path / "adapter", tmp_path / "merged", rows=2)
    assert proof["trained_in"] == "4 bit" and proof["dtype"] == "float32"
    assert proof["share_of_the_effect"] < 0.01 and proof["equal_answers"] == 2
    config = json.loads((tmp_path / "merged" / "config.json").read_text())
    assert "quantization_config" not in config
    assert (tmp_path / "merged" / "model.safetensors").stat().st_mode & 0o044


@pytest.mark.slow
def test_a_model_that_lost_its_adapter_is_not_written(refused, monkeypatch, warm):
    """The negative control: what is saved is the base alone."""

    def unload(self, *_, **__):
        return self.unload()

    monkeypatch.setattr("peft.PeftModel.merge_and_unload", unload, raising=False)
    monkeypatch.setattr("peft.tuners.lora.LoraModel.merge_and_unload", unload)
    line = refused("--adapter", ADAPTER, "--rows", "2")
    assert "the merged model is another one, nothing was written" in line
    assert "100.0% of what the adapter changes; 0 of 2 answers are equal" in line


@pytest.mark.slow
def test_a_base_that_changes_meanwhile_is_refused(refused, monkeypatch):
    prints = iter(["a" * 64, "b" * 64])
    monkeypatch.setattr(merging, "fingerprint", lambda model: next(prints))
    line = refused("--adapter", ADAPTER, "--rows", "1")
    assert line == "the base changed meanwhile: aaaaaaaa, now bbbbbbbb"


def test_somebody_elses_part_is_left_alone(tmp_path):
    part = tmp_path / "merged.part"
    part.mkdir()
    (part / "thesis.txt").touch()
    says = "merged.part is there already, perhaps of a merge that was killed: remove"
    with pytest.raises(ValueError, match=says):
        merge(["--adapter", str(ADAPTER), "--output", str(tmp_path / "merged")])
    assert [p.name for p in tmp_path.rglob("*")] == ["merged.part", "thesis.txt"]


def test_no_precision_is_taken_in_silence(adapter, refused):
    for file in ("metrics.json", "README.md"):
        (adapter / file).unlink()
    line = refused("--adapter", adapter)
    assert line.startswith("the adapter's folder names no precision")
    assert "give --dtype float32, bfloat16 or float16" in line
    line = refused("--adapter", adapter, "--dtype", "int8")
    assert "--dtype must be one of float32, bfloat16, float16, got 'int8'" in line


def test_a_damaged_adapter_is_refused(adapter, refused):
    path = adapter / "adapter_model.safetensors"
    weights = load_file(path)
    save_file({f"module.{key}": weights[key] for key in weights}, path)
    line = refused("--adapter", adapter, "--rows", "1", kind=ModelError)
    assert "32 of its keys match no module, 32 are missing" in line


def test_another_base_is_refused(adapter, refused):
    metrics = json.loads((adapter / "metrics.json").read_text())
    metrics["base"]["fingerprint"] = "0" * 64
    write_json(adapter / "metrics.json", metrics)
    line = refused("--adapter", adapter, "--rows", "1", kind=ModelError)
    assert (
        "needs data/checkpoints/tiny-phi3 in float32 with the fingerprint 0000" in line
    )


def test_a_base_of_two_names_or_of_a_revision_is_asked_for(adapter, refused):
    path = adapter / "adapter_config.json"
    settings = json.loads(path.read_text(encoding="utf-8"))
    write_json(path, settings | {"base_model_name_or_path": "someone/else"})
    line = refused("--adapter", adapter, "--rows", "1")
    assert "names the base 'someone/else', metrics.json or the card" in line
    write_json(path, settings | {"revision": "step3000"})
    line = refused("--adapter", adapter, "--rows", "1")
    assert "names the revision 'step3000' of its base" in line


def test_a_full_disk_is_told_in_one_line(adapter, refused, monkeypatch):
    def full(*_):
        raise SafetensorError("No space left on device")

    monkeypatch.setattr(merging, "merge", full)
    line = refused("--adapter", adapter, "--rows", "1")
    assert line.endswith("cannot be written: No space left on device")


def test_a_gpu_without_room_is_told_in_one_line(adapter, refused, monkeypatch):
    def full(*_):
        raise torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate")

    monkeypatch.setattr(merging, "merge", full)
    line = refused("--adapter", adapter, "--rows", "1")
    assert line.endswith("CUDA_VISIBLE_DEVICES= before the command merges on the CPU")


def test_a_mount_point_is_refused(adapter, refused, monkeypatch):
    monkeypatch.setattr(Path, "is_mount", lambda self: True)
    line = refused("--adapter", adapter, "--rows", "1")
    assert "is a mount point: give a folder in it" in line


def test_a_base_of_4_bit_weights_is_known_without_metrics(
    adapter, tmp_path, monkeypatch
):
    """As Unsloth's, whose adapters come with no metrics.json."""
    (adapter / "metrics.json").unlink()
    (adapter / "README.md").unlink()
    own, asked = {"bnb_4bit_quant_type": "fp4"}, []
    found = lambda profile: replace(  # noqa: E731
        profile, qlora_model=profile.model, quantization_config=own
    )
    monkeypatch.setattr(merging, "four_bit", found)
    monkeypatch.setattr(merging, "merge", lambda *given: asked.append(given) or {})
    monkeypatch.setattr(merging, "check", lambda proof: None)
    merging.merge_adapter(adapter, tmp_path / "out", "bfloat16", rows=1)
    [(_, profile, in_4_bit, dtype, *_)] = asked
    assert in_4_bit and dtype == "bfloat16" and profile.qlora_model == profile.model
    assert profile.quantization_config["bnb_4bit_quant_type"] == "fp4"


def test_a_base_to_which_nothing_can_be_added_is_refused(adapter, refused, monkeypatch):
    """FP8 weights: PEFT adds in their type, or saves what no settings describe."""
    own = {"quant_method": "fp8"}
    monkeypatch.setattr(merging, "checkpoint_quantization", lambda profile: own)
    line = refused("--adapter", adapter, "--rows", "1")
    assert "as fp8 has them, to which nothing can be added: give the same" in line


def test_no_rows_are_refused(adapter, refused):
    assert "--rows requires 1 or more, got 0" in refused(
        "--adapter", adapter, "--rows", "0"
    )


def test_what_others_want_beside_the_weights_is_found(tmp_path):
    """llama.cpp wants Phi-3's tokenizer.model, servers Gemma 3's processor."""
    (tmp_path / "tokenizer.model").write_bytes(b"x")
    assert merging.find_file(str(tmp_path), "tokenizer.model")
    assert merging.find_file(str(tmp_path), "processor_config.json") is None
    assert merging.find_file("nobody/no-such-model", "tokenizer.model") is None


def test_a_foreign_tokenizer_gets_what_it_lacks(tmp_path, capsys):
    """Its folder may come from a trainer that saves no template, and pads with none."""
    own = build_tokenizer()
    own.chat_template = own.pad_token = None
    own.save_pretrained(tmp_path)
    profile = load_profile("tiny")
    found = merging.tokenizer_of(tmp_path, profile, False)
    assert found.chat_template == load_tokenizer(profile).chat_template
    assert found.pad_token is not None
    assert "has no template: the base's is taken" in capsys.readouterr().out


def test_a_base_with_sampling_settings_is_written(tmp_path):
    model = build_model()
    model.generation_config.temperature = 0.9  # and do_sample is not set
    with pytest.raises(ValueError, match="do_sample"):
        model.generation_config.validate(strict=True)
    tuned = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM"))
    merging.save(tuned, build_tokenizer(), "float32", tmp_path)
    written = GenerationConfig.from_pretrained(tmp_path)
    assert written.do_sample and written.temperature == 0.9


def test_a_base_that_is_named_by_no_place_is_asked_for(adapter, refused):
    metrics = json.loads((adapter / "metrics.json").read_text())
    metrics["base"]["model"] = "local:gpt2"
    write_json(adapter / "metrics.json", metrics)
    line = refused("--adapter", adapter, "--rows", "1")
    assert "'local:gpt2': give its folder or Hub id as --model" in line


PROOF = {"dtype": "float32", "trained_in": "float32", "largest_difference": 1e-4}
PROOF |= {"largest_logit": 20.0, "share_of_the_effect": 1e-5}
PROOF |= {"equal_answers": 8, "answers": 8}


@pytest.mark.parametrize(
    ("changed", "good"),
    [
        ({}, True),
        ({"equal_answers": 7}, False),
        ({"largest_difference": 0.01}, False),
        ({"dtype": "bfloat16", "largest_difference": 0.3, "equal_answers": 7}, True),
        ({"dtype": "bfloat16", "share_of_the_effect": 0.5}, False),
    ],
)
def test_the_proof_is_judged(changed, good):
    if good:
        check(PROOF | changed)
    else:
        with pytest.raises(ValueError, match="nothing was written"):
            check(PROOF | changed)


def test_help_is_answered_without_torch():
    import subprocess
    import sys

    call = [sys.executable, "-X", "importtime", "-m", "helpers.merge", "--adapter", "a"]
    done = subprocess.run(call, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2 and "merge: " in done.stderr
    assert " torch\n" not in done.stderr
