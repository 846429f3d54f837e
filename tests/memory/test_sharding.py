"""What each of several GPUs holds: sums, order, and torch's own count of FSDP2.

torch's FSDPMemTracker watches FSDP2 in one of eight pretended processes: the others
send nothing ("fake" collectives), which changes no byte of what this one holds.
"""

import pytest
import torch
import torch.distributed as dist
import transformers
from accelerate.commands.estimate import estimate_training_usage
from torch.distributed._tools.fsdp2_mem_tracker import FSDPMemTracker
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.testing._internal.distributed.fake_pg import FakeStore

from helpers import UserError, memory, run_command
from helpers.memory import controls
from helpers.memory.__main__ import main
from helpers.memory.prediction import METHODS, STRATEGIES, predict
from helpers.memory.sharding import BUCKET, LIVE, SHARDED
from tests.benchmarks.memory import random_model, trained

GPUS = 8
WIDE = {"model_type": "llama", "hidden_size": 256, "intermediate_size": 512}
WIDE |= {"num_hidden_layers": 8, "num_attention_heads": 4, "num_key_value_heads": 4}
WIDE |= {"tie_word_embeddings": False}
LLAMA = 8_030_261_248  # parameters of Llama-3.1-8B


def shared(method="lora", strategy="fsdp", gpus=GPUS, model="Llama-3.1-8B", **choices):
    """The prediction of 1 row of 512 tokens on each GPU."""
    where = {"gpus": gpus, "strategy": strategy}
    return predict(model, method, 1, 512, checkpointing=True, **where | choices)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_what_is_sharded_sums_to_the_whole(method, strategy):
    """fp32, since in 16 bit sharding adds an fp32 copy of what it trains."""
    one, each = (shared(method, strategy, n, dtype="float32").parts for n in (1, GPUS))
    for part in one:
        times = GPUS if part in SHARDED[strategy] else 1
        whole = one[part]
        if times > 1 and part in ("weights", "optimizer"):  # scales and steps: on each
            assert times * each[part] >= whole > each[part]
            whole = pytest.approx(whole, rel=0.02 * GPUS if method == "qlora" else 1e-4)
        assert times * each[part] == whole
    assert "buffers" not in one and each["buffers"] > 0


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("model", ["Phi-3-mini", "Llama-3.1-8B", "Qwen3-30B-A3B"])
def test_each_strategy_shards_more_than_the_one_before(method, model):
    def states(strategy, gpus=GPUS):
        parts = shared(method, strategy, gpus, model).parts
        return sum(parts[part] for part in SHARDED["fsdp"])

    ddp, zero2, zero3, fsdp = map(states, STRATEGIES)
    assert ddp == states("ddp", 1) > zero2 > zero3
    assert fsdp == pytest.approx(zero3, rel=1e-6)
    assert states("fsdp", 2) > states("fsdp", 4) > fsdp


STATES = {"gradients", "optimizer"}
SHARED_OUT = {"ddp": set(), "zero2": STATES}
SHARED_OUT |= dict.fromkeys(("zero3", "fsdp"), {"weights", "adapter"} | STATES)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_which_parts_a_strategy_shares_out(strategy):
    one, each = (shared("lora", strategy, n, dtype="float32").parts for n in (1, GPUS))
    assert {part for part in one if each[part] < one[part]} == SHARED_OUT[strategy]


def test_scales_of_a_base_in_four_bit_are_on_every_gpu():
    """A byte for 64 of the 6,979,321,856 values of linear layers, and 4 for 256."""
    one, each = (shared("qlora", "fsdp", n).parts["weights"] for n in (1, GPUS))
    scales = 6_979_321_856 / 64 * (1 + 4 / 256)
    assert each - one / GPUS == pytest.approx(scales * (1 - 1 / GPUS), rel=0.01)


def test_full_fine_tuning_shares_16_bytes_a_weight():
    """Or 8 in all on each GPU under DDP: what is sharded is also kept in fp32."""
    whole = shared("full", "ddp").parts["optimizer"]
    assert whole == pytest.approx(4 * LLAMA, rel=1e-6)
    for strategy in ("zero3", "fsdp"):
        parts = shared("full", strategy).parts
        states = sum(parts[part] for part in SHARDED["fsdp"])
        assert GPUS * states == pytest.approx(16 * LLAMA, rel=1e-6)
        assert "a copy in float32" in shared("full", strategy).assumptions
    assert "a copy" not in shared("lora", "fsdp").assumptions


def test_deepspeed_counts_the_same_weights_and_optimizer_states():
    """Its estimates count gradients in fp32, and on ZeRO-2 whole ones in 16 bit.

    estimate_zero2_model_states_mem_needs: 4 P + 16 P / N without offloading, and
    estimate_zero3_model_states_mem_needs: 18 P / N and 4 bytes a weight of the largest
    layer (deepspeed.runtime.zero.stage_1_and_2 and stage3).
    """
    zero2, zero3 = (shared("full", name).parts for name in ("zero2", "zero3"))
    theirs = 4 * LLAMA + 16 * LLAMA / GPUS - 2 * LLAMA - 4 * LLAMA / GPUS
    assert zero2["weights"] + zero2["optimizer"] == pytest.approx(theirs, rel=1e-6)
    theirs = 18 * LLAMA / GPUS - 4 * LLAMA / GPUS
    assert zero3["weights"] + zero3["optimizer"] == pytest.approx(theirs, rel=1e-6)
    assert zero2["buffers"] == 2 * BUCKET
    assert zero3["buffers"] == 2 * LIVE + 2 * 2 * BUCKET


def test_accelerate_estimates_the_same_states_of_one_gpu():
    theirs = estimate_training_usage(4 * LLAMA, "float32")
    parts = shared("full", gpus=1, dtype="float32").parts
    found = parts["weights"] + parts["gradients"] + parts["optimizer"]
    assert found == pytest.approx(theirs["step"], rel=1e-6)
    assert parts["optimizer"] == pytest.approx(theirs["optimizer"], rel=1e-6)


# torch's count of FSDP2


@pytest.fixture(scope="module")
def mesh():
    """Eight pretended processes; this is the first."""
    dist.init_process_group("fake", rank=0, world_size=GPUS, store=FakeStore())
    yield init_device_mesh("cpu", (GPUS,))
    dist.destroy_process_group()


def tracked(config, method, mesh, length) -> dict[str, int]:
    """{kind of memory: bytes} at the peak of two micro-batches, and their sum.

    Wrapped as accelerate does: each layer, the embedding, and the last norm with the
    head, which stay gathered after the forward pass; trained weights are in fp32.
    """
    model = random_model(config, method)
    weights = trained(model)
    for weight in weights:
        weight.data = weight.data.float()
    base = model.get_base_model() if method == "lora" else model
    wide = MixedPrecisionPolicy(param_dtype=torch.bfloat16)
    how = {"mesh": mesh, "mp_policy": wide}
    for layer in [*base.model.layers, base.model.embed_tokens]:
        fully_shard(layer, **how)
    fully_shard([base.model.norm, base.lm_head], reshard_after_forward=False, **how)
    fully_shard(model, **how)
    weights = trained(model)
    optimizer = torch.optim.AdamW(weights)
    for weight in weights:  # as a first step leaves it
        averages = {
            name: torch.zeros_like(weight) for name in ("exp_avg", "exp_avg_sq")
        }
        optimizer.state[weight] = averages | {"step": torch.tensor(0.0)}
    ids = torch.randint(3, 300, (1, length))
    tracker = FSDPMemTracker(model, optimizer)
    with tracker:
        for _ in range(2):
            model(input_ids=ids, labels=ids, use_cache=False).loss.backward()
    [peak] = tracker.get_tracker_snapshot("peak").values()
    return {getattr(kind, "value", kind): size for kind, size in peak.items()}


@pytest.mark.parametrize("method", ["full", "lora"])
@pytest.mark.parametrize("words", [1024, 4096], ids=["layers", "head"])
def test_torch_counts_the_same_of_fsdp(method, words, mesh):
    """Weights, gradients, optimizer to the byte; the peak within 10 %."""
    config = transformers.AutoConfig.for_model(**WIDE, vocab_size=words)
    found = tracked(config, method, mesh, 64)
    asked = {"config": config, "method": method, "batch": 1, "length": 64}
    asked |= {"gpus": GPUS, "strategy": "fsdp", "chunked_loss": False}
    parts = predict(**asked).parts
    assert found["Sharded Param"] == parts["weights"] + parts["adapter"]
    assert found["Sharded Grad"] == parts["gradients"]
    assert found["OptState"] == parts["optimizer"]
    assert sum(parts.values()) == pytest.approx(found["Total"], rel=0.1)
    # The control: neither another number of GPUs nor other strategies come near.
    for other in ({"gpus": 2}, {"strategy": "zero2"}, {"strategy": "ddp"}):
        assert predict(**asked | other).total > 1.15 * found["Total"]


# What a reader sees


def test_the_command_prints_what_each_gpu_holds(capsys):
    main("--model Llama-3.1-70B --gpus 4 --strategy fsdp --checkpointing".split())
    said = capsys.readouterr().out
    assert "on each of 4 GPUs, fsdp" in said and "predicted, not measured" in said
    assert "buffers" in said and "Fits on 4 GPUs, each with" in said
    main("--model Phi-3-mini".split())
    said = capsys.readouterr().out
    assert "GPUs" not in said and "buffers" not in said and "not measured" not in said


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            "--gpus 2 --strategy fsdp3",
            "unknown strategy 'fsdp3': use one of ddp, zero2",
        ),
        ("--gpus 0", "gpus must be 1 or more, got 0"),
        ("--strategy fsdp", "fsdp shares among GPUs: give --gpus, too"),
    ],
)
def test_a_wrong_wish_is_one_line_and_exit_code_2(options, message, capsys):
    call = ["--model", "Phi-3-mini", *options.split()]
    assert run_command("memory", main, call) == 2
    said = capsys.readouterr()
    assert said.out == "" and message in said.err and said.err.count("\n") == 1


def test_the_batch_that_fits_is_that_of_each_gpu():
    one, line = memory.largest_batch("Llama-3.1-8B", "lora", 512, 22.0)
    each, more = memory.largest_batch(
        "Llama-3.1-8B", "lora", 512, 22.0, gpus=4, strategy="fsdp"
    )
    assert each > one and f"{each} rows fit" in more and f"{one} rows fit" in line


def test_the_calculator_follows_the_number_of_gpus():
    start = controls.START | {"config": "Qwen3-30B-A3B", "gpus": 4}
    *moved, view = controls.build(start).children
    boxes = {box.description: box for box in moved}
    boxes["strategy"].value = "fsdp"
    assert "on each of 4 GPUs, fsdp" in view.value and "buffers" in view.value
    boxes["gpus"].value = 1
    assert "GPUs" not in view.value


def test_strategies_are_those_that_are_sharded():
    assert tuple(SHARDED) == STRATEGIES == memory.STRATEGIES
    with pytest.raises(UserError, match="unknown strategy"):
        shared(strategy="pipeline")
