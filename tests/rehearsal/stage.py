"""The stage of a rehearsal: a small base as the large one, a GPU that only lessons see.

What is real: the profile's settings and dtype, every line of the lessons and of
`helpers`. What is not: the card (`DEVICES`), the weights (`models`), and the hours of
training: each run takes `STEPS` updates, from where a shipped adapter stands.
"""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from functools import wraps
from pathlib import Path

import torch
import transformers
from torch.overrides import TorchFunctionMode

from helpers import HEADLESS, config, environment, serving
from helpers.config import GIB, Device
from helpers.files import ROOT
from helpers.serving import transformers_serve
from tests.rehearsal.copies import Copies

MIB = 2**20
CHECKPOINTS = ROOT / "data" / "checkpoints"
DEVICES = {
    "gpu-16gb": Device("cuda", "Tesla T4", (7, 5), 14.7, 14.6),
    "gpu-24gb": Device("cuda", "NVIDIA L4", (8, 9), 22.2, 22.0),
    "gpu-80gb": Device("cuda", "NVIDIA A100-SXM4-80GB", (8, 0), 79.3, 79.0),
}
# What a small model may take of the card, so that lesson 04 finds no room for LoRA,
# room with checkpointing, and room enough.
ROOM = {"gpu-16gb": 20 * MIB, "gpu-24gb": 107 * MIB, "gpu-80gb": 79 * GIB}
PRODUCTS = {torch.nn.functional.linear, torch.matmul, torch.mm, torch.Tensor.mm}
PRODUCTS |= {torch.Tensor.matmul, torch.Tensor.__matmul__}
STEPS, EVERY = 2, 1  # updates a run, and until it is evaluated and saved
SHORT = 4  # updates of a run that is short enough as it is
SCORED = 4  # rows that `helpers.finetune` scores
# Rows that a trainer gets, but in the lesson that is about them.
ROWS = {"train_dataset": 64, "eval_dataset": 16}
ABOUT_DATA = "02_prepare_chat_data"
HALF = 20  # updates at most of a run that is to be a weaker one


class OnCPU(TorchFunctionMode):
    """Makes tensors that are asked for on "cuda" on the CPU.

    Products of float16 are computed in float32 and rounded: a CPU takes ten times as
    long for them in float16.
    """

    def __torch_function__(self, func, types, args=(), kwargs=None):
        args = tuple(map(without_card, args))
        kwargs = {name: without_card(value) for name, value in (kwargs or {}).items()}
        if func in PRODUCTS and args[0].dtype == torch.float16:
            out = kwargs.pop("out", None)
            product = func(*(arg if arg is None else arg.float() for arg in args))
            return product.half() if out is None else out.copy_(product)
        return func(*args, **kwargs)


def without_card(value):
    """The value, with the CPU where it is or holds a CUDA device."""
    if isinstance(value, dict):
        return {name: without_card(each) for name, each in value.items()}
    if isinstance(value, (str, torch.device)) and str(value).startswith("cuda"):
        return "cpu"
    return value


def set_up(profile: str, work: Path) -> Copies:
    """Prepares this process for lessons on a profile; the watch over its copies.

    work: an empty folder, where lessons find the course, and leave what they write.
    """
    for name in ("data", "helpers", "notebooks", "README.md"):
        (work / name).symlink_to(ROOT / name)
    os.environ[HEADLESS] = "rehearsal"
    from helpers.finetune import rows, starting_point

    starting_point.TRAINED = work / "build" / "adapters"
    choose = rows.choose_rows
    few = {"validation_rows": SCORED, "test_rows": SCORED}
    rows.choose_rows = lambda all_, settings: choose(all_, replace(settings, **few))
    copies = Copies()
    shorten_training(copies, profile)
    if profile in DEVICES:
        fake_device(DEVICES[profile], ROOM[profile])
        small_bases(work / "models")
        watch_loading(copies)
        watch_processes(copies)
    return copies


def fake_device(device: Device, room: int) -> None:
    """Lets profiles be made for that device, and lessons believe that it is there.

    room: the bytes that they find free.
    """
    config.probe_device = environment.probe_device = lambda: device
    cuda, available = torch.cuda, torch.cuda.is_available

    def is_available() -> bool:
        return in_a_lesson(sys._getframe(1)) or available()

    cuda.is_available = is_available
    cuda.synchronize = cuda.reset_peak_memory_stats = lambda *_: None
    cuda.mem_get_info = lambda *_: (room, int(device.total_gib * GIB))
    OnCPU().__enter__()


def in_a_lesson(frame) -> bool:
    """Whether a frame runs the code of a cell."""
    return frame.f_code.co_filename.startswith("<ipython-input")


def small_bases(folder: Path) -> None:
    """Puts small models in the places of those that the GPU profiles name."""
    from tests.rehearsal import models

    entries = config.read_profiles()
    gpus = [entry for entry in entries.values() if entry["needs"]]
    for entry in gpus:
        for key in ("model", "qlora_model", "open_model"):
            entry[key] = str(models.stand_in(entry[key], folder))
    config.read_profiles = lambda *_: entries


def watch_loading(copies: Copies) -> None:
    """Tells `copies` of each model that comes from a folder, and keeps it on the CPU.

    The checkpoints that ship with the course are no copies of a profile's base.
    """
    original = transformers.PreTrainedModel.from_pretrained.__func__

    @wraps(original)
    def from_pretrained(cls, name, *args, **options):
        counts = not Path(name).resolve().is_relative_to(CHECKPOINTS)
        form = "4-bit" if options.get("quantization_config") else "whole"
        if counts:
            copies.coming(Path(name).name, form)
        if options.get("device_map"):
            options["device_map"] = {"": "cpu"}
        found = original(cls, name, *args, **options)
        if counts:
            model = found[0] if isinstance(found, tuple) else found
            copies.came(Path(name).name, form, model)
        return found

    transformers.PreTrainedModel.from_pretrained = classmethod(from_pretrained)


def watch_processes(copies: Copies) -> None:
    """Tells `copies` of each process that loads a model: a server, or a script."""
    run, command = subprocess.run, transformers_serve.command

    @wraps(run)
    def run_on_cpu(command, *args, **options):
        if sys.executable in command:
            copies.coming("another process", "whole")
            command = [without_card(part) for part in command]
        return run(command, *args, **options)

    @wraps(command)
    def serve_on_cpu(folder, port, device):
        copies.coming("the server", "whole")
        return command(folder, port, "cpu")

    subprocess.run, transformers_serve.command = run_on_cpu, serve_on_cpu
    serving.vllm_command = lambda: None  # it serves on a real card only
    serving.llamacpp_python = lambda: None


def shorten_training(copies: Copies, profile: str) -> None:
    """Makes each training run short, and begin where a long one would end."""
    from trl import SFTTrainer

    post_init = transformers.TrainingArguments.__post_init__
    init, train = SFTTrainer.__init__, SFTTrainer.train

    @wraps(post_init)
    def few_steps(self) -> None:
        self.asked_steps = self.max_steps if self.max_steps > 0 else sys.maxsize
        if self.asked_steps > SHORT:
            self.max_steps = STEPS
            self.eval_steps = self.save_steps = EVERY
        self.logging_steps, self.learning_rate = 1, min(self.learning_rate, 2e-4)
        self.use_cpu, self.dataloader_pin_memory, self.fp16 = True, False, False
        post_init(self)

    @wraps(init)
    def few_rows(self, *args, **options) -> None:
        for name, most in ROWS.items() if copies.lesson != ABOUT_DATA else ():
            if (rows := options.get(name)) and hasattr(rows, "select"):
                options[name] = rows.select(range(min(most, len(rows))))
        init(self, *args, **options)

    @wraps(train)
    def with_head_start(self, *args, **options):
        narrow = {str(w.dtype) for w in self.model.parameters() if w.requires_grad} - {
            "torch.float32"
        }
        if narrow and profile in DEVICES:
            copies.faults.append(f"{copies.cell}: trains weights in {min(narrow)}")
        if not options.get("resume_from_checkpoint"):
            head_start(self)
        return train(self, *args, **options)

    transformers.TrainingArguments.__post_init__ = few_steps
    SFTTrainer.__init__, SFTTrainer.train = few_rows, with_head_start


def head_start(trainer) -> None:
    """Puts the weights of the shipped adapter in that learnt what is trained here.

    Only into an adapter that is still zero, of the same shapes, has a rate, and learns
    from no stream.
    """
    from peft import set_peft_model_state_dict
    from safetensors.torch import load_file

    weights = {n: w for n, w in trainer.model.named_parameters() if w.requires_grad}
    started = any(w.any() for n, w in weights.items() if "lora_B" in n)
    stream = not hasattr(trainer.train_dataset, "select")
    if started or stream or not trainer.args.learning_rate:
        return
    state = load_file(CHECKPOINTS / learnt(trainer) / "adapter_model.safetensors")
    fitting = {n.replace(".default.", "."): w.shape for n, w in weights.items()}
    if fitting == {name: w.shape for name, w in state.items()}:
        set_peft_model_state_dict(trainer.model, state)


def learnt(trainer) -> str:
    """The shipped adapter that was trained on such data, for about as long."""
    row = trainer.train_dataset[0]
    answer = row["completion"][-1]["content"]
    if not answer.startswith("{"):
        return "items-lora"
    lines = (ROOT / "data/tickets/train.jsonl").read_text("utf-8").splitlines()
    pair = [*row["prompt"], *row["completion"]]
    right = any(json.loads(line)["messages"] == pair for line in lines)
    whole = right and trainer.args.asked_steps > HALF
    return "tickets-lora" if whole else "tickets-lora-half"


def tear_down(work: Path) -> None:
    """Removes what a lesson wrote, but for the adapters, which later ones use."""
    shutil.rmtree(work / "build" / "runs", ignore_errors=True)
