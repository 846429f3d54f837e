"""How many bytes each part of a training run takes: the formulas of `helpers.memory`.

They follow, tensor by tensor, what transformers' Llama, Phi-3 and Qwen3 layers, PEFT's
LoRA layers and TRL's loss store, and what bitsandbytes stores of a 4-bit weight. A run
in 16 bit is one under autocast with fp32 adapters, as `SFTConfig(bf16=True)` trains.
Experts are frozen but in full fine-tuning, and stay as they are in QLoRA.
"""

from dataclasses import dataclass
from math import ceil

from helpers.memory.shape import Shape

# bitsandbytes: values a block of NF4, and blocks a block of double quantisation
# (bitsandbytes.functional.quantize_4bit).
BLOCK, NESTED_BLOCK = 64, 256
# The loss of TRL projects tiles of so many tokens by so many words of the vocabulary
# (trl.kernels.chunked_logprob and trl.trainer.utils).
TILE_TOKENS, TILE_WORDS = 4096, 32768


@dataclass(frozen=True)
class Run:
    """One training run: the arguments of `predict` after checking.

    casts: whether layers cast fp32 adapters as they read them, as autocast does;
        sharding of FSDP2 and DeepSpeed gives them in 16 bit.
    """

    shape: Shape
    method: str
    batch: int
    length: int
    rank: int
    width: int  # bytes a value
    double_quant: bool
    checkpointing: bool
    padded: bool
    casts: bool = True

    @property
    def tokens(self) -> int:
        return self.batch * self.length

    @property
    def adapter_values(self) -> int:
        """rank * (d_in + d_out), summed over the adapted layers."""
        pairs = () if self.method == "full" else self.shape.linear
        return self.rank * sum(d_in + d_out for d_in, d_out in pairs)

    @property
    def readers(self) -> int:
        """How many layers read the input of attention: q, k and v, or one for all."""
        return 1 if self.shape.fused else 3

    @property
    def copies(self) -> bool:
        """Whether every adapted layer keeps its input in a copy of its own.

        PEFT casts the input of LoRA to the adapter's fp32, and autocast casts it back:
        a new tensor each time (peft.tuners.lora.layer.Linear.forward). Its 4-bit layer
        leaves the input alone under autocast (peft.tuners.lora.bnb.Linear4bit).
        """
        return self.method == "lora" and self.width == 2 and self.casts


def parts(run: Run, chunked_loss: bool) -> dict[str, int]:
    """{part: bytes} of a run, in the order of the table."""
    loss = logits(run, chunked_loss)
    return {
        "weights": weights(run),
        "adapter": 4 * run.adapter_values,
        **trained(run),
        "activations": activations(run),
        "logits": loss,
        "overhead": overhead(run, loss),
    }


def weights(run: Run) -> int:
    """Bytes of the base. In QLoRA embeddings, norms and head stay as they are."""
    if run.method != "qlora":
        return run.width * run.shape.parameters
    values = [d_in * d_out for d_in, d_out in run.shape.linear]
    rest = run.width * (run.shape.parameters - sum(values))
    return rest + sum(nf4_bytes(n, run.double_quant) for n in values)


def nf4_bytes(values: int, double_quant: bool) -> int:
    """Bytes of a weight in NF4, all that bitsandbytes keeps for it.

    4 bits a value and the 16 fp32 values of the code; for each block of 64 values its
    absolute maximum, in fp32. Double quantisation stores that maximum in one byte, with
    one fp32 for each 256 of them, a code of 256 fp32 values, and one fp32 offset.
    """
    blocks = ceil(values / BLOCK)
    scales = 4 * blocks
    if double_quant:
        scales = blocks + 4 * ceil(blocks / NESTED_BLOCK) + 4 * 256 + 4
    return ceil(values / 2) + 4 * 16 + scales


def trained(run: Run) -> dict[str, int]:
    """Bytes of the gradients and of AdamW: two averages a value, in the weight's dtype.

    The optimizer also counts its steps, in one fp32 a tensor.
    """
    if run.method == "full":
        values, width, tensors = run.shape.parameters, run.width, run.shape.tensors
    else:
        values, width, tensors = run.adapter_values, 4, 2 * len(run.shape.linear)
    return {"gradients": width * values, "optimizer": 2 * width * values + 4 * tensors}


def activations(run: Run) -> int:
    """Bytes that one forward pass up to the last hidden state keeps for the backward.

    With checkpointing every layer keeps its input alone, and the backward pass rebuilds
    one layer at a time.
    """
    shape, tokens = run.shape, run.tokens
    ends = norm(run, shape.hidden) * tokens  # the norm after the last layer
    ends += 2 * run.length * (shape.query // shape.heads) * run.width  # sine and cosine
    ends += 8 * tokens if run.method == "full" else 0  # token ids, for the embedding
    # Autocast keeps 16-bit copies of the fp32 adapters.
    copies = 2 * run.adapter_values if run.width == 2 and run.casts else 0
    if run.checkpointing:
        one = tokens * run.width * shape.hidden
        # In fp32 the input of a layer and that of its norm are one tensor.
        rebuilt = layer(run) - (one if run.width == 4 else 0)
        return ends + shape.layers * one + rebuilt + copies // shape.layers
    if run.method != "full":
        # Nothing before the first adapters needs a gradient: neither the first norm nor
        # the product with their A.
        ends -= norm(run, shape.hidden) * tokens
        copies -= 2 * run.rank * shape.hidden * run.readers if copies else 0
    return ends + shape.layers * layer(run) + copies


def norm(run: Run, values: int, factors: int = 1) -> int:
    """Bytes a token that an RMSNorm keeps: its input in fp32, a factor for each vector.

    A trained weight also needs the normalised values.
    """
    kept = 4 * (values + factors)
    return kept + (run.width * values if run.method == "full" else 0)


def layer(run: Run) -> int:
    """Bytes that one decoder layer keeps: its two norms, attention and MLP."""
    kept = attention(run) + run.tokens * (2 * norm(run, run.shape.hidden) + mlp(run))
    return kept + 4 * run.shape.experts  # where the choices of each expert end


def attention(run: Run) -> int:
    """Bytes that the attention of one layer keeps."""
    shape, width = run.shape, run.width
    query, key = shape.query, shape.key
    beyond = shape.window is not None and run.length >= shape.window
    masked = run.padded or beyond
    # SDPA with a mask takes keys and values repeated to the number of query heads.
    wide = query if masked else key
    # The value of a fused projection is a view of its whole output.
    value = query + 2 * key if shape.fused and wide == key else wide
    kept = inputs(run, shape.hidden, run.readers)  # the output of the norm
    kept += width * (query + wide + value)  # what SDPA reads, after the rotation
    # Its output, and what the output projection reads: another tensor where that is a
    # copy, or reordered, since Phi-3's rotation leaves the heads before the tokens.
    kept += width * query * (2 if run.copies or shape.fused else 1)
    if shape.normed:  # before the rotation
        kept += norm(run, query + key, shape.heads + shape.key_heads)
    kept += 4 * shape.heads  # the logarithm of each softmax's denominator, in fp32
    kept += adapters(run, run.readers + 1)
    mask = run.batch * run.length**2 * width if masked else 0
    return run.tokens * kept + mask


def mlp(run: Run) -> int:
    """Bytes a token that the MLP of one layer keeps."""
    shape = run.shape
    if shape.experts:
        return experts(run)
    readers = 1 if shape.fused else 2
    kept = inputs(run, shape.hidden, readers)  # the output of the norm
    # gate (for SiLU's gradient), SiLU(gate), up (for the product's), and the product,
    # which the down projection reads.
    kept += 4 * run.width * shape.inner
    return kept + adapters(run, readers + 1)


def experts(run: Run) -> int:
    """Bytes a token of a layer's router and its experts (transformers' grouped_mm)."""
    shape, width, full = run.shape, run.width, run.method == "full"
    # The router's input where it is trained, its softmax in fp32, the chosen ones'
    # numbers and shares, and the shares' sum.
    kept = (width * shape.hidden if full else 0) + 4 * shape.experts + 4
    kept += 12 * shape.chosen
    # A chosen expert's gate and up, SiLU(gate), output and share; three orders of all
    # choices; where it is trained, what its two projections read.
    wide = 3 * shape.inner + shape.hidden + 1
    wide += shape.hidden + shape.inner if full else 0
    return kept + shape.chosen * (width * wide + 3 * 8)


def inputs(run: Run, wide: int, readers: int) -> int:
    """Bytes a token of an input that so many adapted or trained layers read."""
    return run.width * wide * (readers if run.copies else 1)


def adapters(run: Run, count: int) -> int:
    """Bytes a token between A and B of so many adapters."""
    return 0 if run.method == "full" else run.width * run.rank * count


def logits(run: Run, chunked_loss: bool) -> int:
    """Bytes of the loss: the last hidden state, and the logits or a tile of them.

    TRL's loss holds one tile of logits, and sums the gradient of the hidden state and,
    where it is trained, of the head in fp32, which it then rounds to 16 bit. Without it
    all logits stand there three times in fp32: as log-softmax, as its gradient, and as
    their own.
    """
    shape, tokens = run.shape, run.tokens
    hidden = tokens * shape.hidden * run.width
    if not chunked_loss:
        return hidden + 3 * 4 * tokens * shape.words
    tile = min(tokens, TILE_TOKENS) * TILE_WORDS * run.width
    head = shape.words if run.method == "full" else 0
    summed = 4 + (2 if run.width == 2 else 0)
    return hidden + tile + summed * shape.hidden * (tokens + head)


def overhead(run: Run, loss: int) -> int:
    """Bytes of the gradients inside one layer, as far as they exceed those of the loss.

    The loss is over when the backward pass reaches the layers. The widths were found by
    counting every tensor of a step (tests/benchmarks/living.py) over several shapes.
    """
    hidden, inner = run.shape.hidden, run.shape.inner
    # PEFT's casts put a gradient in fp32 beside each one in 16 bit, and the gradient of
    # a norm is computed in fp32.
    norms = (8 if run.width == 2 else 5) * hidden
    flow = 3 * inner + 5 * hidden if run.copies else max(2 * inner, norms)
    flowing = run.tokens * run.width * flow
    if run.method == "qlora":  # one 4-bit weight multiplied out for its matrix product
        flowing += run.width * max(d_in * d_out for d_in, d_out in run.shape.linear)
    return max(0, flowing - loss)
