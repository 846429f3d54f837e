"""vLLM keeps its other adapters' answers, whatever is loaded, and a replica may die.

Of the tier vllm, as test_vllm.py: three servers, one after the other.
"""

import asyncio

import pytest

from tests.benchmarks import scale_serving as scale
from tests.serving.broken import BROKEN
from tests.serving.test_vllm import there  # noqa: F401

pytestmark = pytest.mark.vllm
# vLLM 0.32 takes these, and says nothing; the second one harms the others once asked.
TAKEN = ("half of the layers missing", "values are not numbers")


@pytest.fixture(scope="module")
def local():
    return scale.Local()


@pytest.fixture(scope="module")
def server(local, tmp_path_factory):
    work = tmp_path_factory.mktemp("one")
    server = scale.start(local, work, more=len(BROKEN) + 2)
    yield server
    server.stop()


def test_200_requests_at_once_are_all_answered_as_here(local, server):
    names = scale.in_turn([*scale.ADAPTERS, scale.BASE], 200)
    called, prompts = scale.asked(server, names), local.prompts
    replies = asyncio.run(scale.ask(server.url, called, prompts, clients=200))
    assert [reply.error for reply in replies] == [None] * 200
    assert local.same(names, replies) == 1


def test_an_adapter_comes_and_goes_while_others_are_asked(local, server, tmp_path):
    found = scale.load(local, server, {"wrong": scale.WHOLE}, tmp_path)
    assert found["status"] == found["unloaded"] == 200 and not found["found_before"]
    assert found["same"] == found["others_same"] == found["same_after"] == 1
    [gone] = asyncio.run(scale.ask(server.url, [scale.WHOLE], local.prompts, 1))
    assert gone.error.startswith("NotFoundError")


@pytest.mark.parametrize("wrong", [what for what in BROKEN if what not in TAKEN])
def test_what_is_broken_or_too_large_is_refused_and_harms_nobody(
    wrong, local, server, tmp_path
):
    found = scale.load(local, server, {"wrong": wrong}, tmp_path)
    assert found["status"] == 500 and found["said"].startswith("Call to add_lora")
    assert found["others_same"] == found["same_after"] == 1
    assert bool(found["found_before"]) == (wrong != "rank 64")  # it is whole


@pytest.mark.parametrize("wrong", TAKEN)
def test_what_vllm_takes_is_found_before(wrong, local, server, tmp_path):
    found = scale.load(local, server, {"wrong": wrong}, tmp_path)
    assert found["status"] == 200 and found["found_before"]


def test_of_two_replicas_one_may_die(local, tmp_path):
    found = scale.killed(local, tmp_path, requests=60)
    assert found["nobody"]["lost"] == found["nobody"]["saved"] > 0
    assert found["the client"]["lost"] == found["the router"]["lost"] == 0
    assert {what["same"] for what in found.values()} == {1}
