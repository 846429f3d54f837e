"""The real vLLM answers as the model does here, for several adapters at once.

A tier of its own, `make vllm` and then `make test ARGS="-m vllm"`: skipped where vLLM
is not set up, or failed where COURSE_VLLM=required is in the environment.
"""

import asyncio
import json
import os
import shutil
import urllib.request

import psutil
import pytest
import torch

from helpers import serving
from helpers.config import load_profile
from helpers.evaluation import generate, prompt_ids, score
from helpers.formatting import load_splits
from helpers.models import load_model, load_tokenizer
from helpers.serving import ServerError
from tests.serving.test_process import gone
from tests.serving.test_vllm_serve import ADAPTERS

pytestmark = pytest.mark.vllm
PROFILE, BASE, ROWS, NEW_TOKENS = load_profile("tiny"), "__base__", 50, 56


@pytest.fixture(scope="module", autouse=True)
def there():
    """vLLM is set up, or the test is skipped."""
    if serving.vllm_command() is None:
        required = os.environ.get("COURSE_VLLM") == "required"
        (pytest.fail if required else pytest.skip)("no vLLM here: make vllm")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """vLLM with the shipped base and both adapters, in fp32."""
    work = tmp_path_factory.mktemp("vllm")
    base = PROFILE.model
    server = serving.start_vllm(base, ADAPTERS, dtype=PROFILE.dtype, work=work)
    yield server
    server.stop()


@pytest.fixture(scope="module")
def rows():
    return load_splits("data/tickets")["validation"].select(range(ROWS))


@pytest.fixture(scope="module")
def local(rows):
    """{adapter or BASE: the greedy answers of PEFT to all rows}."""
    from peft import PeftModel

    model, tokenizer = load_model(PROFILE), load_tokenizer(PROFILE)
    found = {BASE: generate(model, tokenizer, rows["prompt"], NEW_TOKENS)}
    for name, folder in ADAPTERS.items():
        tuned = PeftModel.from_pretrained(load_model(PROFILE), folder).eval()
        found[name] = generate(tuned, tokenizer, rows["prompt"], NEW_TOKENS)
    return found


@pytest.fixture
def ask(server, rows):
    """ask([model, ...]): the answers to the rows, one a model, all at once."""
    import openai

    async def together(models):
        address = {"base_url": server.url, "api_key": "unused"}
        settings = {"temperature": 0, "max_tokens": NEW_TOKENS}
        async with openai.AsyncOpenAI(**address) as client:
            create = client.chat.completions.create
            replies = await asyncio.gather(
                *(
                    create(model=model, messages=prompt, **settings)
                    for model, prompt in zip(models, rows["prompt"], strict=True)
                )
            )
        return [reply.choices[0].message.content for reply in replies]

    return lambda models: asyncio.run(together(models))


def test_it_makes_the_prompts_that_training_saw(server, rows):
    tokenizer = load_tokenizer(PROFILE)
    for prompt in rows["prompt"][:5]:
        body = json.dumps({"model": "tickets", "messages": prompt}).encode()
        request = urllib.request.Request(
            server.url.removesuffix("v1") + "tokenize",
            data=body,
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request) as answer:
            assert json.load(answer)["tokens"] == prompt_ids(tokenizer, prompt)


@pytest.mark.parametrize("name", ADAPTERS)
def test_each_adapter_answers_as_here(name, ask, local, rows):
    served = ask([name] * ROWS)
    assert served == local[name]
    wanted = [row["completion"][-1]["content"] for row in rows]
    if name == "tickets":
        assert score(wanted, served).exact_match >= 0.9
    else:
        products = [json.loads(text)["item"] for text in wanted]
        assert sum(a == b for a, b in zip(served, products, strict=True)) >= 0.9 * ROWS


def test_the_base_answers_as_here_and_knows_no_code(server, ask, local, rows):
    served = ask([server.model] * ROWS)
    assert served == local[BASE]
    wanted = [row["completion"][-1]["content"] for row in rows]
    assert score(wanted, served).exact_match == 0


def test_base_and_adapters_share_a_batch(server, ask, local):
    """With no place left empty, the base answered as the last adapter (vllm#48421)."""
    names = ([*ADAPTERS, BASE] * ROWS)[:ROWS]
    served = ask([server.model if name == BASE else name for name in names])
    assert served == [local[name][row] for row, name in enumerate(names)]


def test_an_unknown_adapter_is_an_error_and_not_the_base(ask):
    import openai

    with pytest.raises(openai.NotFoundError, match="nobody"):
        ask(["nobody"] * ROWS)


def family(server):
    """The processes of a server, its watcher first."""
    watcher = psutil.Process(server.pid)
    return [watcher, *watcher.children(recursive=True)]


def test_it_answers_on_the_loopback_address_only(server):
    sockets = [c for member in family(server) for c in member.net_connections()]
    port = int(server.url.split(":")[2].partition("/")[0])
    mine = [c.laddr for c in sockets if c.status == psutil.CONN_LISTEN]
    assert {address.ip for address in mine if address.port == port} == {"127.0.0.1"}


def test_it_takes_all_its_processes_with_it(server):
    """The last test that sees this server."""
    members = family(server)
    assert len(members) >= 4  # the watcher, the address, the engine, its worker
    server.stop()
    assert all(gone(member.pid) for member in members)


def test_what_vllm_refuses_is_told_with_its_reason(tmp_path):
    """An adapter that is whole, but of a base twice as wide."""
    from safetensors.torch import load_file, save_file

    wide = tmp_path / "wide"
    shutil.copytree(ADAPTERS["tickets"], wide)
    weights = load_file(wide / "adapter_model.safetensors")
    doubled = {name: torch.cat([w, w], dim=1) for name, w in weights.items()}
    save_file(doubled, wide / "adapter_model.safetensors")
    options = {"dtype": PROFILE.dtype, "work": tmp_path}
    with pytest.raises(ServerError, match="ended with code 1") as caught:
        serving.start_vllm(PROFILE.model, {"wide": wide}, **options)
    assert "add_lora" in str(caught.value)
