"""Measures what vLLM does for many users on one machine, and what it survives.

    python -m tests.benchmarks.scale_serving [--output FOLDER] [--requests 200]

Greedy answers to validation messages, of a base and several adapters in turn: all at
once, against one process that answers them one after the other; while adapters are
loaded, refused and unloaded; from two replicas behind vLLM's router, one of which is
killed. Writes scale_serving.tiny.MACHINE.json to data/results/, a row a question; one
that is there already is not measured again. Exit code 2 where vLLM is not set up.

Of a row, `same` is the share of answers that are equal to those of PEFT in this
process, one at a time. Ratios are of one run: the machine may have had other work.
"""

import asyncio
import os
import re
import shutil
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pandas as pd
import psutil
import torch

from helpers import UserError, run_command, serving
from helpers.config import load_profile
from helpers.files import ROOT
from helpers.formatting import load_splits
from helpers.models import ModelError, check_adapter
from helpers.serving import vllm_serve
from helpers.serving.process import HOST, begin, free_port
from helpers.sweep import rows as ledger
from tests.benchmarks import flags
from tests.benchmarks.serving import version
from tests.serving.broken import BROKEN, spoil

CHECKPOINTS = ROOT / "data" / "checkpoints"
ADAPTERS = {
    "tickets": CHECKPOINTS / "tickets-lora",
    "products": CHECKPOINTS / "items-lora",
}
HALF, BASE, WHOLE = CHECKPOINTS / "tickets-lora-half", "__base__", "nothing"
NEW_TOKENS, ROUNDS, FEW = 56, 3, 60
# {who asks again: (what the router is told, how often the client does)}
AGAIN = {
    "nobody": (["--disable-retries"], 0),
    "the client": (["--disable-retries"], 2),
    "the router": ([], 0),
}


@dataclass
class Reply:
    """The text of an answer, or why there is none; how often it was asked again."""

    text: str | None = None
    error: str | None = None
    retries: int = 0


def client(url: str, retries: int = 0):
    """A client of a server; retries: how often it asks again after a failure."""
    from openai import AsyncOpenAI

    options = {"api_key": "unused", "max_retries": retries, "timeout": 1200}
    return AsyncOpenAI(base_url=url, **options)


async def ask(
    url: str, models: list, prompts: list, clients: int, retries: int = 0, seen=None
) -> list[Reply]:
    """The replies to requests, of which so many are open at once, in their order.

    seen: is called after each reply.
    """
    from openai import APIError

    gate, fixed = asyncio.Semaphore(clients), {"max_tokens": NEW_TOKENS}
    async with client(url, retries) as server:
        create = server.chat.completions.with_raw_response.create

        async def one(model, messages):
            async with gate:
                asked = {"model": model, "messages": messages, "temperature": 0}
                try:
                    raw = await create(**asked, **fixed)
                except APIError as error:
                    return Reply(error=f"{type(error).__name__}: {error}"[:200])
                finally:
                    if seen:
                        seen()
                text = raw.parse().choices[0].message.content
                return Reply(text, retries=raw.retries_taken)

        return await asyncio.gather(*map(one, models, prompts))


async def tell(url: str, path: str, **body) -> tuple[int, str]:
    """The status and the words with which a server loads or unloads an adapter."""
    from openai import APIStatusError

    async with client(url) as server:
        try:
            return 200, await server.post(f"/{path}", body=body, cast_to=str)
        except APIStatusError as error:
            return error.status_code, error.body["message"]


class Local:
    """What this process answers, one message at a time, by PEFT."""

    def __init__(self):
        from peft import PeftModel

        from helpers.models import load_model, load_tokenizer

        self.profile = load_profile("tiny")
        self.prompts = load_splits("data/tickets")["validation"]["prompt"]
        self.tokenizer, base = load_tokenizer(self.profile), load_model(self.profile)
        self.model = PeftModel.from_pretrained(base, ADAPTERS["tickets"], "tickets")
        for name, folder in {"products": ADAPTERS["products"], "third": HALF}.items():
            self.model.load_adapter(folder, name)
        self.known = defaultdict(dict)  # {name: {row: answer}}

    def answer(self, name: str, rows: list[int], batch_size: int = 1) -> list[str]:
        """The answers of an adapter, or the base, to some rows."""
        from helpers.evaluation import generate

        base, prompts = name == BASE, [self.prompts[row] for row in rows]
        if not base:
            self.model.set_adapter(name)
        with self.model.disable_adapter() if base else nullcontext():
            options = {"max_new_tokens": NEW_TOKENS, "batch_size": batch_size}
            return generate(self.model, self.tokenizer, prompts, **options)

    def same(self, names: list, replies: list[Reply]) -> float:
        """The share of what was answered, to the first rows, that is answered here."""
        right = []
        for row, (name, reply) in enumerate(zip(names, replies, strict=True)):
            if reply.text is not None:
                if row not in self.known[name]:
                    [self.known[name][row]] = self.answer(name, [row])
                right.append(self.known[name][row] == reply.text)
        return sum(right) / len(right)


def in_turn(names: list, count: int) -> list:
    """So many names, in turn."""
    return (names * count)[:count]


def start(local: Local, work: Path, **options) -> serving.Server:
    """vLLM with two adapters."""
    options |= {"dtype": local.profile.dtype, "wait": 1800, "work": work}
    return serving.start_vllm(local.profile.model, ADAPTERS, **options)


def asked(server: serving.Server, names: list) -> list:
    """What requests call the model: an adapter's name, or the base's own."""
    return [server.model if name == BASE else name for name in names]


def cpu_seconds(server: serving.Server | None) -> float:
    """CPU seconds so far of a server and all it started; for None, of this process."""
    if server is None:
        return time.process_time()
    watcher = psutil.Process(server.pid)
    members = [watcher, *watcher.children(recursive=True)]
    return sum(sum(member.cpu_times()[:2]) for member in members)


def timed(work: Callable, requests: int, server=None) -> dict:
    """Answers a second, and a CPU second, of some work; and what it returned."""
    began, cpu = time.perf_counter(), cpu_seconds(server)
    replies = work()
    took, spent = time.perf_counter() - began, cpu_seconds(server) - cpu
    return {"second": requests / took, "cpu_second": requests / spent, "is": replies}


def throughput(local: Local, server: serving.Server, row: dict) -> dict:
    """What four ways answer: this process, and vLLM; one at a time, and together."""
    names = in_turn([*ADAPTERS, BASE], row["requests"])
    few, prompts = names[:FEW], local.prompts[: len(names)]

    def alone():
        for number, name in enumerate(few):
            local.answer(name, [number])

    def grouped():
        for name in dict.fromkeys(names):
            rows = [number for number, other in enumerate(names) if other == name]
            local.answer(name, rows, batch_size=32)

    def served(names, clients):
        called = asked(server, names)
        return asyncio.run(ask(server.url, called, prompts, clients))

    found = []
    for _ in range(ROUNDS):
        ways = {
            "process": timed(alone, len(few)),
            "process, by adapter": timed(grouped, len(names)),
            "vllm": timed(lambda: served(few, 1), len(few), server),
            "vllm at once": timed(
                lambda: served(names, len(names)), len(names), server
            ),
        }
        found += [{"way": way} | what for way, what in ways.items()]
    table = pd.DataFrame(found)
    rates = table.groupby("way", sort=False)[["second", "cpu_second"]].median()
    last = ways["vllm at once"]["is"]
    return {
        "answers_per_second": rates.second.round(2).to_dict(),
        "times_process": (rates.second / rates.second["process"]).round(2).to_dict(),
        "answers_per_cpu_second": rates.cpu_second.round(2).to_dict(),
        "lost": sum(reply.text is None for reply in last),
        "same": local.same(names, last),
        "vllm_version": version(server),
    }


async def meanwhile(server: serving.Server, names: list, prompts: list, path, **body):
    """The replies to requests, and what the server says to a change meanwhile."""

    async def change():
        await asyncio.sleep(0.3)
        return await tell(server.url, path, **body)

    every = ask(server.url, asked(server, names), prompts, len(names))
    return await asyncio.gather(every, change())


def checked(local: Local, folder: Path) -> str | None:
    """What `check_adapter` has against a folder, before any server sees it."""
    try:
        check_adapter(folder, local.model.config)
    except ModelError as error:
        return str(error).replace(str(folder), "ADAPTER")[:200]


def load(local: Local, server: serving.Server, row: dict, work: Path) -> dict:
    """What became of an adapter that was loaded, and of the others meanwhile."""
    names, name = in_turn([*ADAPTERS, BASE], FEW), re.sub(r"\W+", "-", row["wrong"])
    whole = row["wrong"] == WHOLE
    folder = HALF if whole else spoil(row["wrong"], ADAPTERS["products"], work / name)
    body = {"lora_name": name, "lora_path": str(folder)}
    change = meanwhile(server, names, local.prompts, "load_lora_adapter", **body)
    replies, (status, said) = asyncio.run(change)
    found = {"status": status, "said": said.partition(", please check")[0][:200]}
    found |= {
        "others_same": local.same(names, replies),
        "found_before": checked(local, folder),
    }
    if status == 200:
        asks = ask(server.url, [name] * 20, local.prompts, 20)
        replies = asyncio.run(asks)
        found["says"] = replies[0].text[:80]
        if whole:
            found["same"] = local.same(["third"] * 20, replies)
        unload = meanwhile(
            server, names, local.prompts, "unload_lora_adapter", lora_name=name
        )
        found["unloaded"] = asyncio.run(unload)[1][0]
    after = asyncio.run(ask(server.url, asked(server, names), local.prompts, FEW))
    return found | {"same_after": local.same(names, after)}


def start_router(
    replicas: list[serving.Server],
    *options: str,
    port: int | None = None,
    wait: float = 120,
    work="build/runs/router",
) -> serving.Server:
    """Starts vLLM's router before servers of one model; the Server, once it is healthy.

    It sends each request to the next one, and what fails there to another. options: of
    `vllm-router`, such as "--disable-retries". Raises ServerError as `start_vllm`.
    """
    own = vllm_serve.ENVIRONMENT / "bin" / "vllm-router"
    call = str(own) if own.is_file() else shutil.which("vllm-router")
    if call is None:
        what = "requires vLLM's router, not found here"
        raise serving.ServerError(f"{what}: `make vllm` or `pip install vllm-router`")
    port, places = free_port(port), [r.url.removesuffix("/v1") for r in replicas]
    command = [call, "--worker-urls", *places, "--policy", "round_robin", *options]
    command += ["--host", HOST, "--port", str(port), "--worker-startup-check-interval"]
    command += ["1", "--prometheus-port", str(free_port())]
    return begin(command, replicas[0].model, port, wait, Path(work).resolve(), {})


def killed(local: Local, work: Path, requests: int) -> dict:
    """{who asks again: what came of so many requests}, while one of two replicas dies.

    A router each, before the same two. The replica dies when a quarter has its answer.
    """
    names, count = in_turn([*ADAPTERS, BASE], requests), 0
    replicas = [start(local, work / str(number)) for number in range(2)]
    routers = {
        who: start_router(replicas, *options, wait=600, work=work)
        for who, (options, _) in AGAIN.items()
    }

    def seen():
        nonlocal count
        count += 1
        if count == len(AGAIN) * requests // 4:
            replicas[1].stop()  # SIGKILL, for all its processes

    def every(who, names, prompts, seen=None):
        url, retries = routers[who].url, AGAIN[who][1]
        return ask(url, asked(replicas[0], names), prompts, len(names), retries, seen)

    async def together():
        prompts = local.prompts[:requests]
        tasks = (every(who, names, prompts, seen) for who in AGAIN)
        return await asyncio.gather(*tasks)

    try:
        replies = dict(zip(AGAIN, asyncio.run(together()), strict=True))
        found = {who: fates(local, names, got) for who, got in replies.items()}
        for who, got in replies.items():
            lost = [row for row, reply in enumerate(got) if reply.text is None]
            chosen = [names[row] for row in lost], [local.prompts[row] for row in lost]
            late = asyncio.run(every(who, *chosen)) if lost else []
            found[who]["saved"] = sum(reply.text is not None for reply in late)
        return found
    finally:
        for server in [*routers.values(), *replicas]:
            server.stop()


def fates(local: Local, names: list, replies: list[Reply]) -> dict:
    """How many requests were lost, and how; how often a client asked again."""
    lost = Counter(reply.error for reply in replies if reply.text is None)
    return {
        "lost": lost.total(),
        "how": dict(lost),
        "asked_again_by_client": sum(reply.retries for reply in replies),
        "same": local.same(names, replies),
    }


def of_one(local: Local, rows: list[dict]) -> Iterator[dict]:
    """What was found of each row, of one server."""
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        server = start(local, work, more=len(BROKEN) + 2)
        questions = {"throughput": throughput, "load": partial(load, work=work)}
        try:
            yield from (questions[row["question"]](local, server, row) for row in rows)
        finally:
            server.stop()


def of_two(local: Local, rows: list[dict]) -> Iterator[dict]:
    """What was found of each row, of two servers and one death."""
    with tempfile.TemporaryDirectory() as folder:
        found = killed(local, Path(folder), rows[0]["requests"])
    yield from (found[row["again"]] for row in rows)


def main(argv: list[str] | None = None) -> int:
    """What the file does not hold; 1 where rows are left. UserError without vLLM."""
    parser = flags.parser(__doc__)
    parser.add_argument("--requests", type=int, default=200)
    args = parser.parse_args(argv)
    if not 1 <= args.requests <= 200:
        raise UserError(f"--requests must be from 1 to 200, got {args.requests}")
    if serving.vllm_command() is None:
        raise UserError("no vLLM is here, and this measures it: make vllm")
    threads = max(1, (os.cpu_count() or 2) - 1)  # as many as vLLM takes by itself
    os.environ["OMP_NUM_THREADS"] = str(threads)
    torch.set_num_threads(threads)
    local, requests = Local(), {"requests": args.requests}
    one = [{"question": "throughput"} | requests]
    one += [{"question": "load", "wrong": what} for what in (WHOLE, *BROKEN)]
    two = [{"question": "replicas", "again": who} | requests for who in AGAIN]
    parts = [
        ledger.Part(
            "scale_serving.tiny",
            rows,
            partial(measure, local),
            seconds=60,
            about={"threads": threads, "new_tokens": NEW_TOKENS},
        )
        for rows, measure in ((one, of_one), (two, of_two))
    ]
    return 1 if ledger.measure(parts, args.output, ledger.Budget(minutes=90)) else 0


if __name__ == "__main__":
    sys.exit(run_command("scale_serving benchmark", main))
