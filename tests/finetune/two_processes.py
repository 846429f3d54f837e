"""helpers.finetune on two processes, started as a launcher starts them, but warm.

Usage: python -m tests.finetune.two_processes torchrun|FILE.yaml [--sharded] [LAUNCHER'S
FLAGS -- ] ARGUMENTS... of helpers.finetune; or LAUNCHER'S_MODULE ALL_ITS_ARGUMENTS...,
as lesson 11 starts it (tests/warm_lesson.py). All that `torchrun --nproc_per_node 2` or
`accelerate launch --config_file FILE.yaml` does happens, its parser and its agent; only
the two processes are forks of this one (tests/warm.py) in the place of two that each
begin with the imports. --sharded: accelerate takes the CPU for GPUs, and so FSDP runs.
"""

import os
import runpy
import sys

import torch
from accelerate.commands import launch
from accelerate.state import PartialState
from accelerate.utils import DistributedType
from torch.distributed import run
from torch.distributed.launcher.api import elastic_launch

MODULE = "helpers.finetune"


def forking(config, entrypoint):
    """What the launchers call with `python` to start their processes."""
    assert entrypoint == sys.executable
    config.start_method = "fork"
    return elastic_launch(config, _become)


def _become(*command: str) -> None:
    """Is `python COMMAND...`, which the launcher would have started."""
    assert command[:3] == ("-u", "-m", MODULE), command
    sys.argv[1:] = command[3:]
    try:
        runpy.run_module(MODULE, run_name="__main__", alter_sys=True)
    except SystemExit as end:
        if end.code:
            raise


def _as_gpus(self, *ignored, **also) -> tuple:
    """The backend of CPUs under the name of several GPUs."""
    if not torch.distributed.is_initialized():
        torch.distributed.init_process_group("gloo")
    return "gloo", DistributedType.MULTI_GPU


def main(launcher: str, *arguments: str) -> None:
    """Starts two processes by the launcher, and waits for them."""
    run.elastic_launch = forking
    if launcher in (run.__name__, launch.__name__):
        sys.argv[1:] = arguments
        sys.modules[launcher].main()
        return
    if arguments[0] == "--sharded":
        PartialState._prepare_backend = _as_gpus
        os.environ["ACCELERATE_TORCH_DEVICE"] = "cpu"
        arguments = arguments[1:]
    flags, call = (), arguments
    if "--" in arguments:
        place = arguments.index("--")
        flags, call = arguments[:place], arguments[place + 1 :]
    if launcher == "torchrun":
        run.main(["--standalone", "--nproc_per_node", "2", *flags, "-m", MODULE, *call])
        return
    config = ["--config_file", launcher, "--num_processes", "2"]
    sys.argv = ["accelerate-launch", *config, *flags, "-m", MODULE, *call]
    launch.main()


if __name__ == "__main__":
    main(*sys.argv[1:])
