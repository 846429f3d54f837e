"""helpers.finetune by a launcher: its files, its number of processes, two of them."""

import os
import shutil
import signal
import subprocess
import time
from types import SimpleNamespace

import psutil
import pytest
import torch
import yaml
from accelerate.commands import launch
from accelerate.commands.config.config_args import load_config_from_file
from accelerate.utils import (
    DeepSpeedPlugin,
    FullyShardedDataParallelPlugin,
    patch_environment,
)
from accelerate.utils.launch import prepare_multi_gpu_env
from transformers.integrations import deepspeed

from helpers import models, preflight
from helpers.files import ROOT
from helpers.finetune import RunError, Settings, recipe
from helpers.finetune.launched import check_environment, check_saved, check_trainer
from helpers.finetune.settings import complete, read_overrides
from helpers.formatting import load_splits
from tests.finetune import small_run
from tests.finetune.small_run import finetune
from tests.warm import Program

FILES = {path.stem: path for path in (ROOT / "helpers/finetune/launch").glob("*.yaml")}
STORAGE = FILES.pop("quant_storage")
KINDS = {"ddp": "MULTI_GPU", "fsdp2": "FSDP", "fsdp_qlora": "FSDP"}
KINDS |= {"zero2": "DEEPSPEED", "zero3": "DEEPSPEED"}
STEPS = {"max_steps": 4, "save_steps": 2, "eval_strategy": "no", "logging_steps": 1}


def launched(path):
    """What `accelerate launch --config_file PATH` reads; unknown keys are an error."""
    parser = launch.launch_command_parser()
    call = ["--config_file", str(path), "-m", "helpers.finetune"]
    args, config = parser.parse_args(call), load_config_from_file(str(path))
    parts = {"deepspeed": config.deepspeed_config, "fsdp": config.fsdp_config}
    unknown = {key for part in parts.values() for key in part or () if key not in args}
    assert not unknown, unknown
    return launch._validate_launch_command(args)[0]


@pytest.mark.parametrize("name", KINDS)
def test_accelerate_reads_the_file(name):
    assert FILES.keys() == KINDS.keys()
    config = load_config_from_file(str(FILES[name]))
    assert config.distributed_type == KINDS[name] and config.num_processes > 1
    args = launched(FILES[name])
    chosen = {"MULTI_GPU": args.multi_gpu, "FSDP": args.use_fsdp}
    chosen["DEEPSPEED"] = args.use_deepspeed
    assert [kind for kind, so in chosen.items() if so] == [KINDS[name]]
    assert not args.use_cpu, "accelerate would start one process"


@pytest.mark.parametrize("wrong", ["fsdp_verison: 2", "zero_stagge: 3"])
def test_a_mistyped_key_is_seen(tmp_path, wrong):
    name = "fsdp2" if wrong.startswith("fsdp") else "zero3"
    right = {"fsdp2": "fsdp_version: 2", "zero3": "zero_stage: 3"}[name]
    text = FILES[name].read_text("utf-8").replace(right, wrong)
    path = small_run.written(tmp_path / "wrong.yaml", text)
    with pytest.raises(AssertionError, match=wrong.partition(":")[0]):
        launched(path)


@pytest.mark.parametrize("name", ["fsdp2", "fsdp_qlora"])
def test_what_fsdp_is_told(name):
    with patch_environment(**prepare_multi_gpu_env(launched(FILES[name]))):
        plugin = FullyShardedDataParallelPlugin()
    assert plugin.fsdp_version == 2 and plugin.reshard_after_forward is True
    assert plugin.state_dict_type.name == "FULL_STATE_DICT"
    assert not plugin.cpu_ram_efficient_loading and not plugin.activation_checkpointing


@pytest.mark.parametrize("stage", [2, 3])
def test_what_deepspeed_is_told(stage):
    told = yaml.safe_load(FILES[f"zero{stage}"].read_text("utf-8"))["deepspeed_config"]
    plugin = DeepSpeedPlugin(**told)
    found = plugin.deepspeed_config["zero_optimization"]
    assert found["stage"] == stage
    assert found["stage3_gather_16bit_weights_on_model_save"] == (stage == 3)


def test_the_storage_is_a_setting_of_the_run(tmp_path):
    settings = Settings(tmp_path, tmp_path, "tiny", qlora=True)
    settings = Settings(**vars(settings) | {"overrides": read_overrides(STORAGE)})
    assert complete(settings).quantization_config["bnb_4bit_quant_storage"] == (
        "bfloat16"
    )


def test_the_job_starts_one_torchrun_a_machine(tmp_path):
    for name, line in {
        "srun": "echo $@",
        "scontrol": "echo first; sleep 0.05; echo second",
    }.items():
        small_run.written(tmp_path / name, f"#!/bin/sh\n{line}\n").chmod(0o755)
    env = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "SLURM_JOB_NODELIST": "n[1-2]"}
    env |= {"SLURM_NNODES": "2", "SLURM_GPUS_ON_NODE": "8", "SLURM_JOB_ID": "7"}
    job = ["bash", ROOT / "helpers/finetune/launch/multi-node.sbatch", "--data", "a b"]
    done = subprocess.run(job, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    words = done.stdout.split()
    assert words[0] == "torchrun" and words[-4:] == ["--resume", "--data", "a", "b"]
    given = dict(zip(words[1:11:2], words[2:11:2], strict=True))
    assert given["--rdzv_endpoint"] == "first:29500"
    assert (given["--nnodes"], given["--nproc_per_node"]) == ("2", "8")


ALONE = {
    "accelerate": {"ACCELERATE_USE_CPU": "True", "MASTER_PORT": "29500"},
    "srun": {"SLURM_STEP_NUM_TASKS": "2"},
}


@pytest.fixture
def clean(monkeypatch):
    """No launcher's traces in the environment; returns what sets some."""
    for name in [*os.environ]:
        if name.startswith(("ACCELERATE_", "SLURM_", "MASTER_")) or "WORLD" in name:
            monkeypatch.delenv(name)
    return lambda env: [monkeypatch.setenv(*item) for item in env.items()]


@pytest.mark.parametrize("who", ALONE)
def test_one_process_in_the_place_of_several_is_refused(clean, who):
    check_environment()
    clean(ALONE[who])
    with pytest.raises(RunError, match="asked for several|started 2 tasks"):
        check_environment()
    with pytest.raises(RunError, match="asked for several|started 2 tasks"):
        check_trainer(trainer())
    clean({"WORLD_SIZE": "2"})  # torchrun below either
    check_environment()


def test_the_command_looks_before_it_reads(clean, tmp_path, capsys):
    clean(ALONE["srun"])
    assert finetune(["--data", "nowhere", "--output", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert "srun started 2 tasks" in said and said.count("\n") == 1


def test_a_run_looks_before_it_trains(clean, tmp_path, capsys):
    clean({"ACCELERATE_USE_FSDP": "true"})
    data = small_run.write_tickets(tmp_path)
    config = small_run.write_config(tmp_path, training_config=STEPS)
    assert finetune(small_run.arguments(data, tmp_path / "out", config)) == 2
    assert "here it would be NO, whole copies" in capsys.readouterr().err


def test_what_is_typed_in_a_shell_of_several_tasks_is_one_run(clean):
    clean(ALONE["srun"] | {"SLURM_PTY_PORT": "40000"})
    check_environment()


def trainer(world_size=1, fsdp=False, kind="NO", best=False, storage=None):
    quantization = SimpleNamespace(bnb_4bit_quant_storage=storage)
    config = SimpleNamespace(quantization_config=quantization)
    args = SimpleNamespace(world_size=world_size, load_best_model_at_end=best)
    accelerator = SimpleNamespace(distributed_type=SimpleNamespace(value=kind))
    return SimpleNamespace(
        args=args,
        accelerator=accelerator,
        model=SimpleNamespace(config=config),
        is_fsdp_enabled=fsdp,
        is_deepspeed_enabled=kind == "DEEPSPEED",
    )


SHARED = {"world_size": 2, "fsdp": True, "kind": "FSDP"}
NOT_AS_ASKED = {
    "2 processes were launched and 1 train": ({"WORLD_SIZE": "2"}, {}),
    "3 processes were launched and 1 train": ({"PMI_SIZE": "3"}, {}),
    "here it would be MULTI_CPU, whole copies": (
        {"WORLD_SIZE": "2", "ACCELERATE_USE_FSDP": "true"},
        {"world_size": 2, "kind": "MULTI_CPU"},
    ),
    "--patience cannot": ({"WORLD_SIZE": "2"}, SHARED | {"best": True}),
    "under DEEPSPEED": (
        {"WORLD_SIZE": "2"},
        {"world_size": 2, "kind": "DEEPSPEED", "best": True},
    ),
    "FSDP shares out no bytes": (
        {"WORLD_SIZE": "2"},
        SHARED | {"storage": torch.uint8},
    ),
}


@pytest.mark.parametrize("says", NOT_AS_ASKED)
def test_what_is_not_as_asked_is_refused(clean, says):
    env, given = NOT_AS_ASKED[says]
    clean(env)
    with pytest.raises(RunError, match=says):
        check_trainer(trainer(**given))


def test_what_is_as_asked_is_not(clean):
    check_trainer(trainer())
    clean({"WORLD_SIZE": "2"})
    check_trainer(trainer(2, kind="MULTI_CPU", best=True, storage=torch.uint8))
    check_trainer(trainer(**SHARED, storage=torch.bfloat16))


@pytest.mark.parametrize(("before", "now"), [(1, 2), (2, 1)])
def test_another_number_of_processes_does_not_go_on(tmp_path, before, now):
    """An update would read half the rows, or twice as many."""
    names = ["rng_state.pth"] if before == 1 else ["rng_state_0.pth", "rng_state_1.pth"]
    for name in names:
        (tmp_path / name).touch()
    small_run.written(tmp_path / "trainer_state.json", '{"max_steps": 4}')
    folder, stop = SimpleNamespace(newest_whole=lambda: tmp_path), None
    with pytest.raises(RunError, match=f"the {before} processes of .*, got {now}: "):
        recipe.train(trainer(world_size=now), folder, stop, None)
    (tmp_path / "optimizer.pt").touch()
    check_saved(trainer(world_size=before), tmp_path)


OPTIMIZERS = {"MULTI_CPU": "optimizer.pt", "FSDP": "optimizer.bin"}
OPTIMIZERS["DEEPSPEED"] = "global_step4/zero_pp_rank_0_mp_rank_00_optim_states.pt"


@pytest.mark.parametrize("saved", OPTIMIZERS)
def test_processes_that_share_otherwise_do_not_go_on(tmp_path, saved):
    for name in ("rng_state_0.pth", "rng_state_1.pth", OPTIMIZERS[saved]):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    for kind in OPTIMIZERS.keys() - {saved}:
        with pytest.raises(RunError, match=f"^{kind} cannot read the optimizer"):
            check_saved(trainer(2, kind=kind), tmp_path)
    check_saved(trainer(2, kind=saved), tmp_path)


class Zero3:
    """What SFTConfig registers with transformers under zero3.yaml."""

    config = {}

    def is_zero3(self):
        return True


@pytest.fixture
def zero3(clean):
    told = Zero3()  # transformers holds no more than a weak reference
    deepspeed.set_hf_deepspeed_config(told)
    yield told
    deepspeed.unset_hf_deepspeed_config()


def noting(seen, then):
    """A call that notes whether models would be shared out, and goes on."""

    def call(*args, **options):
        seen.append(deepspeed.is_deepspeed_zero3_enabled())
        return then(*args, **options)

    return call


def no_more(*_, **__):
    raise ValueError("no more")


def test_under_zero3_the_base_is_loaded_whole_and_then_shared_out(
    zero3, tmp_path, monkeypatch
):
    seen, data = [], small_run.write_tickets(tmp_path)
    settings = Settings(data, tmp_path / "out", "tiny")
    monkeypatch.setattr(models, "load_model", noting(seen, models.load_model))
    monkeypatch.setattr("trl.SFTTrainer", noting(seen, no_more))
    profile, splits = complete(settings), load_splits(data)
    with pytest.raises(ValueError, match="no more"):
        recipe.make_trainer(settings, profile, splits)
    assert seen == [False, True]


def test_under_zero3_the_base_is_looked_at_and_scored_whole(
    zero3, tmp_path, monkeypatch
):
    """By one process: generate would wait for the others."""
    seen, data = [], small_run.write_tickets(tmp_path)
    settings = Settings(data, tmp_path / "out", "tiny")
    state = SimpleNamespace(wait_for_everyone=lambda: None)
    args = SimpleNamespace(process_index=0, distributed_state=state)
    made = SimpleNamespace(args=args, add_callback=lambda _: None)
    monkeypatch.setattr(preflight, "check", noting(seen, preflight.check))
    monkeypatch.setattr(recipe, "make_trainer", lambda *_: (made, "0" * 64))
    monkeypatch.setattr(recipe, "measure", noting(seen, lambda *_: {}))
    monkeypatch.setattr(recipe, "train", noting(seen, no_more))
    with pytest.raises(ValueError, match="no more"):
        recipe.run(settings)
    assert seen == [False, False, True]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with data, and "one", the run that the others must equal."""
    folder = tmp_path_factory.mktemp("launch")
    small_run.write_prices(folder)
    assert start(folder, "one", rows=2).wait().returncode == 0
    return folder


def start(folder, name, *launcher, rows=1, more=(), **sections):
    """A run of 4 updates, 2 rows each, in FOLDER/NAME."""
    steps = STEPS | {"per_device_train_batch_size": rows}
    (folder / f"{name}-said").mkdir(exist_ok=True)
    config = small_run.write_config(
        folder / f"{name}-said", training_config=steps, **sections
    )
    call = small_run.arguments(folder / "prices.csv", folder / name, config, *more)
    module = "tests.finetune.two_processes" if launcher else "helpers.finetune"
    return Program(folder / f"{name}-said", module, *launcher, *call)


def ended(folder, name, program):
    """The metrics of a run that must have ended well."""
    done = program.wait()
    assert done.returncode == 0, done.stderr[-3000:]
    return small_run.metrics(folder / name)


def losses(metrics):
    return {e["step"]: e["loss"] for e in metrics["history"] if "loss" in e}


@pytest.mark.slow
def test_killed_under_accelerate_and_resumed_it_is_the_run_of_one(place):
    """Whoever is left must end, and the rest of the run must be as if nothing was."""
    first = place / "two/checkpoints/checkpoint-2/trainer_state.json"
    program = start(place, "two", FILES["ddp"])
    deadline = time.monotonic() + 300
    while not first.exists():
        assert program.runs() and time.monotonic() < deadline
        time.sleep(0.002)
    workers = psutil.Process(program.process.pid).children()
    assert len(workers) == 2
    workers[1].send_signal(signal.SIGKILL)
    assert program.wait().returncode != 0
    assert not any(w.is_running() and w.status() != "zombie" for w in workers)
    assert not (place / "two/metrics.json").exists()
    saved = first.stat().st_mtime_ns
    program = start(place, "two", "torchrun", more=["--resume"])
    two, one = ended(place, "two", program), small_run.metrics(place / "one")
    assert (two["processes"], two["distributed"]) == (2, "MULTI_CPU")
    assert losses(two) == pytest.approx(losses(one), rel=1e-4)
    assert len(losses(two)) == 4 and two["tokens"] == one["tokens"]
    # Begun again it would be the run of one as well, and would have saved this again.
    assert first.stat().st_mtime_ns == saved


def not_under_ddp(place, name):
    """What two processes say that are to go on under DDP with a run of shards."""
    (place / name / "metrics.json").unlink()
    shutil.rmtree(place / name / "checkpoints/checkpoint-4")
    done = start(place, name, "torchrun", more=["--resume"]).wait()
    assert done.returncode != 0
    return done.stderr


@pytest.mark.slow
def test_shards_learn_what_one_process_learns(place):
    program = start(place, "shards", FILES["fsdp2"], "--sharded")
    two, one = ended(place, "shards", program), small_run.metrics(place / "one")
    assert (two["processes"], two["distributed"]) == (2, "FSDP")
    assert losses(two) == pytest.approx(losses(one), rel=1e-4)
    same = ("steps", "tokens", "trainable_parameters", "base")
    assert [two[key] for key in same] == [one[key] for key in same]
    assert not_under_ddp(place, "shards").count("cannot read the optimizer in") == 2
    scores = [m["after"]["validation_loss"] for m in (one, two)]
    assert scores[1] == pytest.approx(scores[0], rel=1e-4)


@pytest.mark.slow
def test_shards_of_a_base_in_four_bit(place):
    """In a floating dtype, float32 as the rest is here, the codes are shared out."""
    how = (FILES["fsdp_qlora"], "--sharded")
    storage = {"quantization_config": {"bnb_4bit_quant_storage": "float32"}}
    two = ended(place, "q", start(place, "q", *how, more=["--qlora"], **storage))
    alone = start(place, "q-one", rows=2, more=["--qlora"])
    assert losses(two) == pytest.approx(losses(ended(place, "q-one", alone)), rel=1e-3)
    assert two["distributed"] == "FSDP"
