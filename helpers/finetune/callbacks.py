"""What a training run needs beside the Trainer's own callbacks."""

import signal
import sys
import threading
import time
from math import ceil
from pathlib import Path

import torch
from tqdm import tqdm
from transformers import TrainerCallback
from transformers.trainer_callback import ExportableState

from helpers.config import probe_device
from helpers.evaluation import evaluate
from helpers.finetune.errors import Stopped
from helpers.finetune.launched import sharded
from helpers.finetune.machine import peak_memory, versions
from helpers.finetune.metrics import check_finite, in_mixed_precision, longest_answer
from helpers.finetune.rows import say

WATCHED = 20  # validation rows that are answered at each evaluation: seconds


class Clock(TrainerCallback, ExportableState):
    """What all sessions of a run took, by how many processes, and on what.

    seconds and peaks (MiB, of `peak_memory`) are of training, evaluations in between
    included; sessions: the device and versions of each that had others than the one
    before. They travel in the checkpoints: `trainer.state.stateful_callbacks["Clock"]`.
    """

    def __init__(self, processes: int = 1, distributed: str = "NO") -> None:
        self.shared = {"processes": processes, "distributed": distributed}
        self.seconds, self.peaks, self.sessions = 0.0, {}, []
        self.since = time.perf_counter()

    def on_train_begin(self, args, state, control, **kwargs) -> None:
        self.since = time.perf_counter() - self.seconds
        if torch.cuda.is_available():  # generation before it filled the card
            torch.cuda.reset_peak_memory_stats()
        here = {"device": probe_device().name, "versions": versions()}
        if here not in self.sessions[-1:]:
            if self.sessions:
                say("goes on with another device or other versions than it began with")
            self.sessions = [*self.sessions, here]

    def state(self) -> dict:
        now = peak_memory()
        found = {"seconds": time.perf_counter() - self.since, "sessions": self.sessions}
        found["peaks"] = {n: max(now[n], self.peaks.get(n, 0.0)) for n in now}
        return {"args": self.shared, "attributes": found}


class Watch(TrainerCallback):
    """At each evaluation, scores the answers to a few validation rows, by field.

    Says them on stderr, epochs beside updates, and leaves them in the log history.
    rows: the validation split; scorer: as in `evaluation.score`.
    """

    def __init__(self, trainer, rows, scorer=None) -> None:
        self.trainer, self.scorer = trainer, scorer
        self.rows = rows.select(range(min(WATCHED, len(rows))))
        self.longest = longest_answer(trainer.processing_class, self.rows)

    def on_train_begin(self, args, state, control, **kwargs) -> None:
        rows, updates = len(self.trainer.train_dataset), state.max_steps
        each = args.per_device_train_batch_size * args.world_size
        each *= args.gradient_accumulation_steps
        kind = "packed rows" if args.packing else "rows"
        epochs = f"{updates / ceil(rows / each):.3g} epochs of {rows:,} {kind}"
        each = min(each, rows)
        self._say(state, f"{updates:,} updates of {each} {kind} are {epochs}")

    def on_evaluate(self, args, state, control, metrics=None, **kwargs) -> None:
        check_finite((metrics or {}).get("eval_loss", 0.0), self.trainer.model)
        if not (state.is_world_process_zero or sharded(self.trainer)):
            return
        parts = (self.trainer.model, self.trainer.processing_class, self.rows)
        with in_mixed_precision(self.trainer):
            report = evaluate(*parts, self.longest, scorer=self.scorer)
        if not state.is_world_process_zero:
            return
        found = {"exact_match": report.exact_match, **report.field_accuracy}
        state.log_history[-1]["scores"] = found
        shares = ", ".join(f"{n.replace('_', ' ')} {s:.0%}" for n, s in found.items())
        loss = f"validation loss {(metrics or {}).get('eval_loss', float('nan')):.4f}"
        where = f"update {state.global_step:,} of {state.max_steps:,}"
        line = f"{where}, epoch {state.epoch:.3g}: {loss}; of {report.n} rows {shares}"
        self._say(state, line)

    def _say(self, state, line: str) -> None:
        if state.is_world_process_zero:
            tqdm.write(f"finetune: {line}", file=sys.stderr)


class StopOnSignal(TrainerCallback):
    """On SIGTERM or Ctrl-C, saves after the update that is under way and stops there.

    A context manager: outside of training a signal raises Stopped at once. received:
    the number of the signal, None before one came.
    """

    def __init__(self, output: Path) -> None:
        self.output, self.received, self.training = output, None, False
        self.before = {}

    def __enter__(self) -> "StopOnSignal":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self.before[number] = signal.signal(number, self._receive)
        return self

    def __exit__(self, *error) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)

    def on_train_begin(self, args, state, control, **kwargs) -> None:
        self.training = True

    def on_train_end(self, args, state, control, **kwargs) -> None:
        self.training = False

    def on_step_end(self, args, state, control, **kwargs) -> None:
        if self._seen_by_any(args):
            control.should_save = control.should_training_stop = True

    def on_epoch_end(self, args, state, control, **kwargs) -> None:
        # The trainer says so wherever it stops: what waits for an epoch's end waits on.
        if self.received and state.epoch % 1 and state.global_step < state.max_steps:
            control.should_evaluate = control.should_save = False

    def _receive(self, number: int, frame) -> None:
        if self.received is not None:  # asked twice: at once, and unsaved
            raise KeyboardInterrupt
        self.received = number
        if not self.training:
            raise Stopped(number, self.output)

    def _seen_by_any(self, args) -> bool:
        """Whether a process of the run got the signal: all must stop at one step."""
        if args.world_size == 1:
            return self.received is not None
        number = torch.tensor(self.received or 0, device=args.device)
        torch.distributed.all_reduce(number, torch.distributed.ReduceOp.MAX)
        self.received = int(number) or None
        return self.received is not None
