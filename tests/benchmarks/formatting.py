"""Measure how fast a large file is read, converted and checked, and in what memory.

    python -m tests.benchmarks.formatting [EXAMPLES]

Writes the training tickets, numbered and repeated, in four forms to a temporary folder,
100,000 examples by default. Prints, for each form, examples a second, and the peak of
Python's memory over the start, from a second pass: tracing allocations costs time.
"""

import csv
import json
import sys
import tempfile
import time
import tracemalloc
from pathlib import Path

from helpers.files import ROOT
from helpers.formatting import check_file, read_examples

TICKETS = ROOT / "data" / "tickets" / "train.jsonl"
FORMS = {
    "messages.jsonl": lambda q, a: {
        "messages": [
            {"role": "user", "content": q},
            {"role": "assistant", "content": a},
        ]
    },
    "share_gpt.jsonl": lambda q, a: {
        "conversations": [{"from": "human", "value": q}, {"from": "gpt", "value": a}]
    },
    "alpaca.jsonl": lambda q, a: {"instruction": "Sort.", "input": q, "output": a},
    "pairs.csv": lambda q, a: {"prompt": q, "completion": a},
}


def write_file(path, count):
    """Write that many examples in the form of the file's name."""
    chats = [example["messages"] for example in read_examples(TICKETS)]
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        if path.suffix == ".csv":
            table.writerow(["prompt", "completion"])
        for number in range(count):
            question, answer = (m["content"] for m in chats[number % len(chats)])
            record = FORMS[path.name](f"{question} ({number})", answer)
            if path.suffix == ".csv":
                table.writerow(record.values())
            else:
                file.write(json.dumps(record) + "\n")


def main(count):
    with tempfile.TemporaryDirectory() as folder:
        for name in FORMS:
            path = Path(folder) / name
            write_file(path, count)
            start = time.perf_counter()
            report = check_file(path, progress=True)
            seconds = time.perf_counter() - start
            assert (report.read, report.refused) == (count, 0), report
            tracemalloc.start()
            check_file(path)
            peak = tracemalloc.get_traced_memory()[1] / 2**20
            tracemalloc.stop()
            size = path.stat().st_size / 2**20
            print(
                f"{name:16} {size:6.1f} MiB  {seconds:5.2f} s "
                f"{count / seconds:9,.0f} examples/s  peak {peak:.2f} MiB"
            )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000)
