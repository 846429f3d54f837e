"""Fine-tune a model on your data with LoRA or QLoRA: the whole recipe, one page.

    python -m helpers.finetune --data data/tickets --output out
    python -m helpers.finetune --data my.csv --output out --qlora --config my.yaml
    python -m helpers.finetune --data data/tickets --output out --resume

data: a folder with train, validation and test, or one file that is split 80/10/10, in
any format of `helpers.formatting`. The profile holds the settings; a YAML file may
replace some (`helpers.run_config`). The output folder gets the adapter, the tokenizer,
metrics.json and a model card (README.md). Several processes: `torchrun
--nproc_per_node 2 -m helpers.finetune ...`; the first one writes.

Exit codes: 0 done; 2 a mistake of the user or of the machine, one line on stderr;
143 SIGTERM and 130 Ctrl-C, saved so that --resume goes on with the next update.
"""

import json
import math
from functools import partial
from pathlib import Path

from helpers.finetune import (
    metrics as run_metrics,
)
from helpers.finetune import (
    model_card,
    run_folder,
)
from helpers.finetune import (
    settings as run_config,
)
from helpers.finetune.errors import Stopped, explained
from helpers.finetune.settings import Settings, build, shown
from helpers.formatting import load_splits


def run(settings: Settings) -> dict:
    """Trains as the settings say; returns what metrics.json holds.

    The same settings, data and base give the same adapter and the same metrics, times
    and memory aside, on one CPU thread; also when a run was stopped and resumed. Of
    several processes the first one measures, writes and returns; the others return {}.
    Raises ConfigError, DataError, ModelError, RunError or Stopped.
    """
    from helpers.models import quiet

    quiet()
    from helpers.finetune.callbacks import StopOnSignal

    output = Path(settings.output)
    run_folder.check_free(output, settings.resume)
    profile = run_config.complete(settings)
    with explained(output, run_folder.newest_whole), StopOnSignal(output) as stop:
        splits = choose_rows(load_splits(settings.data), settings)
        identity = identify(settings, profile, splits)
        run_folder.check_same(output, identity)
        if run_folder.is_complete(output):
            print(f"{output} is complete: nothing to do")
            return json.loads((output / run_folder.METRICS).read_text("utf-8"))

        trainer, identity["base"] = make_trainer(settings, profile, splits)
        trainer.add_callback(stop)
        run_folder.check_same(output, identity)
        writes = trainer.args.process_index == 0
        if writes and not (output / run_folder.RUN).exists():
            run_folder.write_json(output / run_folder.RUN, identity)
        before = first_scores(trainer, splits, output) if writes else {}
        trainer.args.distributed_state.wait_for_everyone()
        train(trainer, output, stop, settings.patience)
        metrics = {}
        if writes:
            scores = {"before": before, "after": measure(trainer, splits)}
            metrics = run_metrics.describe(trainer, settings, identity, scores)
            run_folder.publish(output, partial(save, trainer, metrics))
        end(trainer)
    return metrics


def choose_rows(splits, settings: Settings):
    """The splits, validation and test cut to as many rows as the settings allow."""
    for name in ("validation", "test"):
        most = min(getattr(settings, f"{name}_rows"), len(splits[name]))
        splits[name] = splits[name].select(range(most))
    return splits


def identify(settings: Settings, profile, splits) -> dict:
    """What a run is: of a resumed one all of it must be the same."""
    config = dict(profile.training_config)
    del config["output_dir"]  # a folder may be moved
    return {
        "profile": profile.name,
        "qlora": settings.qlora,
        "model": shown(profile.qlora_model if settings.qlora else profile.model),
        "dtype": profile.dtype,
        "patience": settings.patience,
        "rows": {name: len(rows) for name, rows in splits.items()},
        "data_sha256": run_folder.digest(splits),
        "training_config": config,
        "peft_config": profile.peft_config,
        "quantization_config": profile.quantization_config if settings.qlora else None,
    }


def make_trainer(settings: Settings, profile, splits):
    """(SFTTrainer, fingerprint of the base) of a run; nothing is trained yet."""
    from peft import LoraConfig
    from transformers import EarlyStoppingCallback
    from trl import SFTConfig, SFTTrainer

    from helpers.finetune.callbacks import Clock
    from helpers.models import fingerprint, load_model, load_tokenizer

    args = build(SFTConfig, "training_config", profile.training_config)
    peft_config = build(LoraConfig, "peft_config", profile.peft_config)
    tokenizer = load_tokenizer(profile, quantized=settings.qlora)
    model = load_model(profile, quantized=settings.qlora)
    base = fingerprint(model)
    trainer = build(
        SFTTrainer,
        "the run",
        {
            "model": model,
            "args": args,
            "train_dataset": splits["train"],
            "eval_dataset": splits["validation"],
            "processing_class": tokenizer,
            "peft_config": peft_config,
            "callbacks": [Clock()],
        },
    )
    if settings.patience is not None:
        trainer.add_callback(EarlyStoppingCallback(settings.patience))
    for weight in trainer.model.parameters():
        if weight.requires_grad:  # TRL starts QLoRA in bf16 and resumes it in fp32
            weight.data = weight.data.float()
    return trainer, base


def first_scores(trainer, splits, output: Path) -> dict:
    """The base model's scores, kept in the folder: a resumed run reads them there."""
    kept = output / run_folder.WORK / "before.json"
    if not kept.exists():
        # B is zero: the model is still exactly the base.
        run_folder.write_json(kept, measure(trainer, splits))
    return json.loads(kept.read_text(encoding="utf-8"))


def measure(trainer, splits) -> dict:
    """Validation loss and test scores of the model as it is, by name.

    Not with trainer.evaluate(): called before train() it marks the model as prepared,
    and several processes would then train without exchanging gradients.
    """
    from helpers.evaluation import evaluate, perplexity

    model, tokenizer = trainer.model, trainer.processing_class
    batch_size = trainer.args.per_device_eval_batch_size
    options = {
        "max_new_tokens": run_metrics.longest_answer(tokenizer, splits),
        "batch_size": 2 * batch_size,
        "progress": not trainer.args.disable_tqdm,
    }
    loss = math.log(perplexity(model, tokenizer, splits["validation"], batch_size))
    report = evaluate(model, tokenizer, splits["test"], **options)
    return run_metrics.scores(loss, report)


def train(trainer, output: Path, stop, patience: int | None) -> None:
    """Trains to the end from the newest whole checkpoint, or from the start.

    Raises Stopped where a signal ended the training; its last update is saved.
    """
    from transformers import set_seed

    newest = run_folder.newest_whole(output)
    if newest is None or not run_folder.finished(newest, patience):
        # Dropout must not depend on whether this session has evaluated the base.
        set_seed(trainer.args.seed)
        trainer.train(resume_from_checkpoint=newest and str(newest))
        trainer.args.distributed_state.wait_for_everyone()  # until all is saved
        newest = run_folder.newest_whole(output)
        if stop.received and not run_folder.finished(newest, patience):
            raise Stopped(stop.received, output, trainer.state.global_step)
    trainer.state = run_folder.trainer_state(newest)
    best = trainer.state.best_global_step if patience else None
    kept = newest.with_name(f"checkpoint-{best}") if best else newest
    trainer.model.load_adapter(str(kept), "default", is_trainable=True)


def save(trainer, metrics: dict, folder: Path) -> None:
    """Writes adapter, tokenizer, model card and metrics."""
    trainer.model.save_pretrained(folder)
    trainer.processing_class.save_pretrained(folder)
    model_card.tidy_config(folder / "adapter_config.json", metrics["base"]["model"])
    (folder / "README.md").write_text(model_card.card(metrics), encoding="utf-8")
    run_folder.write_json(folder / run_folder.METRICS, metrics)


def end(trainer) -> None:
    """Waits for the process that writes, then parts from the others."""
    trainer.args.distributed_state.wait_for_everyone()
    if trainer.args.world_size > 1:
        trainer.end()
