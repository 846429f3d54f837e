"""How vLLM is called and what is refused before, with the process faked."""

import json
import os
import re
import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file
from transformers import AutoConfig

from helpers import serving
from helpers.files import ROOT
from helpers.serving import ServerError, vllm_serve
from tests.benchmarks import scale_serving
from tests.serving.conftest import HEALTHY

CHECKPOINTS = ROOT / "data" / "checkpoints"
ADAPTERS = {"tickets": "tickets-lora", "items": "items-lora"}
ADAPTERS = {name: CHECKPOINTS / folder for name, folder in ADAPTERS.items()}


@pytest.fixture
def nowhere(monkeypatch, tmp_path):
    """A machine without vLLM: its environment would be this folder's .venv-vllm."""
    monkeypatch.setattr(vllm_serve, "ENVIRONMENT", tmp_path / ".venv-vllm")
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


@pytest.fixture
def vllm(nowhere):
    """What looks like vLLM on the PATH: its command."""
    if os.name == "nt":
        pytest.skip("vLLM has no build for Windows")
    command = nowhere / "vllm"
    command.write_text("#!/bin/sh\n")
    command.chmod(0o755)
    return str(command)


def option(command, name):
    """What follows an option in a command line."""
    return command[command.index(name) + 1]


def test_without_vllm_one_line_says_how_to_set_it_up(nowhere):
    assert serving.vllm_command() is None
    with pytest.raises(ServerError, match="`make vllm` sets it up") as caught:
        serving.start_vllm(CHECKPOINTS / "tiny-phi3", dtype="float32")
    assert "\n" not in str(caught.value)


def test_the_own_environment_comes_before_the_path(vllm, nowhere):
    assert serving.vllm_command() == [vllm, "serve"]
    own = nowhere / ".venv-vllm" / "bin"
    own.mkdir(parents=True)
    assert serving.vllm_command() == [vllm, "serve"]  # an installation not complete
    (own / "vllm").touch()
    python, *_, last = serving.vllm_command()
    assert python == str(own / "python") and last == "--model"


def test_it_is_called_for_the_base_and_all_adapters(vllm, pretend, nowhere):
    asked = pretend(HEALTHY)
    base = CHECKPOINTS / "tiny-phi3"
    server = serving.start_vllm(base, ADAPTERS, dtype="float32", work=nowhere)
    server.stop()
    [(command, environment)] = asked
    assert command[:3] == [vllm, "serve", str(base)] and server.model == str(base)
    assert option(command, "--host") == "127.0.0.1"
    assert option(command, "--dtype") == "float32"
    assert option(command, "--generation-config") == "vllm"
    assert option(command, "--max-lora-rank") == "16"
    assert option(command, "--max-loras") == "3"  # one batch may mix them
    start = command.index("--lora-modules") + 1
    modules = [f"{name}={folder}" for name, folder in ADAPTERS.items()]
    assert command[start : start + 2] == modules
    assert "--enforce-eager" in command
    assert environment["VLLM_NO_USAGE_STATS"] == environment["DO_NOT_TRACK"] == "1"
    assert environment["HF_HUB_OFFLINE"] == "1"
    assert environment["VLLM_CPU_KVCACHE_SPACE"] == "1"


def test_a_base_from_the_hub_may_be_fetched_and_a_gpu_compiles(
    vllm, pretend, nowhere, monkeypatch
):
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setenv("VLLM_CPU_KVCACHE_SPACE", "4")
    asked = pretend(HEALTHY)
    options = {"dtype": "bfloat16", "device": "cuda", "work": nowhere}
    server = serving.start_vllm("someone/a-model", **options)
    server.stop()
    [(command, environment)] = asked
    assert command[2] == server.model == "someone/a-model"
    assert "HF_HUB_OFFLINE" not in environment
    assert environment["VLLM_CPU_KVCACHE_SPACE"] == "4"  # whoever sets it knows better
    assert not {"--enforce-eager", "--enable-lora"} & set(command)


def test_more_adapters_may_come_where_they_are_asked_for(vllm, pretend, nowhere):
    asked, base = pretend(HEALTHY), CHECKPOINTS / "tiny-phi3"
    options = {"dtype": "float32", "work": nowhere, "more": 3}
    for adapters in (ADAPTERS, {}):
        serving.start_vllm(base, adapters, **options).stop()
    (command, environment), (bare, _) = asked
    assert option(command, "--max-loras") == "6" and option(bare, "--max-loras") == "4"
    assert environment["VLLM_ALLOW_RUNTIME_LORA_UPDATING"] == "True"
    assert "--lora-modules" in command and "--lora-modules" not in bare


def test_the_router_is_called_for_all_replicas(vllm, pretend, nowhere):
    asked, base = pretend(HEALTHY), CHECKPOINTS / "tiny-phi3"
    replicas = [serving.start_vllm(base, dtype="float32", work=nowhere)] * 2
    with pytest.raises(ServerError, match="requires vLLM's router"):
        scale_serving.start_router(replicas)
    (nowhere / "vllm-router").write_text("#!/bin/sh\n")
    (nowhere / "vllm-router").chmod(0o755)
    router = scale_serving.start_router(replicas, "--disable-retries", work=nowhere)
    router.stop()
    replicas[0].stop()
    command = asked[-1][0]
    place = replicas[0].url.removesuffix("/v1")
    assert command[1:4] == ["--worker-urls", place, place]
    assert option(command, "--host") == "127.0.0.1" and "--disable-retries" in command
    assert router.model == str(base)


@pytest.mark.parametrize(
    ("config", "room"),
    [
        ({"r": 4}, "8"),
        ({"r": 17}, "32"),
        ({"r": 8, "rank_pattern": {"q": 64}, "alpha_pattern": {"q": 64}}, "64"),
        ({"r": 1000}, "1000"),  # vLLM says what it allows
    ],
)
def test_the_room_for_a_rank_is_one_that_vllm_knows(tmp_path, config, room):
    shutil.copytree(ADAPTERS["tickets"], tmp_path, dirs_exist_ok=True)
    (tmp_path / "metrics.json").unlink()
    (tmp_path / "README.md").unlink()
    config = {"peft_type": "LORA"} | config
    (tmp_path / "adapter_config.json").write_text(json.dumps(config))
    options = vllm_serve.adapter_options({"mine": tmp_path})
    assert option(options, "--max-lora-rank") == room


BEYOND = {
    "vLLM has one alpha .* q_proj has its own": {"rank_pattern": {"q_proj": 64}},
    "vLLM has one alpha .* v_proj has its own": {"alpha_pattern": {"v_proj": 64}},
    "vLLM has no use_dora": {"use_dora": True},
    "vLLM has no modules_to_save": {"modules_to_save": ["lm_head"]},
    "vLLM has no trained biases": {"bias": "all"},
}


@pytest.mark.parametrize("says", BEYOND)
def test_what_vllm_would_serve_otherwise_is_refused(says):
    """Of patterns it reads none, and would multiply by the scale of all others."""
    plain = {"r": 8, "lora_alpha": 16}
    assert re.match(says, vllm_serve.beyond_vllm(plain | BEYOND[says]))
    alike = {"rank_pattern": {"q": 32}, "alpha_pattern": {"q": 32}, "use_rslora": True}
    assert vllm_serve.beyond_vllm(plain | alike) == ""


def cut(folder):
    path = folder / "adapter_model.safetensors"
    path.write_bytes(path.read_bytes()[:20_000])


def wrap(folder):
    path = folder / "adapter_model.safetensors"
    weights = load_file(path)
    save_file({f"module.{key}": weights[key] for key in weights}, path)


def start_from_base(folder):
    """As PiSSA: vLLM would add its matrices to a base that still holds them."""
    path = folder / "adapter_config.json"
    config = json.loads(path.read_text()) | {"init_lora_weights": "pissa"}
    path.write_text(json.dumps(config))


UNREADABLE = ".*adapter_config.json cannot be read"
BROKEN = {
    "no folder": (shutil.rmtree, UNREADABLE),
    "no config": (lambda f: (f / "adapter_config.json").unlink(), UNREADABLE),
    "no weights": (
        lambda f: (f / "adapter_model.safetensors").unlink(),
        ".*is missing or damaged",
    ),
    "cut weights": (cut, ".*is missing or damaged"),
    "another model's keys": (wrap, ".*32 of its keys match no module"),
    "another start": (start_from_base, ".*a base without them .pissa.: merge it"),
    "no rank": (lambda f: (f / "adapter_config.json").write_text("{}"), ".*LoRA"),
    "no JSON": (lambda f: (f / "adapter_config.json").write_text("x"), UNREADABLE),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_adapter_is_refused_in_one_line(name, vllm, pretend, tmp_path):
    asked, (breaks, why) = pretend(HEALTHY), BROKEN[name]
    shutil.copytree(ADAPTERS["items"], tmp_path / "mine")
    breaks(tmp_path / "mine")
    given = {"tickets": ADAPTERS["tickets"], "items": tmp_path / "mine"}
    with pytest.raises(ServerError, match=f"got 'mine' for 'items': {why}") as caught:
        serving.start_vllm(CHECKPOINTS / "tiny-phi3", given, dtype="float32")
    assert "\n" not in str(caught.value) and asked == []


def test_an_adapter_is_held_to_a_base_from_the_hub(
    vllm, pretend, nowhere, tmp_path, monkeypatch
):
    asked = pretend(HEALTHY)
    shutil.copytree(ADAPTERS["items"], tmp_path / "mine")
    wrap(tmp_path / "mine")
    given = {"items": tmp_path / "mine"}
    local = AutoConfig.from_pretrained(CHECKPOINTS / "tiny-phi3")
    monkeypatch.setattr(AutoConfig, "from_pretrained", lambda *_, **__: local)
    with pytest.raises(ServerError, match="32 of its keys match no module"):
        serving.start_vllm("someone/a-model", given, dtype="float32", work=nowhere)
    assert asked == []

    other = AutoConfig.for_model("qwen3_vl")  # vLLM serves it, and says what fits
    monkeypatch.setattr(AutoConfig, "from_pretrained", lambda *_, **__: other)
    options = {"dtype": "float32", "work": nowhere}
    serving.start_vllm("someone/a-model", given, **options).stop()
    assert len(asked) == 1

    def closed(*_, **__):
        raise OSError("no network")

    monkeypatch.setattr(AutoConfig, "from_pretrained", closed)
    serving.start_vllm("someone/a-model", given, **options).stop()
    assert len(asked) == 2  # vLLM will say why


def test_adapters_are_asked_in_the_template_that_they_bring(
    vllm, pretend, nowhere, tmp_path
):
    asked, given = pretend(HEALTHY), {}
    for name, text in {"one": "{{ 1 }}", "two": "{{ 1 }}", "three": "{{ 3 }}"}.items():
        given[name] = shutil.copytree(ADAPTERS["items"], tmp_path / name)
        (given[name] / "chat_template.jinja").write_text(text)
    options = {"dtype": "float32", "work": nowhere}
    base, last = CHECKPOINTS / "tiny-phi3", given.pop("three")
    serving.start_vllm(base, given, **options).stop()
    assert Path(option(asked[0][0], "--chat-template")).read_text() == "{{ 1 }}"
    with pytest.raises(ServerError, match="adapters of one chat template"):
        serving.start_vllm(base, given | {"three": last}, **options)
    plain = {"items": ADAPTERS["items"]}  # brings none, and wants the base's
    with pytest.raises(ServerError, match="adapters of one chat template"):
        serving.start_vllm(base, given | plain, **options)
    serving.start_vllm(base, plain, **options).stop()
    assert "--chat-template" not in asked[1][0]
    own = (base / "chat_template.jinja").read_text(encoding="utf-8")
    (last / "chat_template.jinja").write_text(own, encoding="utf-8")
    serving.start_vllm(base, {"three": last} | plain, **options).stop()
    assert "--chat-template" in asked[2][0] and len(asked) == 3


def test_a_template_in_the_tokenizers_settings_counts(vllm, pretend, nowhere, tmp_path):
    """As transformers wrote it until 2025; and the base needs none of its own."""
    asked = pretend(HEALTHY)
    mine = shutil.copytree(ADAPTERS["items"], tmp_path / "mine")
    base = shutil.copytree(CHECKPOINTS / "tiny-phi3", tmp_path / "base")
    (base / "chat_template.jinja").unlink()
    options = {"dtype": "float32", "work": nowhere}
    with pytest.raises(ServerError, match="requires a chat template"):
        serving.start_vllm(base, {"items": mine}, **options)
    named = [{"name": "default", "template": "{{ 1 }}"}]
    (mine / "tokenizer_config.json").write_text(json.dumps({"chat_template": named}))
    serving.start_vllm(base, {"items": mine}, **options).stop()
    assert option(asked[0][0], "--chat-template") == "{{ 1 }}"


def test_a_base_that_is_no_model_is_refused(vllm, tmp_path):
    with pytest.raises(ServerError, match="whole model.*an adapter without its base"):
        serving.start_vllm(ADAPTERS["items"], dtype="float32")
    with pytest.raises(ServerError, match="whole model.*with no config.json"):
        serving.start_vllm(tmp_path / "missing", dtype="float32")
