"""Fine-tune a model on your data with LoRA or QLoRA: the whole recipe, one page.

The profile holds the settings; a YAML file may replace some (`settings`). The output
folder gets the adapter, the tokenizer, metrics.json and a model card (README.md).
"""

import json
import shutil
from copy import deepcopy
from dataclasses import replace
from functools import partial
from itertools import chain
from pathlib import Path

from datasets import DatasetDict

from helpers.config import Profile
from helpers.environment import use_one_gpu
from helpers.files import shown_model, write_json, write_text
from helpers.finetune.checkpoints import finished, trainer_state
from helpers.finetune.errors import RunError, Stopped, explained
from helpers.finetune.keys import check_names
from helpers.finetune.launched import (
    check_saved,
    check_trainer,
    distributed,
    sharded,
    unsharded,
)
from helpers.finetune.learning import chance, unfinished
from helpers.finetune.metrics import describe, digest, measure, tested
from helpers.finetune.model_card import card
from helpers.finetune.rows import look_before, plain, read_rows, ready_tokenizer, say
from helpers.finetune.run_folder import RunFolder
from helpers.finetune.settings import Settings, build, complete
from helpers.finetune.trial import check_head, check_optimizer, check_schedule


def run(settings: Settings) -> dict:
    """Trains as the settings say; returns what metrics.json holds.

    The same settings, data and base give the same adapter and the same metrics, times
    and memory aside, on one CPU thread; also when a run was stopped and resumed. Of
    several processes the first one measures, writes and returns; the others return {}.
    Raises ConfigError, DataError, ModelError, RunError or Stopped.
    """
    from helpers.models import check_trained, fetch_small_model, quiet

    use_one_gpu()  # before the profile looks for a device
    quiet()
    from helpers.finetune.callbacks import StopOnSignal

    folder = RunFolder(settings.output)
    folder.check_free(settings.resume)
    profile = complete(settings)
    if profile.name == "small" and settings.model is None:
        fetch_small_model()
    with explained(folder), StopOnSignal(folder.path) as stop:
        splits = read_rows(settings, profile, lengths := {})
        settings, profile = recognised(settings, profile)
        if settings.overrides.get("quantization_config") and not settings.qlora:
            what = "quantization_config is given, and the base is not in 4 bit"
            raise RunError(f"{what}: add --qlora, or leave it out")
        seen = look_before(settings, profile, splits, lengths)
        splits = plain(splits)
        identity = identify(settings, profile, splits)
        folder.check_same(identity)
        if (known := folder.complete()) and (not settings.test or tested(known)):
            print(f"{folder.path} is complete: nothing to do")
            return known
        folder.check_kept(settings.patience)

        trainer, identity["base"] = make_trainer(settings, profile, splits)
        trainer.add_callback(stop)
        folder.check_same(identity)
        metrics, writes = {}, trainer.args.process_index == 0
        scored = "test" if settings.test else "validation"
        look = partial(measure, trainer, splits, scored, settings.scorer)
        if writes:
            folder.begin(identity)
            # B is zero: the model is still exactly the base.
            with unsharded():
                before = folder.kept(f"before-{scored}.json", look)
        trainer.args.distributed_state.wait_for_everyone()
        kept = train(trainer, folder, stop, settings.patience)
        after = look() if writes or sharded(trainer) else None
        if writes:
            check_trained(kept)
            measured = {"before": before, "after": after}
            metrics = describe(trainer, settings, identity, measured)
            metrics["preflight"] = seen
            metrics["unfinished"] = unfinished(metrics, chance(splits[scored]))
            folder.publish(partial(save, trainer, metrics, kept))
        end(trainer)
    return metrics


def recognised(settings: Settings, profile: Profile) -> tuple[Settings, Profile]:
    """Both, as for --qlora where the checkpoint itself holds weights in 4 bit."""
    from helpers.models import four_bit

    if not (own := four_bit(profile, settings.qlora)):
        return settings, profile
    if not settings.qlora:
        what = f"{shown_model(profile.model)} holds weights in 4 bit"
        say(f"{what}: trained as with --qlora")
    return replace(settings, qlora=True), own


def identify(settings: Settings, profile: Profile, splits: DatasetDict) -> dict:
    """What a run is: of a resumed one all of it must be the same."""
    config, scorer = dict(profile.training_config), settings.scorer
    del config["output_dir"]  # a folder may be moved
    return {
        "profile": profile.name,
        "qlora": settings.qlora,
        "model": shown_model(profile.base(settings.qlora)),
        "dtype": profile.dtype,
        "patience": settings.patience,
        "scorer": scorer and getattr(scorer, "__name__", type(scorer).__name__),
        "rows": {name: len(rows) for name, rows in splits.items()},
        "data_sha256": digest(splits),
        "training_config": config,
        "peft_config": profile.peft_config,
        "quantization_config": profile.quantization_config if settings.qlora else None,
    }


def make_trainer(settings: Settings, profile: Profile, splits: DatasetDict) -> tuple:
    """(SFTTrainer, fingerprint of the base) of a run; nothing is trained yet."""
    from peft import LoraConfig
    from transformers import EarlyStoppingCallback
    from trl import SFTConfig, SFTTrainer

    from helpers import models
    from helpers.finetune.callbacks import Clock, Watch

    # TRL would add a mixture's load-balancing loss, and leave its model so that it
    # returns what that needs, which breaks generation with a static cache.
    config = {"router_aux_loss_coef": 0.0} | profile.training_config
    args = build(SFTConfig, "training_config", config)
    check_schedule(args)
    tokenizer = ready_tokenizer(settings, profile, splits)
    with unsharded():
        model = models.load_model(profile, quantized=settings.qlora)
    base = models.fingerprint(model)
    check_optimizer(args, model)
    named = chain(model.named_modules(), model.named_parameters())
    check_names(profile.peft_config, (name for name, _ in named))
    lora = models.lora_settings(model, profile.peft_config)
    # A copy: PEFT writes the scale of experts into the settings that it is given.
    peft_config = build(LoraConfig, "peft_config", deepcopy(lora))
    parts = {"model": model, "args": args, "peft_config": peft_config}
    parts["processing_class"] = tokenizer
    parts |= {"train_dataset": splits["train"], "eval_dataset": splits["validation"]}
    trainer = build(SFTTrainer, "the run", parts)
    check_trainer(trainer)
    trainer.add_callback(Clock(args.world_size, distributed(trainer)))
    if args.world_size > 1:
        say(f"{args.world_size} processes share the work ({distributed(trainer)})")
    check_head(trainer.model)
    if settings.patience is not None:
        trainer.add_callback(EarlyStoppingCallback(settings.patience))
    trainer.add_callback(Watch(trainer, splits["validation"], settings.scorer))
    models.train_in_float32(trainer.model)
    models.train_fast_on_cpu(trainer)
    if missed := models.left_out(trainer.model):
        say(f"LoRA leaves out {missed}")
    return trainer, base


def train(trainer, folder: RunFolder, stop, patience: int | None) -> Path:
    """The checkpoint whose adapter the model has once it is trained to the end.

    From the newest whole checkpoint on, or from the start. Raises RunError as
    `check_saved`, Stopped where a signal ended the training; its last update is saved.
    """
    from transformers import set_seed

    newest, trained = folder.newest_whole(), False
    if newest is None or not finished(newest, patience):
        check_saved(trainer, newest)
        # Dropout must not depend on whether this session has evaluated the base.
        set_seed(trainer.args.seed)
        trainer.train(resume_from_checkpoint=newest and str(newest))
        trainer.args.distributed_state.wait_for_everyone()  # until all is saved
        newest, trained = folder.newest_whole(), True
        if stop.received and not finished(newest, patience):
            raise Stopped(stop.received, folder.path, trainer.state.global_step)
    trainer.state = trainer_state(newest)
    best = trainer.state.best_global_step if patience else None
    kept = newest.with_name(f"checkpoint-{best}") if best else newest
    if not (trained and sharded(trainer)):  # a shard takes no whole matrix
        trainer.model.load_adapter(str(kept), "default", is_trainable=True)
    return kept


def save(trainer, metrics: dict, kept: Path, folder: Path) -> None:
    """Writes adapter, tokenizer, model card and metrics. kept: as `train` returns."""
    for file in kept.glob("adapter_*"):
        shutil.copy(file, folder)
    trainer.processing_class.save_pretrained(folder)
    tidy_config(folder / "adapter_config.json", metrics["base"]["model"])
    write_text(folder / "README.md", card(metrics))
    write_json(folder / "metrics.json", metrics)


def tidy_config(path: Path, base: str) -> None:
    """Sorts the layers that an adapter_config.json lists at random; names the base."""
    config = json.loads(path.read_text(encoding="utf-8"))
    config["base_model_name_or_path"] = base
    for key in ("target_modules", "target_parameters"):
        if isinstance(config.get(key), list):
            config[key].sort()
    write_json(path, config, indent=2)


def end(trainer) -> None:
    """Waits for the process that writes, parts from the others, frees the model."""
    from helpers.models import free

    trainer.args.distributed_state.wait_for_everyone()
    if trainer.args.world_size > 1:
        trainer.end()
    free(trainer)
