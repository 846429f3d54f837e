"""`transformers serve` answers as the model does, on this machine only."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from types import SimpleNamespace

import psutil
import pytest
from transformers import AutoConfig

from helpers import serving
from helpers.files import ROOT
from helpers.serving import ServerError, process, transformers_serve
from tests import warm
from tests.serving.test_process import gone


def test_a_folder_without_a_model_is_refused(tmp_path):
    with pytest.raises(ServerError, match="whole model.*with no config.json"):
        serving.start(tmp_path)
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(ServerError, match="an adapter without its base.*merge"):
        serving.start(tmp_path)


@pytest.mark.parametrize("kept", ["", "not JSON", "[]", '{"chat_template": null}'])
def test_a_folder_without_a_template_is_refused(folder, kept):
    (folder / "chat_template.jinja").unlink()
    (folder / "tokenizer_config.json").write_text(kept)
    with pytest.raises(ServerError, match="chat template.*tokenizer.chat_template"):
        serving.start(folder)
    (folder / "tokenizer_config.json").write_text('{"chat_template": "{{ messages }}"}')
    process.check_model(folder)


def test_a_missing_package_is_named(folder, monkeypatch):
    monkeypatch.setattr(transformers_serve, "NEEDED", ("openai", "no_such_package"))
    with pytest.raises(ServerError, match="pip install no_such_package"):
        serving.start(folder)


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory):
    """The tiny base in fp32, where a batch changes no answer."""
    from helpers.config import load_profile
    from helpers.models.loading import load_model, load_tokenizer

    folder, profile = tmp_path_factory.mktemp("model"), load_profile("tiny")
    load_model(profile).save_pretrained(folder)
    load_tokenizer(profile).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def server(model_folder, tmp_path_factory):
    """The real server, with the process that started it, its parent."""
    work = tmp_path_factory.mktemp("work")
    code = (
        "import json, time\nfrom helpers.serving import start\n"
        f"server = start({str(model_folder)!r}, work={str(work)!r})\n"
        "shown = {name: getattr(server, name) for name in ('pid', 'url', 'model')}\n"
        "print(json.dumps(shown), flush=True)\ntime.sleep(600)\n"
    )
    call = [sys.executable, "-c", code]
    with subprocess.Popen(call, cwd=ROOT, stdout=-1, text=True) as parent:
        try:
            yield SimpleNamespace(parent=parent, **json.loads(parent.stdout.readline()))
        finally:
            parent.kill()


@pytest.mark.slow
def test_it_listens_on_the_loopback_address_only(server):
    family = [psutil.Process(server.pid)]
    family += family[0].children(recursive=True)
    sockets = [c for member in family for c in member.net_connections()]
    listening = {c.laddr.ip for c in sockets if c.status == psutil.CONN_LISTEN}
    assert listening == {process.HOST}


@pytest.mark.slow
def test_it_answers_as_the_model_does(server):
    import openai

    from helpers.config import load_profile
    from helpers.evaluation.generation import generate
    from helpers.models.loading import load_model, load_tokenizer

    profile = load_profile("tiny")
    model, tokenizer = load_model(profile), load_tokenizer(profile)
    chats = [[{"role": "user", "content": f"Order G452{k} is late."}] for k in range(5)]
    local = generate(model, tokenizer, chats, max_new_tokens=12)
    settings = {"model": server.model, "temperature": 0, "max_tokens": 12}

    async def fifty():
        async with openai.AsyncOpenAI(base_url=server.url, api_key="x") as client:
            ask = client.chat.completions.create
            waiting = [ask(messages=chat, **settings) for chat in chats * 10]
            return await asyncio.gather(*waiting)

    served = [reply.choices[0].message.content for reply in asyncio.run(fifty())]
    assert served == local * 10
    with openai.OpenAI(base_url=server.url, api_key="x") as client:
        client.models.list()  # fails where the server has no hub folder
        chunks = client.chat.completions.create(
            messages=chats[0], stream=True, **settings
        )
        pieces = [c.choices[0].delta.content for c in chunks if c.choices]
    assert "".join(filter(None, pieces)) == local[0] and len(pieces) > 3


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="needs SIGKILL")
def test_it_ends_when_its_parent_is_killed(server):
    """The last test that sees this server."""
    family = psutil.Process(server.pid).children(recursive=True)
    assert family
    server.parent.send_signal(signal.SIGKILL)
    server.parent.wait()
    assert all(gone(pid) for pid in (server.pid, *(child.pid for child in family)))


@pytest.mark.parametrize(
    ("model_type", "changes", "why"),
    [
        ("llama", {}, None),
        ("lfm2", {"layer_types": ["conv", "full_attention"]}, "conv"),
        ("gemma2", {}, "gemma2, which has no sdpa"),
    ],
)
def test_what_cannot_be_batched_is_answered_one_by_one(
    folder, capsys, model_type, changes, why
):
    AutoConfig.for_model(model_type, num_hidden_layers=2, **changes).save_pretrained(
        folder
    )
    call = transformers_serve.command(folder, 1234, "cpu")
    assert ("--continuous-batching" in call) == (why is None)
    assert capsys.readouterr().out == (
        f"one request at a time: transformers cannot batch {why}\n" if why else ""
    )


@pytest.mark.slow
def test_a_broken_model_is_refused_with_the_log(folder, monkeypatch):
    command = transformers_serve.command

    def starts_warm(*given):
        return [*warm.COMMAND, "tests.serving.warm_serve", *command(*given)[3:]]

    if warm.ADDRESS in os.environ:
        monkeypatch.setattr(transformers_serve, "command", starts_warm)
    (folder / "config.json").write_text("not JSON")
    with pytest.raises(ServerError, match="ended with code [1-9]") as caught:
        serving.start(folder, work=folder)
    assert "config.json" in str(caught.value)
