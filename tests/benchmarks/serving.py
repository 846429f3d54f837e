"""Measures how many requests `transformers serve` and vLLM answer a second, in one run.

    python -m tests.benchmarks.serving [--profile small] [--clients 1 8 32]
        [--output FOLDER]

The same prompts for the same merged model in the same precision, one server after the
other, in turn; and vLLM with the adapter kept apart from its base. Each may compute on
all cores but one. The tickets adapter of `small` is trained where no lesson has kept
one. Writes serving.PROFILE.MACHINE.json to data/results/, a row a number of clients
that ask at once. Exit code 2 where vLLM is not set up.
"""

import asyncio
import json
import os
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pandas as pd

from helpers import UserError, run_command, serving
from helpers.config import Profile, load_profile
from helpers.finetune import adapter_folder
from helpers.formatting import load_splits
from helpers.sweep import rows as ledger
from tests.benchmarks import flags

NEW_TOKENS = 56
ROUNDS = 3
Answers = tuple[float, list[str]]  # seconds, texts


def merge(profile: Profile, folder: Path, prompts: list, adapter) -> list[str]:
    """Writes base and adapter as one model; its own answers to the prompts."""
    from peft import PeftModel

    from helpers.evaluation import generate
    from helpers.models import load_model, load_tokenizer

    tokenizer = load_tokenizer(profile)
    model = PeftModel.from_pretrained(load_model(profile), adapter).merge_and_unload()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return generate(model.eval(), tokenizer, prompts, NEW_TOKENS)


def starters(
    profile: Profile, merged: Path, adapter, work: Path
) -> dict[str, Callable]:
    """{server: a function that starts it}."""
    options = {"wait": 900, "work": work}
    vllm = partial(serving.start_vllm, dtype=profile.dtype, **options)
    return {
        "transformers": partial(serving.start, merged, **options),
        "vllm": partial(vllm, merged),
        "vllm_adapter": partial(vllm, profile.model, {"tickets": adapter}),
    }


async def ask(url: str, model: str, prompts: list, clients: int) -> Answers:
    """How long so many clients take for all prompts together, and the answers."""
    from openai import AsyncOpenAI

    gate = asyncio.Semaphore(clients)
    settings = {"model": model, "temperature": 0, "max_tokens": NEW_TOKENS}
    async with AsyncOpenAI(base_url=url, api_key="unused") as client:

        async def one(prompt):
            async with gate:
                create = client.chat.completions.create
                return await create(messages=prompt, **settings)

        start = time.perf_counter()
        replies = await asyncio.gather(*map(one, prompts))
        took = time.perf_counter() - start
    return took, [reply.choices[0].message.content for reply in replies]


def visit(name: str, start: Callable, prompts: list, local: list, rows: list) -> list:
    """What one server does: [{server, version, clients, seconds, agrees}], one a row.

    agrees: the share of its answers that are equal to the local ones.
    """
    server, found = start(), []
    try:
        model = "tickets" if name == "vllm_adapter" else server.model
        about = {"server": name, "version": version(server)}
        asyncio.run(ask(server.url, model, prompts[:8], 8))  # the first ones are slow
        for row in rows:
            took, texts = asyncio.run(ask(server.url, model, prompts, row["clients"]))
            agrees = sum(map(str.__eq__, texts, local)) / len(local)
            found.append(about | row | {"seconds": took, "agrees": agrees})
    finally:
        server.stop()
    return found


def version(server: serving.Server) -> str | None:
    """The version that a server says it has; None where it says none."""
    try:
        address = server.url.removesuffix("v1") + "version"
        with urllib.request.urlopen(address) as answer:
            return json.load(answer)["version"]
    except urllib.error.HTTPError:
        return None


def measure(
    profile: Profile, adapter: Path, prompts: list, rows: list[dict]
) -> Iterator[dict]:
    """What was found of each row: answers a second, ratios, equal answers."""
    with tempfile.TemporaryDirectory() as folder:
        merged, work = Path(folder) / "merged", Path(folder) / "work"
        local = merge(profile, merged, prompts, adapter)
        servers = starters(profile, merged, adapter, work).items()
        found = pd.DataFrame(
            seen
            for _ in range(ROUNDS)
            for name, start in servers
            for seen in visit(name, start, prompts, local, rows)
        )
    for row in rows:
        by_server = found[found.clients == row["clients"]].groupby("server")
        speed = len(prompts) / by_server.seconds.median()
        yield {
            "answers_per_second": speed.round(2).to_dict(),
            "times_transformers": (speed / speed["transformers"]).round(2).to_dict(),
            "agrees": by_server.agrees.min().to_dict(),
            "vllm_version": by_server.version.first()["vllm"],
        }


def main(argv: list[str] | None = None) -> int:
    """What the file does not hold; 1 where rows are left. UserError without vLLM."""
    parser = flags.parser(__doc__)
    parser.add_argument("--profile", choices=("tiny", "small"), default="tiny")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument(
        "--prompts", type=int, default=100, help="validation rows (100)"
    )
    args = parser.parse_args(argv)
    if min(args.clients) < 1:
        raise UserError(f"--clients must be 1 or more, got {min(args.clients)}")
    if serving.vllm_command() is None:
        raise UserError("no vLLM is here, and this compares it: make vllm")
    threads = max(1, (os.cpu_count() or 2) - 1)  # as many as vLLM takes by itself
    os.environ["OMP_NUM_THREADS"] = str(threads)
    profile = load_profile(args.profile)
    adapter = adapter_folder(profile, "auto", "tickets-lora")
    prompts = load_splits("data/tickets")["validation"]["prompt"][: args.prompts]
    rows = [{"prompts": len(prompts), "clients": n} for n in args.clients]
    part = ledger.Part(
        f"serving.{profile.name}",
        rows,
        partial(measure, profile, adapter, prompts),
        seconds=60,
        about={"threads": threads, "dtype": profile.dtype, "new_tokens": NEW_TOKENS},
    )
    return 1 if ledger.measure([part], args.output, ledger.Budget(minutes=60)) else 0


if __name__ == "__main__":
    sys.exit(run_command("serving benchmark", main))
