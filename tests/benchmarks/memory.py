"""Measures the memory of training steps at the true shapes, beside what is predicted.

    python -m tests.benchmarks.memory [--output data/results] [--batch 2]

On a CUDA GPU: LoRA and QLoRA of Phi-3-mini and Llama-3.1-8B with random weights, with
and without activation checkpointing, at three lengths: torch.cuda.max_memory_allocated
of a step with TRL's loss and two micro-batches. A run predicted not to fit is left out.
On a CPU: a tiny Llama and Phi-3, the activations alone (saved_tensors_hooks).
Prints a table; writes memory.MACHINE.json with versions and machine.
"""

import argparse
import gc
import itertools
from pathlib import Path

import torch
import transformers

from helpers.config import GIB, probe_device
from helpers.course.ledger import machine
from helpers.environment import SHOWN, version
from helpers.files import ROOT, write_json
from helpers.memory.prediction import predict
from helpers.models import CONFIGS, linear_shapes, quiet
from tests.benchmarks import living

RANK = 16
TINY = {"hidden_size": 128, "intermediate_size": 384, "num_hidden_layers": 2}
TINY |= {"num_attention_heads": 4, "vocab_size": 512}
TINY |= {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
SHAPES = {
    "cuda": [CONFIGS["Phi-3-mini"], CONFIGS["Llama-3.1-8B"]],
    "cpu": [
        TINY | {"model_type": "phi3", "num_key_value_heads": 4},
        TINY | {"model_type": "llama", "num_key_value_heads": 2},
    ],
}
LENGTHS = {"cuda": (512, 2048, 4096), "cpu": (32, 64, 128)}
# The dtype that a CPU trains in; there PEFT's 4-bit layer does not see autocast.
DTYPES = {"cuda": "bfloat16", "cpu": "float32"}


def random_model(
    config, method: str, dtype: str = "bfloat16", device: str = "cpu", **options
) -> torch.nn.Module:
    """A model with random weights, the loss of TRL's trainer, and `adapted`."""
    from trl.trainer.utils import add_fused_lm_head

    with torch.device(device):
        model = transformers.AutoModelForCausalLM.from_config(
            config, dtype=getattr(torch, dtype), attn_implementation="sdpa"
        )
        add_fused_lm_head(model, outputs=("log_probs", "entropy", "is_top1"))
        if method == "qlora":
            quantise(model, device)
        return adapted(model, method, **options)


def adapted(
    model, method: str, rank: int = RANK, checkpointing: bool = False
) -> torch.nn.Module:
    """The model in training mode, for "lora" and "qlora" with an adapter in fp32."""
    from peft import LoraConfig, get_peft_model

    base = model
    if method != "full":
        config = LoraConfig(r=rank, target_modules="all-linear", task_type="CAUSAL_LM")
        model = get_peft_model(model, config)
        for weight in trained(model):
            weight.data = weight.data.float()
    if checkpointing:
        base.activation_checkpointing_enable()
        if method != "full":
            model.enable_input_require_grads()
    return model.train()


def trained(model) -> list[torch.nn.Parameter]:
    """The parameters that need a gradient."""
    return [weight for weight in model.parameters() if weight.requires_grad]


def quantise(model, device: str, double_quant: bool = True) -> None:
    """Turns every linear layer but the head into NF4, one after the other."""
    import bitsandbytes as bnb

    for name in linear_shapes(model):
        parent, _, last = name.rpartition(".")
        old = model.get_submodule(name)
        new = bnb.nn.Linear4bit(
            old.in_features,
            old.out_features,
            bias=old.bias is not None,
            compute_dtype=old.weight.dtype,
            compress_statistics=double_quant,
            quant_type="nf4",
        )
        new.weight = bnb.nn.Params4bit(
            old.weight.data.cpu(),
            requires_grad=False,
            compress_statistics=double_quant,
            quant_type="nf4",
            module=new,
        )
        new.bias = old.bias
        new.support_avx512bf16_for_cpu = False  # see models.keep_4bit_layout
        setattr(model.get_submodule(parent), last, new.to(device))
    model.is_loaded_in_4bit = True  # PEFT asks this before it takes its 4-bit layers


def peak(model, ids: torch.Tensor, **loss) -> int:
    """The peak bytes of a step of two micro-batches. loss: for the model's call."""
    optimizer = torch.optim.AdamW(trained(model), fused=True)
    dtype = model.get_input_embeddings().weight.dtype

    def step() -> None:
        for _ in range(2):
            with living.autocast(ids.device, dtype):
                output = model(input_ids=ids, labels=ids, use_cache=False, **loss)
            value = output.loss
            del output  # as in the Trainer, where it goes with the function
            value.backward()
        optimizer.step()
        optimizer.zero_grad()

    step()
    return living.measured_peak(model, optimizer, step)


def compare(
    entries: dict,
    method: str,
    checkpointing: bool,
    batch: int,
    length: int,
    device: str,
) -> dict:
    """One row of the ledger; without "measured" where the run would not fit."""
    config = transformers.AutoConfig.for_model(**entries)
    prediction = predict(
        config,
        method,
        batch,
        length,
        rank=RANK,
        dtype=DTYPES[device],
        checkpointing=checkpointing,
    )
    names = {id(shape): name for name, shape in CONFIGS.items()}
    row = {"model": names.get(id(entries), f"tiny {entries['model_type']}")}
    row |= {"method": method, "checkpointing": checkpointing, "batch": batch}
    row |= {"length": length, "rank": RANK, "dtype": DTYPES[device]}
    row["predicted_parts"] = prediction.parts
    if device == "cuda" and prediction.total > 0.95 * probe_device().free_gib * GIB:
        return row | {"what": "does not fit", "predicted": prediction.total}
    gc.collect()  # PEFT's modules refer to each other: the last model is still there
    model = random_model(
        config, method, DTYPES[device], device, checkpointing=checkpointing
    )
    ids = torch.randint(3, config.vocab_size, (batch, length), device=device)
    if device == "cuda":
        what, predicted = "peak", prediction.total
        found = peak(model, ids, fused_lm_head=True)
    else:
        what, predicted = "activations", prediction.parts["activations"]
        found = living.measured_activations(model, {"input_ids": ids})
    row |= {"what": what, "predicted": predicted, "measured": found}
    return row | {"error": predicted / found - 1}


def main(argv: list[str] | None = None) -> None:
    """Measures every run of the grid and writes the ledger's file."""
    quiet()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=ROOT / "data" / "results")
    parser.add_argument("--batch", type=int, default=2)
    args = parser.parse_args(argv)
    device, rows = probe_device().kind, []
    methods, checkpointing = ("lora", "qlora"), (False, True)
    grid = (SHAPES[device], methods, checkpointing, LENGTHS[device])
    for entries, method, saves, length in itertools.product(*grid):
        rows.append(compare(entries, method, saves, args.batch, length, device))
        print(line(rows[-1]), flush=True)
    entry = {"machine": machine(), "versions": {n: version(n) for n in SHOWN}}
    file = args.output / f"memory.{entry['machine']['name']}.json"
    write_json(file, entry | {"rows": rows})


def line(row: dict) -> str:
    """A row as text, in MiB."""
    named = f"{row['model']:14} {row['method']:6} {row['length']:5} tokens"
    saves = "checkpointing" if row["checkpointing"] else ""
    text = f"{named} {saves:14} predicted {row['predicted'] / 2**20:9,.1f} MiB"
    if "measured" not in row:
        return f"{text}  {row['what']}"
    size = f"{row['measured'] / 2**20:9,.1f} MiB"
    return f"{text}  {row['what']} {size}  error {row['error']:+.1%}"


if __name__ == "__main__":
    main()
