"""By how many processes a run was launched, and whether that is what was asked for.

accelerate and SLURM can start fewer processes than one wants, or whole copies in place
of shards, without a word; a run that found out afterwards has cost its hours.
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from helpers.finetune.errors import RunError

# How torchrun, and mpirun of three kinds, tell a process how many there are.
SIZES = ("WORLD_SIZE", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "MV2_COMM_WORLD_SIZE")
# What a checkpoint holds of the optimizer; "optimizer.pt" if each has a whole copy.
SAVED = {"FSDP": "optimizer.bin", "DEEPSPEED": "global_step*/*optim_states.pt"}
CONFIG = "helpers/finetune/launch/ddp.yaml"
STORAGE = "helpers/finetune/launch/quant_storage.yaml"


def check_environment() -> None:
    """Raises RunError where several processes were asked for and each is alone."""
    if any(name in os.environ for name in SIZES):
        return
    # accelerate (1.15) sets both for several processes on a CPU, and starts this one.
    if {"ACCELERATE_USE_CPU", "MASTER_PORT"} <= os.environ.keys():
        what = "accelerate launch was asked for several processes and started one"
        raise RunError(
            f"{what}: leave out --cpu and MULTI_CPU, use --config_file {CONFIG}, "
            "or torchrun"
        )
    # In a shell of `srun --pty` it is the first task alone that runs what one types.
    tasks = int(os.environ.get("SLURM_STEP_NUM_TASKS", 1))
    if tasks > 1 and "SLURM_PTY_PORT" not in os.environ:
        what = f"srun started {tasks} tasks, each of which would be a run of its own"
        raise RunError(f"{what}: one task a node, which starts torchrun")


def check_trainer(trainer) -> None:
    """Raises RunError where processes share the work otherwise than was asked for."""
    check_environment()
    args, config, kind = trainer.args, trainer.model.config, distributed(trainer)
    asked = next((int(os.environ[name]) for name in SIZES if name in os.environ), 1)
    if args.world_size != asked:
        what = f"{asked} processes were launched and {args.world_size} train"
        raise RunError(f"{what}: start them with torchrun, or --config_file {CONFIG}")
    if os.environ.get("ACCELERATE_USE_FSDP") == "true" and not sharded(trainer):
        what = f"FSDP was asked for, and here it would be {kind}, whole copies"
        raise RunError(f"{what}: on a CPU, or one GPU, use --config_file {CONFIG}")
    if args.load_best_model_at_end and sharded(trainer):
        raise RunError(f"--patience cannot go back to a best adapter under {kind}")
    storage = getattr(config, "quantization_config", None)
    storage = getattr(storage, "bnb_4bit_quant_storage", None)
    if trainer.is_fsdp_enabled and storage and not storage.is_floating_point:
        what = "FSDP shares out no bytes, and would leave the 4-bit base whole"
        raise RunError(f"{what}: add --config {STORAGE}")


def check_saved(trainer, checkpoint: Path | None) -> None:
    """Raises RunError unless as many processes as saved it, joined alike, go on."""
    saved = [*checkpoint.glob("rng_state*.pth")] if checkpoint else []
    if checkpoint and len(saved) != (now := trainer.args.world_size):
        what = f"--resume requires the {len(saved)} processes of {checkpoint}"
        raise RunError(f"{what}, got {now}: each update would read other rows")
    kind = distributed(trainer)
    if checkpoint and not any(checkpoint.glob(SAVED.get(kind, "optimizer.pt"))):
        what = f"{kind} cannot read the optimizer in {checkpoint}"
        raise RunError(f"{what}: --resume requires the same --config_file")


@contextlib.contextmanager
def unsharded() -> Iterator[None]:
    """Keeps models whole meanwhile, where DeepSpeed's ZeRO-3 is to share them out.

    SFTConfig tells transformers of it: from_pretrained then refuses a device, or leaves
    empty shards, and generate waits for processes that do not generate.
    """
    import transformers.integrations.deepspeed as told

    known = told._hf_deepspeed_config_weak_ref
    told.unset_hf_deepspeed_config()
    try:
        yield
    finally:
        told._hf_deepspeed_config_weak_ref = known


def distributed(trainer) -> str:
    """accelerate's name for how processes share the work; "NO" for one alone."""
    return trainer.accelerator.distributed_type.value


def sharded(trainer) -> bool:
    """Whether no process holds the whole model, so that all must run it together."""
    return trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled
