"""A million rows: read, checked and tokenised, how fast and in what memory.

    python -m tests.benchmarks.million [--rows N] [--steps NAME ...] [--output DIR]

Writes two gigabytes of chats, tickets in rows of 2 KB, as JSON Lines and as Parquet to
a temporary folder. Each step then has a process of its own: load_splits, preflight,
the lengths that finetune reports before it trains, and the tokens that its trainer
makes. Writes million.MACHINE.json, row by row; one that is there is not measured again.

Memory is what a process holds itself: pages of mapped files, which the system takes
back as it likes, are left out. "start" is what it held before the first row.
"""

import json
import random
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

from helpers import run_command
from helpers.files import ROOT
from helpers.sweep.rows import Budget, Part, measure
from tests.benchmarks import flags

FORMS = ("jsonl", "parquet")
STEPS = ("read", "preflight", "lengths", "tokens")
ROW_BYTES = 1900


def write(folder: Path, count: int) -> None:
    """Writes the rows once in each form."""
    import pyarrow as pa
    from pyarrow import parquet

    from helpers.formatting import read_examples

    chats = [r["messages"] for r in read_examples(ROOT / "data/tickets/train.jsonl")]
    chance, schema = random.Random(0), None
    with (folder / "rows.jsonl").open("w", encoding="utf-8") as file:
        for first in range(0, count, 10_000):
            rows = []
            for number in range(first, min(count, first + 10_000)):
                text = f"Message {number}."
                while len(text) < ROW_BYTES:
                    question, answer = (m["content"] for m in chance.choice(chats))
                    text = f"{text}\n\n{question}"
                turns = [{"role": "user", "content": text}]
                turns.append({"role": "assistant", "content": answer})
                rows.append({"messages": turns})
            file.writelines(json.dumps(row) + "\n" for row in rows)
            table = pa.Table.from_pylist(rows)
            if schema is None:
                schema = table.schema
                writer = parquet.ParquetWriter(folder / "rows.parquet", schema)
            writer.write_table(table)
    writer.close()


class Memory(threading.Thread):
    """The most that this process has held, in bytes, from here on."""

    def __init__(self):
        super().__init__(daemon=True)
        self.start_bytes = self.peak = self.now()
        self.start()

    @staticmethod
    def now() -> int:
        """Bytes of this process's own, without those of files."""
        lines = Path("/proc/self/status").read_text().splitlines()
        [found] = [li for li in lines if li.startswith("RssAnon:")]
        return int(found.split()[1]) * 1024

    def run(self):
        while True:
            self.peak = max(self.peak, self.now())
            time.sleep(0.1)


def step(folder: Path, row: dict) -> dict:
    """What one step takes, in this process."""
    from helpers.config import load_profile
    from helpers.formatting import count_lengths, load_splits
    from helpers.models import load_model, load_tokenizer, quiet
    from helpers.preflight import check

    quiet()
    profile, path = load_profile("tiny"), folder / f"rows.{row['form']}"
    tokenizer, splits = load_tokenizer(profile), None
    if row["step"] != "read":
        splits = load_splits(path)
    if row["step"] == "tokens":
        from peft import LoraConfig
        from trl import SFTConfig, SFTTrainer

        model = load_model(profile)
        config = profile.training_config | {"output_dir": str(folder / "out")}
        config |= {"max_length": 1024, "report_to": "none", "eval_strategy": "no"}
        lora = LoraConfig(**profile.peft_config)
    memory, start = Memory(), time.perf_counter()
    cpu = time.process_time()
    if row["step"] == "read":
        done = sum(map(len, load_splits(path).values()))
    elif row["step"] == "preflight":
        from trl import SFTConfig

        given = {"tokenizer": tokenizer, "profile": profile}
        given["arguments"] = SFTConfig(**profile.training_config)
        print(check(splits=splits, **given))
        done = sum(map(len, splits.values()))
    elif row["step"] == "lengths":
        done = len(count_lengths(tokenizer, splits["train"], 1024).tokens)
    else:
        parts = {"processing_class": tokenizer, "peft_config": lora}
        parts |= {"args": SFTConfig(**config), "train_dataset": splits["train"]}
        trainer = SFTTrainer(model=model, **parts)
        done = len(trainer.train_dataset)
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    return {
        "mib": round(path.stat().st_size / 2**20),
        "rows": done,
        "seconds": round(seconds, 1),
        "cpu_seconds": round(cpu, 1),
        "rows_per_cpu_second": round(done / cpu),
        "start_mib": round(memory.start_bytes / 2**20),
        "peak_mib": round(memory.peak / 2**20),
    }


def each(folder: Path, rows: list[dict]) -> Iterator[dict]:
    """Yields what the steps take."""
    for row in rows:
        with ProcessPoolExecutor(1, get_context("spawn")) as alone:
            yield alone.submit(step, folder, row).result()


def main(argv: list[str] | None = None) -> int:
    """Measures what is missing; 1 where rows are left."""
    parser = flags.parser(__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--steps", nargs="+", choices=STEPS, default=STEPS)
    parser.add_argument("--work", type=Path, help="keeps the files there")
    options = parser.parse_args(argv)
    work = options.work or Path(tempfile.mkdtemp())
    work.mkdir(exist_ok=True)
    wanted = [{"step": s, "form": FORMS[0]} for s in options.steps]
    wanted += [{"step": s, "form": FORMS[1]} for s in options.steps if s == STEPS[0]]
    rows = [row | {"written": options.rows} for row in wanted]
    try:
        kept = work / f"{options.rows}.written"  # whole, and of so many rows
        if not kept.exists():
            for other in work.glob("*.written"):  # what is begun here ends them
                other.unlink()
            write(work, options.rows)
            kept.touch()
        part = Part("million", rows, partial(each, work), seconds=60)
        return 1 if measure([part], options.output, Budget(600)) else 0
    finally:
        if not options.work:
            shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(run_command("million", main))
