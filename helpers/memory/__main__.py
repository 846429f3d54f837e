"""The predicted memory of a training run, printed.

python -m helpers.memory --model Llama-3.1-8B --method qlora --batch 4 --length 2048
python -m helpers.memory --model Llama-3.1-8B --length 512 --gib 14.6
python -m helpers.memory --model Llama-3.1-70B --gpus 4 --strategy fsdp --checkpointing
"""

import sys

from helpers import Parser, UserError, run_command
from helpers.memory.prediction import largest_batch, predict


def main(argv: list[str] | None = None) -> None:
    """Prints the table of a run. Raises UserError for a wrong request."""
    parser = Parser("python -m helpers.memory", description=__doc__)
    add = parser.add_argument
    add("--model", required=True, help="Phi-3-mini, Llama-3.1-8B, a folder or a file")
    add("--method", default="qlora", help="full, lora or qlora (qlora)")
    add("--batch", type=int, help="rows of a micro-batch (4; with --gib the largest)")
    add("--length", type=int, default=2048, help="tokens a row (2048)")
    add("--gib", type=float, help="memory of a GPU: names the largest batch that fits")
    add("--rank", type=int, default=16, help="of the adapter (16)")
    add("--dtype", default="bfloat16", help="float32, float16 or bfloat16 (bfloat16)")
    add("--no-double-quant", dest="double_quant", action="store_false")
    add("--checkpointing", action="store_true", help="activation checkpointing")
    add("--padded", action="store_true", help="rows hold padding, or are packed")
    add("--plain-loss", dest="chunked_loss", action="store_false")
    add("--gpus", type=int, default=1, help="how many train together (1)")
    add("--strategy", default="ddp", help="of several: ddp, zero2, zero3, fsdp (ddp)")
    choices = vars(parser.parse_args(argv))
    model, gib, batch = (choices.pop(name) for name in ("model", "gib", "batch"))
    if choices["gpus"] == 1 and choices["strategy"] != "ddp":
        strategy = choices["strategy"]
        raise UserError(f"--strategy {strategy} shares among GPUs: give --gpus, too")
    rows, line = 4, ""
    if gib is not None:
        rows, line = largest_batch(model, gib=gib, **choices)
    print(predict(model, batch=(rows or 1) if batch is None else batch, **choices))
    if line:
        print(line)


if __name__ == "__main__":
    sys.exit(run_command("memory", main))
