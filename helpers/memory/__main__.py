"""`python -m helpers.memory`: the prediction of a run, printed."""

import argparse
import sys

from helpers.memory.prediction import predict


def main(argv=None):
    """Print the table of a run; exit code 2 and one line for a wrong request."""
    parser = argparse.ArgumentParser("python -m helpers.memory", description=__doc__)
    add = parser.add_argument
    add("--model", required=True, help="Phi-3-mini, Llama-3.1-8B, a folder or a file")
    add("--method", default="qlora", help="full, lora or qlora (qlora)")
    add("--batch", type=int, default=4, help="rows of a micro-batch (4)")
    add("--length", type=int, default=2048, help="tokens a row (2048)")
    add("--rank", type=int, default=16, help="of the adapter (16)")
    add("--dtype", default="bfloat16", help="float32, float16 or bfloat16 (bfloat16)")
    add("--no-double-quant", dest="double_quant", action="store_false")
    add("--checkpointing", action="store_true", help="activation checkpointing")
    add("--padded", action="store_true", help="rows hold padding, or are packed")
    add("--plain-loss", dest="chunked_loss", action="store_false")
    choices = vars(parser.parse_args(argv))
    try:
        print(predict(choices.pop("model"), **choices))
    except ValueError as error:
        parser.exit(2, f"memory: {error}\n")


if __name__ == "__main__":
    sys.exit(main())
