"""The real llama.cpp answers as the model does here, from one GGUF file.

A tier of its own, `make llamacpp` and then `make test ARGS="-m llamacpp"`: skipped
where llama.cpp is not set up, or failed where COURSE_LLAMACPP=required is in the
environment.
"""

import json
import os
import shutil

import pytest

from helpers import serving
from helpers.config import load_profile
from helpers.evaluation import prompt_ids
from helpers.files import ROOT
from helpers.formatting import load_splits
from helpers.models import load_tokenizer
from helpers.serving import GgufError, ServerError
from tests.benchmarks import llamacpp as benchmark
from tests.benchmarks.serving import merge
from tests.serving.test_process import gone

pytestmark = pytest.mark.llamacpp
ROWS, NEW_TOKENS = 20, 56
LLAMA = "data/checkpoints/tiny-llama"
ADAPTER = ROOT / "data" / "checkpoints" / "tickets-lora"
BOS = "tokenizer.ggml.add_bos_token"


@pytest.fixture(scope="module", autouse=True)
def there():
    """llama.cpp is set up, or the test is skipped."""
    if serving.llamacpp_python() is None:
        required = os.environ.get("COURSE_LLAMACPP") == "required"
        (pytest.fail if required else pytest.skip)("no llama.cpp here: make llamacpp")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """The merged tickets model, with what the benchmark does with it."""
    work = tmp_path_factory.mktemp("gguf")
    merge(load_profile("tiny"), work / "merged", [], ADAPTER)
    examples = load_splits("data/tickets")["validation"].select(range(ROWS))
    return benchmark.Model(work / "merged", work, examples, NEW_TOKENS)


@pytest.fixture(scope="module")
def scores(model):
    """scores(kind, exact): of the answers by a file of that type, made once."""
    found = {}

    def measure(kind, exact=False):
        if (kind, exact) not in found:
            ids = [row["ids"] for row in model.reference]
            with benchmark.serve(model.file(kind), exact=exact) as server:
                found[kind, exact] = model.scores(model.answers(server, ids))
        return found[kind, exact]

    return measure


@pytest.fixture(scope="module")
def server(model):
    with benchmark.serve(model.file("F16")) as server:
        yield server
    assert gone(server.pid)


def ids(server, prompt):
    """The token ids of a chat as llama.cpp writes and cuts it."""
    text = benchmark.render(server, prompt)
    body = {"content": text, "add_special": True, "parse_special": True}
    return serving.ask_llamacpp(server, "tokenize", body)["tokens"]


def test_in_32_bit_the_numbers_are_the_same(scores):
    """Of the ten likeliest tokens at each step of each answer."""
    exact = scores("F32", exact=True)
    assert exact["same"] == 1 and 0 < exact["difference"] < 5e-4


def test_fewer_bits_drift_further(scores):
    assert scores("F16")["same"] == 1 and scores("F16")["exact_match"] > 0.8
    plain, eight, four = (scores(k)["difference"] for k in ("F16", "Q8_0", "Q4_K_M"))
    assert 5e-4 < plain < 0.1 < eight < four
    assert scores("Q4_K_M")["same"] >= 0.8


def test_a_client_of_openai_gets_the_same_answers(server, model):
    import openai

    with openai.OpenAI(base_url=server.url, api_key="unused") as client:
        create = client.chat.completions.create
        settings = {"model": server.model, "temperature": 0, "max_tokens": NEW_TOKENS}
        replies = [create(messages=prompt, **settings) for prompt in model.prompts]
    answers = [reply.choices[0].message.content for reply in replies]
    assert answers == [row["text"] for row in model.reference]
    assert {reply.choices[0].finish_reason for reply in replies} == {"stop"}


def test_the_file_carries_our_template_and_tokenizer(server, model):
    for prompt, row in zip(model.prompts, model.reference, strict=True):
        assert ids(server, prompt) == row["ids"]
        assert benchmark.render(server, prompt) == model.tokenizer.apply_chat_template(
            prompt, tokenize=False, add_generation_prompt=True
        )


def test_the_first_token_stands_once_where_the_template_writes_one(tmp_path):
    file = serving.export_gguf(ROOT / LLAMA, tmp_path / "llama.gguf")
    tokenizer = load_tokenizer(load_profile("tiny", LLAMA))
    chat = [{"role": "system", "content": "JSON."}, {"role": "user", "content": "Hi"}]
    with benchmark.serve(file) as server:
        found = ids(server, chat)
    assert found == prompt_ids(tokenizer, chat)
    assert found.count(tokenizer.bos_token_id) == 1


def test_what_the_converter_leaves_open_adds_a_token(model):
    """Why the export says that none is added."""
    with benchmark.serve(model.file("F16", {BOS: None})) as server:
        found = ids(server, model.prompts[0])
    assert found == [model.tokenizer.bos_token_id, *model.reference[0]["ids"]]


def test_only_runs_of_white_space_are_cut_otherwise(server, model):
    def same(text):
        chat = [{"role": "user", "content": text}]
        return ids(server, chat) == prompt_ids(model.tokenizer, chat)

    assert same("Order G4521, naïve CamelCase 日本 😀 won't a\n\nb.") and same("a  1")
    assert not same("Hello  world")


def test_a_model_unknown_to_the_converter_is_refused_in_one_line(model, tmp_path):
    shutil.copytree(model.folder, tmp_path / "odd")
    config = json.loads((tmp_path / "odd" / "config.json").read_text())
    config["architectures"] = ["OddForCausalLM"]
    (tmp_path / "odd" / "config.json").write_text(json.dumps(config))
    with pytest.raises(GgufError, match="could not convert .*OddForCausalLM") as caught:
        serving.export_gguf(tmp_path / "odd", tmp_path / "odd.gguf")
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["odd"]


def test_a_broken_file_is_said_and_leaves_no_server(tmp_path):
    (tmp_path / "x.gguf").write_bytes(b"GGUF" + bytes(100))
    with pytest.raises(ServerError, match="the server ended with code 1"):
        serving.start_llamacpp(tmp_path / "x.gguf", work=tmp_path)
