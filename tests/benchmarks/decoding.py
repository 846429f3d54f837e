"""Measure how fast Phi-3-mini's shape decodes, beside what memory bandwidth allows.

    python -m tests.benchmarks.decoding [--output FOLDER] [--batches 1 8 32 128]

Random weights of the true shape: speed does not depend on their values. Rows: bf16 and
4-bit (NF4, double quantisation), without an adapter (as merged) and with an unmerged
one of rank 16, by batch size. Writes decoding.SHAPE.MACHINE.json to data/results/ and
prints its rows. Without a GPU the tiny checkpoint's shape stands in: a test of this
code, no measurement of the model.
"""

import argparse
import json
import time
from pathlib import Path
from statistics import median

import torch

from helpers.course import ledger
from helpers.environment import SHOWN, version
from helpers.files import ROOT, write_json
from helpers.models import CONFIGS, quiet

quiet()  # before bitsandbytes comes in

from bitsandbytes.nn import Linear4bit, Params4bit  # noqa: E402
from peft import LoraConfig, get_peft_model  # noqa: E402
from transformers import AutoConfig, AutoModelForCausalLM  # noqa: E402

TINY = ROOT / "data" / "checkpoints" / "tiny-phi3"
REPEATS = 3


def build(config, device, four_bit, adapter):
    """The model with random weights, as configured, in eval mode."""
    with torch.device(device):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    if four_bit:
        quantise(model, device)
    if adapter:
        lora = {"task_type": "CAUSAL_LM", "target_modules": "all-linear"}
        model = get_peft_model(model, LoraConfig(r=16, **lora))
    return model.eval()


def quantise(model, device):
    """Replace every linear layer but the head by its NF4 form, in place."""
    head = model.get_output_embeddings()
    for module in list(model.modules()):
        for name, layer in list(module.named_children()):
            if type(layer) is not torch.nn.Linear or layer is head:
                continue
            four = Linear4bit(
                layer.in_features,
                layer.out_features,
                bias=False,
                compute_dtype=torch.bfloat16,
                quant_type="nf4",
            )
            data = layer.weight.data
            four.weight = Params4bit(data, requires_grad=False, quant_type="nf4")
            setattr(module, name, four.to(device))
    model.is_loaded_in_4bit = True  # PEFT then takes its layers for 4-bit


def weight_bytes(model):
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


def cache_bytes(config):
    """Bytes that one token leaves in the KV cache, in bf16."""
    width = config.hidden_size // config.num_attention_heads
    return 2 * config.num_hidden_layers * config.num_key_value_heads * width * 2


def seconds(work):
    """How long a call takes, on a GPU up to its last kernel."""
    start = time.perf_counter()
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - start


def bandwidth(device):
    """Bytes a second of a large copy, read and written."""
    size = 2**30 if device == "cuda" else 2**27
    source = torch.ones(size, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return 2 * size / min(seconds(lambda: target.copy_(source)) for _ in range(10))


@torch.inference_mode()
def measure(model, batch, prompt, new):
    """(seconds of a prefill, of a decode step) of `generate`: medians.

    A step is what each token after the first adds.
    """
    ids = torch.randint(5, 1000, (batch, prompt), device=model.device)
    options = {"attention_mask": torch.ones_like(ids), "do_sample": False}

    def run(tokens):
        exact = {"min_new_tokens": tokens, "max_new_tokens": tokens}
        return seconds(lambda: model.generate(input_ids=ids, **options, **exact))

    run(2)
    first = median(run(1) for _ in range(REPEATS))
    whole = median(run(new) for _ in range(REPEATS))
    return first, (whole - first) / (new - 1)


def rows(config, device, speed, batches, prompt, new):
    """Yield one dict a combination: precision, adapter, batch, times, tokens/s, limit.

    limit_tokens_per_second: batch x bandwidth / (bytes of weights and cache a step).
    """
    for precision in ("bf16", "4-bit"):
        for adapter in (False, True):
            model = build(config, device, precision == "4-bit", adapter)
            for batch in batches:
                prefill, step = measure(model, batch, prompt, new)
                cache = batch * (prompt + new / 2) * cache_bytes(config)
                limit = batch * speed / (weight_bytes(model) + cache)
                yield {
                    "precision": precision,
                    "adapter": "unmerged" if adapter else "none or merged",
                    "batch": batch,
                    "prefill_ms": round(1000 * prefill, 3),
                    "step_ms": round(1000 * step, 3),
                    "tokens_per_second": round(batch / step, 1),
                    "limit_tokens_per_second": round(limit, 1),
                }
            del model


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=ledger.RESULTS)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8, 32, 128])
    parser.add_argument("--prompt", type=int, default=128, help="tokens (128)")
    parser.add_argument("--new", type=int, default=64, help="tokens (64)")
    args = parser.parse_args(argv)
    if min(args.batches) < 1 or args.prompt < 1 or args.new < 2:
        parser.error("--batches and --prompt must be 1 or more, --new 2 or more")
    gpu, here = torch.cuda.is_available(), ledger.machine()
    device, shape = ("cuda", "phi-3-mini") if gpu else ("cpu", "tiny")
    wanted = CONFIGS["Phi-3-mini"]
    config = AutoConfig.for_model(**wanted) if gpu else AutoConfig.from_pretrained(TINY)
    if not gpu:
        torch.set_num_threads(1)
    speed = bandwidth(device)
    result = {"shape": shape, "weights": "random", "machine": here}
    result["versions"] = {name: version(name) for name in SHOWN}
    result |= {"prompt_tokens": args.prompt, "new_tokens": args.new}
    result |= {"bandwidth_gb_per_second": round(speed / 1e9, 1), "rows": []}
    for row in rows(config, device, speed, args.batches, args.prompt, args.new):
        print(json.dumps(row), flush=True)
        result["rows"].append(row)
    file = args.output / f"decoding.{shape}.{here['name']}.json"
    write_json(file, result)
    print(file)


if __name__ == "__main__":
    main()
