"""Peak memory of a training run by part, predicted from a model's configuration alone.

The formulas stand in `parts`, and in `sharding` for several GPUs; `measured` measures
the parts of one. The total is what tensors take at the peak: it leaves out the CUDA
context, what the allocator holds without using it, and the whole base that
`helpers.finetune` loads on each GPU before it is shared out.
"""

from bisect import bisect_right
from dataclasses import dataclass
from html import escape

import pandas as pd

from helpers import UserError
from helpers.config import GIB, MIB, read_profiles

METHODS = ("full", "lora", "qlora")
STRATEGIES = ("ddp", "zero2", "zero3", "fsdp")
WIDTHS = {"float32": 4, "float16": 2, "bfloat16": 2}  # bytes a value
MOST_ROWS = 2**16  # of a micro-batch, where more memory than that is asked about
CONTEXT = int(0.6 * GIB)  # CUDA's own in a process, and what the allocator cannot use


@dataclass(frozen=True, repr=False)
class Prediction:
    """The bytes of a run by part, in the order of its table; of each of several GPUs.

    parts: weights, adapter, gradients, optimizer, activations, logits, overhead, and
        for several GPUs buffers.
    title, assumptions: one line each, which run it is and what it takes for granted.
    """

    title: str
    assumptions: str
    parts: dict[str, int]
    gpus: int = 1

    @property
    def total(self) -> int:
        """Bytes in all. Gradients count beside activations: where they are accumulated,
        those of one micro-batch wait while the next one runs. With checkpointing, large
        logits and the layer rebuilt after them both count: at most that layer too much.
        """
        return sum(self.parts.values())

    def verdict(self) -> str:
        """One line: the profiles that the run fits on, each with that memory."""
        fit = {name: gib for name, gib in free_gib().items() if self.total <= gib * GIB}
        names = [f"{name} ({gib} GiB)" for name, gib in fit.items()]
        where = "Fits" if self.gpus == 1 else f"Fits on {self.gpus} GPUs, each with"
        known = ", ".join(names) or "none"
        return f"{where} the free memory that profiles ask for: {known}"

    def __repr__(self) -> str:
        rows = [f"{part:12}{text:>14}" for part, text in self._rows()]
        return "\n".join([self.title, self.assumptions, *rows, self.verdict()])

    def _repr_html_(self) -> str:
        table = pd.DataFrame(self._rows()).to_html(header=False, index=False, border=0)
        lines = [f"<b>{escape(self.title)}</b>", escape(self.assumptions)]
        lines += [table, f"<b>{self.verdict()}</b>"]
        return "".join(f"<div>{line}</div>" for line in lines)

    def _rows(self) -> list[tuple[str, str]]:
        """(part, size as text), the total last; all in the unit of the total."""
        sizes = (self.parts | {"total": self.total}).items()
        return [(part, size(count, of=self.total)) for part, count in sizes]


def free_gib() -> dict[str, float]:
    """{profile: GiB that it asks a GPU to have free}, without those of CPUs."""
    needs = {name: entry["needs"] for name, entry in read_profiles().items()}
    return {name: need["free_gib"] for name, need in needs.items() if need}


def size(count: int, of: int | None = None) -> str:
    """Bytes as text: in GiB, small ones in MiB. of: a sum, in whose unit to say it."""
    if (count if of is None else of) >= GIB / 10:
        return f"{count / GIB:,.2f} GiB" if count >= 0.005 * GIB else "under 0.01 GiB"
    return f"{count / MIB:,.2f} MiB"


def largest_batch(
    config, method: str, length: int, gib: float, **choices
) -> tuple[int, str]:
    """(rows of the largest micro-batch that fits a GPU of so many GiB, in one line).

    0 rows where not even one fits. choices: as for `predict`. Beside the total, CUDA
    takes CONTEXT. Raises UserError.
    """
    if not gib > 0:
        raise UserError(f"the memory of a GPU must be above 0 GiB, got {gib}")

    def needs(rows: int) -> float:
        total = predict(config, method, rows, length, **choices).total
        return (total + CONTEXT) / GIB

    rows = bisect_right(range(1, MOST_ROWS + 1), gib, key=needs)
    cuda = f"{CONTEXT / GIB:.1f} GiB of them for CUDA itself"
    more = f"{needs(rows + 1):.2f} GiB, {cuda}"
    if not rows:
        ways = [] if method == "qlora" else ["--method qlora"]
        ways += [] if choices.get("checkpointing") else ["--checkpointing"]
        way = f"try {', '.join([*ways, 'fewer tokens'])}"
        return 0, f"{gib:g} GiB: not even one row fits, which takes {more}: {way}"
    fit = f"{gib:g} GiB: {rows:,} rows fit ({needs(rows):.2f} GiB)"
    if rows == MOST_ROWS:
        return rows, f"{fit}, more were not tried"
    return rows, f"{fit}, {rows + 1:,} rows take {more}"


def predict(
    config,
    method: str,
    batch: int,
    length: int,
    rank: int = 16,
    dtype: str = "bfloat16",
    double_quant: bool = True,
    checkpointing: bool = False,
    padded: bool = False,
    chunked_loss: bool = True,
    gpus: int = 1,
    strategy: str = "ddp",
) -> Prediction:
    """The memory of one training step on a batch of so many rows of so many tokens.

    config: a transformers configuration, a folder or file with one, or a name of
        `models.CONFIGS`.
    method: "full", "lora" (all linear layers but the head), or "qlora" (NF4).
    dtype: of the base and of what layers compute: "float32", "float16", "bfloat16".
    double_quant, checkpointing: as `bnb_4bit_use_double_quant` and
        `activation_checkpointing`.
    padded: whether rows hold padding, or are packed, so that attention takes a mask.
    chunked_loss: TRL's loss, which never holds all logits.
    gpus, strategy: how many GPUs take such a batch each, and what they share, as in
        `sharding`. Not yet measured on GPUs.
    Raises UserError, one line.
    """
    check_choice("method", method, METHODS)
    check_choice("dtype", dtype, WIDTHS)
    check_choice("strategy", strategy, STRATEGIES)
    counts = {"batch": batch, "length": length, "rank": rank, "gpus": gpus}
    for what, value in counts.items():
        if value < 1:
            raise UserError(f"{what} must be 1 or more, got {value}")

    from helpers.memory.parts import Run, parts  # torch, for what is left to check
    from helpers.memory.shape import check_parts, read_config, shape_of
    from helpers.memory.sharding import in_float32, per_gpu

    name, config = read_config(config)
    check_parts(name, config, method)
    longest = config.max_position_embeddings
    if length > longest:
        raise UserError(f"{name} reads {longest} tokens at most, got length {length}")
    shape = shape_of(config.to_json_string(use_diff=False))
    sizes = (shape, method, batch, length, rank, WIDTHS[dtype])
    casts = gpus == 1 or strategy == "ddp"
    run = Run(*sizes, double_quant, checkpointing, padded, casts)
    title = f"{name}, {method}, {batch} x {length} tokens"
    notes = assumptions(run, dtype) + [f"{'chunked' if chunked_loss else 'plain'} loss"]
    found = parts(run, chunked_loss)
    if gpus > 1:
        title += f" on each of {gpus} GPUs, {strategy}"
        notes += ["a copy in float32"] if in_float32(run, strategy) else []
        notes += ["predicted, not measured"]
        found = per_gpu(run, found, gpus, strategy)
    return Prediction(title, ", ".join(notes), found, gpus)


def assumptions(run, dtype: str) -> list[str]:
    """What a `parts.Run` takes for granted, in words."""
    nested = " with double quantisation" if run.double_quant else ""
    base = f"NF4{nested}, the rest {dtype}" if run.method == "qlora" else dtype
    adapter = f"rank {run.rank} on all linear layers in float32"
    adapter += f", experts frozen in {dtype}" if run.shape.experts else ""
    return [
        f"base in {base}",
        "all weights trained" if run.method == "full" else adapter,
        "AdamW",
        f"{'with' if run.checkpointing else 'no'} activation checkpointing",
        f"rows {'padded' if run.padded else 'of full length'}",
    ]


def check_choice(what: str, value, known) -> None:
    """Raises UserError unless the value is one of those known."""
    if value not in known:
        raise UserError(f"unknown {what} {value!r}: use one of {', '.join(known)}")
