"""Measures how fast models of the true shapes decode, beside what bandwidth allows.

    python -m tests.benchmarks.decoding [--output FOLDER] [--batches 1 8 32 128]

Random weights: speed does not depend on their values. Rows: bf16 and 4-bit (NF4, double
quantisation), without an adapter (as merged) and with an unmerged one of rank 16, by
batch size. Writes decoding.SHAPE.MACHINE.json to data/results/, row by row. Without a
GPU the tiny checkpoint's shape stands in: a test of this code, no measurement of the
model.
"""

import gc
import time
from collections.abc import Callable, Iterator
from functools import cache, partial

import torch

from helpers.files import ROOT
from helpers.models import CONFIGS, free, quiet
from helpers.sweep import rows as ledger

quiet()  # before bitsandbytes comes in

from peft import LoraConfig, PeftModel, get_peft_model  # noqa: E402
from transformers import AutoConfig  # noqa: E402

from tests.benchmarks import flags  # noqa: E402
from tests.benchmarks.memory import random_base  # noqa: E402

TINY = ROOT / "data" / "checkpoints" / "tiny-phi3"
REPEATS = 2


def weight_bytes(model) -> int:
    """Bytes that a decode step reads: all weights but a table of input embeddings.

    The quantisation constants of 4-bit weights are counted too.
    """
    table = model.get_input_embeddings().weight
    total = 0 if model.config.tie_word_embeddings else -table.nbytes
    for weight in model.parameters():
        state = getattr(weight, "quant_state", None)
        total += weight.nbytes
        while state is not None:  # double quantisation nests one state in another
            total += state.absmax.nbytes
            state = getattr(state, "state2", None)
    return total


def cache_bytes(config) -> int:
    """Bytes that one token leaves in the KV cache, in bf16."""
    width = getattr(config, "head_dim", None)
    width = width or config.hidden_size // config.num_attention_heads
    return 2 * config.num_hidden_layers * config.num_key_value_heads * width * 2


def seconds(work: Callable) -> float:
    """How long a call takes, on a GPU up to its last kernel."""
    start = time.perf_counter()
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - start


@cache
def bandwidth(device: str) -> float:
    """Bytes a second of a large copy, read and written."""
    size = 2**30 if device == "cuda" else 2**27
    source = torch.ones(size, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return 2 * size / min(seconds(lambda: target.copy_(source)) for _ in range(10))


@torch.inference_mode()
def times(model, batch: int, prompt: int, new: int) -> tuple[float, float]:
    """(seconds of a prefill, of a decode step) of `generate`: the least of some runs.

    A step is what each token after the first adds. Other work on a machine only adds
    to a run: of medians the shorter one may come out as the longer.
    """
    ids = torch.randint(5, 1000, (batch, prompt), device=model.device)
    options = {"attention_mask": torch.ones_like(ids), "do_sample": False}

    def run(tokens):
        exact = {"min_new_tokens": tokens, "max_new_tokens": tokens}
        return seconds(lambda: model.generate(input_ids=ids, **options, **exact))

    run(2)
    first = min(run(1) for _ in range(REPEATS))
    whole = min(run(new) for _ in range(REPEATS))
    return first, (whole - first) / (new - 1)


def grid(
    name: str, config, device: str, batches: list[int], prompt: int, new: int
) -> list[ledger.Part]:
    """The rows of a shape, a part a precision: the model is built once for both."""
    parts = []
    for precision in ("bf16", "4-bit"):
        rows = [
            {"precision": precision, "adapter": adapter, "batch": batch}
            | {"prompt_tokens": prompt, "new_tokens": new}
            for adapter in ("none or merged", "unmerged")
            for batch in batches
        ]
        take = partial(measure, config, device)
        speed = round(bandwidth(device) / 1e9, 1)
        about = {"shape": name, "weights": "random", "bandwidth_gb_per_second": speed}
        costs = {"seconds": 10, "first": 15}
        part = ledger.Part(f"decoding.{name.lower()}", rows, take, about=about, **costs)
        parts.append(part)
    return parts


def measure(config, device: str, rows: list[dict]) -> Iterator[dict]:
    """What was found of each row: times, tokens/s, limit. All are of one precision.

    limit_tokens_per_second: batch x bandwidth / (bytes of weights and cache a step).
    """
    method = "qlora" if rows[0]["precision"] == "4-bit" else "lora"
    lora = LoraConfig(r=16, task_type="CAUSAL_LM", target_modules="all-linear")
    model = None
    for row in rows:
        wanted, has = row["adapter"] == "unmerged", isinstance(model, PeftModel)
        if model is None or (has and not wanted):
            gc.collect()
            model = random_base(config, method, device=device).eval()
        if wanted and not has:
            model = get_peft_model(model, lora).eval()
        sizes = row["prompt_tokens"], row["new_tokens"]
        prefill, step = times(model, row["batch"], *sizes)
        cached = row["batch"] * (sizes[0] + sizes[1] / 2) * cache_bytes(config)
        limit = row["batch"] * bandwidth(device) / (weight_bytes(model) + cached)
        yield {
            "prefill_ms": round(1000 * prefill, 3),
            "step_ms": round(1000 * step, 3),
            "tokens_per_second": round(row["batch"] / step, 1),
            "limit_tokens_per_second": round(limit, 1),
        }
    free(model)


def main(argv: list[str] | None = None) -> None:
    """Measures what the file does not hold."""
    parser = flags.parser(__doc__)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8, 32, 128])
    parser.add_argument("--prompt", type=int, default=128, help="tokens (128)")
    parser.add_argument("--new", type=int, default=64, help="tokens (64)")
    args = parser.parse_args(argv)
    if min(args.batches) < 1 or args.prompt < 1 or args.new < 2:
        parser.error("--batches and --prompt must be 1 or more, --new 2 or more")
    device, shapes = "cpu", {"tiny": AutoConfig.from_pretrained(TINY)}
    if torch.cuda.is_available():
        device, names = "cuda", ("Phi-3-mini", "Qwen3-8B")
        shapes = {name: AutoConfig.for_model(**CONFIGS[name]) for name in names}
    else:
        torch.set_num_threads(1)
    for name, config in shapes.items():
        parts = grid(name, config, device, args.batches, args.prompt, args.new)
        ledger.measure(parts, args.output, ledger.Budget(minutes=60))


if __name__ == "__main__":
    main()
