"""Measures the memory of training steps at the true shapes, beside what is predicted.

    python -m tests.benchmarks.memory [--output data/results] [--batch 2]

On a CUDA GPU: LoRA and QLoRA of Phi-3-mini and Qwen3-8B with random weights, with and
without activation checkpointing, at three lengths: torch.cuda.max_memory_allocated of a
step with TRL's loss and two micro-batches. A run predicted not to fit is left out.
On a CPU: a tiny Llama and Phi-3, the activations alone (saved_tensors_hooks).
Writes memory.MACHINE.json, row by row; what is there is not measured again.
"""

import gc
import itertools
from collections.abc import Iterator
from functools import partial

import torch
import transformers

from helpers.config import GIB, probe_device
from helpers.memory.prediction import predict
from helpers.models import CONFIGS, free, linear_shapes, quiet
from helpers.sweep import rows as ledger
from tests.benchmarks import flags, living

RANK = 16
TINY = {"hidden_size": 128, "intermediate_size": 384, "num_hidden_layers": 2}
TINY |= {"num_attention_heads": 4, "vocab_size": 512}
TINY |= {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
SHAPES = {
    "cuda": {name: CONFIGS[name] for name in ("Phi-3-mini", "Qwen3-8B")},
    "cpu": {
        "tiny phi3": TINY | {"model_type": "phi3", "num_key_value_heads": 4},
        "tiny llama": TINY | {"model_type": "llama", "num_key_value_heads": 2},
    },
}
LENGTHS = {"cuda": (512, 2048, 4096), "cpu": (32, 64, 128)}
# The dtype that a CPU trains in; there PEFT's 4-bit layer does not see autocast.
DTYPES = {"cuda": "bfloat16", "cpu": "float32"}


def random_model(
    config, method: str, dtype: str = "bfloat16", device: str = "cpu", **options
) -> torch.nn.Module:
    """A `random_base` with the loss of TRL's trainer, and `adapted`."""
    from trl.trainer.utils import add_fused_lm_head

    model = random_base(config, method, dtype, device)
    add_fused_lm_head(model, outputs=("log_probs", "entropy", "is_top1"))
    with torch.device(device):
        return adapted(model, method, **options)


def random_base(
    config, method: str, dtype: str = "bfloat16", device: str = "cpu"
) -> torch.nn.Module:
    """A model with random weights, for "qlora" in NF4 with double quantisation."""
    with torch.device(device):
        model = transformers.AutoModelForCausalLM.from_config(
            config, dtype=getattr(torch, dtype), attn_implementation="sdpa"
        )
        if method == "qlora":
            quantise(model, device)
    return model


def adapted(
    model, method: str, rank: int = RANK, checkpointing: bool = False
) -> torch.nn.Module:
    """The model in training mode, for "lora" and "qlora" with an adapter in fp32."""
    from peft import LoraConfig, get_peft_model

    if method != "full":
        config = LoraConfig(r=rank, target_modules="all-linear", task_type="CAUSAL_LM")
        model = get_peft_model(model, config)
        for weight in trained(model):
            weight.data = weight.data.float()
    if checkpointing:
        checkpoint(model)
    return model.train()


def checkpoint(model) -> None:
    """Lets a model, or the base below an adapter, keep the inputs of layers alone."""
    adapter = hasattr(model, "get_base_model")
    base = model.get_base_model() if adapter else model
    base.activation_checkpointing_enable()
    if adapter:
        model.enable_input_require_grads()


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
            old.weight.data,
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

    def step(batches: int = 2) -> None:
        for _ in range(batches):
            with living.autocast(ids.device, dtype):
                output = model(input_ids=ids, labels=ids, use_cache=False, **loss)
            value = output.loss
            del output  # as in the Trainer, where it goes with the function
            value.backward()
        optimizer.step()
        optimizer.zero_grad()

    step(batches=1)  # the optimiser has its states
    return living.measured_peak(model, optimizer, step)


def grid(device: str, batch: int) -> list[ledger.Part]:
    """The rows of the benchmark, a part a model and method, least memory first."""
    parts = []
    for name, method in itertools.product(SHAPES[device], ("lora", "qlora")):
        config = transformers.AutoConfig.for_model(**SHAPES[device][name])
        same = {"model": name, "method": method, "batch": batch}
        same |= {"rank": RANK, "dtype": DTYPES[device]}
        rows = [
            same | {"checkpointing": saves, "length": length}
            for saves, length in itertools.product((False, True), LENGTHS[device])
        ]
        take = partial(measure, config, device=device)
        parts.append(ledger.Part("memory", rows, take, seconds=6, first=15))
    return parts


def measure(config, rows: list[dict], device: str) -> Iterator[dict]:
    """What was predicted and found of each row; all are of one model and method.

    Without "measured" where a run would not fit.
    """
    models = {}
    for row in rows:
        saves, sizes = row["checkpointing"], (row["batch"], row["length"])
        options = {"rank": row["rank"], "dtype": row["dtype"], "checkpointing": saves}
        prediction = predict(config, row["method"], *sizes, **options)
        said = {"predicted_parts": prediction.parts}
        room = 0.95 * probe_device().free_gib * GIB
        if device == "cuda" and prediction.total > room:
            yield said | {"what": "does not fit", "predicted": prediction.total}
            continue
        if saves not in models:
            free(*models.values())
            gc.collect()  # PEFT's modules refer to each other: the last one is there
            options |= {"device": device}
            models = {saves: random_model(config, row["method"], **options)}
        ids = torch.randint(3, config.vocab_size, sizes, device=device)
        yield said | found(models[saves], ids, prediction)
    free(*models.values())


def found(model, ids: torch.Tensor, prediction) -> dict:
    """The bytes of a step, on a CPU of its activations, beside the predicted ones."""
    if ids.device.type == "cuda":
        what, predicted = "peak", prediction.total
        measured = peak(model, ids, fused_lm_head=True)
    else:
        what, predicted = "activations", prediction.parts["activations"]
        measured = living.measured_activations(model, {"input_ids": ids})
    row = {"what": what, "predicted": predicted, "measured": measured}
    return row | {"error": predicted / measured - 1}


def main(argv: list[str] | None = None) -> None:
    """Measures every run of the grid that the file does not hold."""
    quiet()
    parser = flags.parser(__doc__)
    parser.add_argument("--batch", type=int, default=2)
    args = parser.parse_args(argv)
    parts = grid(probe_device().kind, args.batch)
    ledger.measure(parts, args.output, ledger.Budget(minutes=60))


if __name__ == "__main__":
    main()
