"""What each of several GPUs holds of a training run: the formulas of `helpers.memory`.

"ddp" (torch's DistributedDataParallel) keeps all of it on every GPU. "zero2" of
DeepSpeed shards gradients and optimizer states; "zero3" of DeepSpeed and "fsdp", which
is torch's FSDP2 as accelerate wraps a model, the weights too: a GPU keeps its part, and
gathers the rest of a layer while it needs it. Activations are of the GPU's own batch.
"""

from dataclasses import replace
from math import ceil

from helpers.memory.parts import Run, nf4_bytes, trained, weights

STATES = ("gradients", "optimizer")
SHARDED = {"ddp": (), "zero2": STATES}  # {strategy: the parts that it shards}
SHARDED |= dict.fromkeys(("zero3", "fsdp"), ("weights", "adapter", *STATES))
# DeepSpeed's defaults, in values: what is reduced at once, and what ZeRO-3 keeps
# gathered (reduce_bucket_size, stage3_max_live_parameters).
BUCKET, LIVE = 5 * 10**8, 10**9


def per_gpu(run: Run, whole: dict[str, int], gpus: int, strategy: str) -> dict:
    """{part: bytes} of each GPU. whole: those of one, as `parts` counts them."""
    whole = whole | in_float32(run, strategy)
    kept = {"optimizer": 4 * tensors(run), "weights": scales(run)}  # by every GPU
    shares = {
        part: kept.get(part, 0) + ceil((whole[part] - kept.get(part, 0)) / gpus)
        for part in SHARDED[strategy]
    }
    return whole | shares | {"buffers": buffers(run, whole, strategy)}


def in_float32(run: Run, strategy: str) -> dict[str, int]:
    """The parts of full fine-tuning in 16 bit that sharding changes: 16 bytes a weight.

    accelerate's FSDP2 casts trained weights to fp32, and gathers them in 16 bit.
    DeepSpeed keeps an fp32 copy beside the averages of AdamW.
    """
    if run.method != "full" or run.width == 4 or strategy == "ddp":
        return {}
    if strategy == "fsdp":
        wide = replace(run, width=4)
        return {"weights": weights(wide), **trained(wide)}
    return {"optimizer": 12 * run.shape.parameters + 4 * tensors(run)}


def tensors(run: Run) -> int:
    """How many weights are trained: as many steps AdamW counts, on every GPU."""
    return run.shape.tensors if run.method == "full" else 2 * len(run.shape.linear)


def scales(run: Run) -> int:
    """Bytes beside the codes of 4-bit weights, which bitsandbytes does not shard."""
    if run.method != "qlora":
        return 0
    values = [d_in * d_out for d_in, d_out in run.shape.linear]
    return sum(nf4_bytes(n, run.double_quant) - ceil(n / 2) for n in values)


def buffers(run: Run, whole: dict[str, int], strategy: str) -> int:
    """Bytes of what is gathered, and waits to be reduced, at once."""
    shape, full = run.shape, run.method == "full"
    bucket = run.width * min(BUCKET, shape.parameters if full else run.adapter_values)
    if strategy == "ddp":  # gradients once more, in the buckets that are averaged
        return whole["gradients"]
    if strategy == "zero2":
        return bucket
    if strategy == "zero3":  # two buckets: one fills while the other is reduced
        return min(weights(run), run.width * LIVE) + 2 * bucket
    block, head = layer_bytes(run), run.width * shape.hidden * (shape.words + 1)
    # A layer, the next one on its way, and where that arrives; or, in full fine-tuning,
    # the layer's gradients and those on their way. By then the loss is over. Beside the
    # loss stand the head and the last norm, and where they arrived, or their gradients
    # too (torch.distributed._tools.fsdp2_mem_tracker).
    held, beside = (4, 3) if full else (3, 2)
    return max(held * block - whole["logits"], beside * head)


def layer_bytes(run: Run) -> int:
    """Bytes of one decoder layer with its adapters, as it is gathered."""
    shape, layers = run.shape, run.shape.layers
    size = run.width * (shape.block + run.adapter_values // layers)
    if run.method == "qlora":  # codes of half a byte
        values = sum(d_in * d_out for d_in, d_out in shape.linear) // layers
        size -= run.width * values - values // 2
    return size
