"""What people reported of this very job elsewhere: each ends as it should here."""

import dataclasses
import importlib.util
import signal

import pytest
from transformers import TrainerControl, TrainerState
from trl import SFTConfig

from helpers.config import load_profile
from helpers.files import ROOT, shown_model, write_json
from helpers.finetune import RunError, Settings
from helpers.finetune.callbacks import StopOnSignal
from helpers.finetune.checkpoints import trainer_state
from helpers.finetune.errors import explained
from helpers.finetune.model_card import card
from helpers.finetune.recipe import check_schedule, recognised
from helpers.finetune.run_folder import RunFolder
from helpers.finetune.settings import complete, read_overrides
from helpers.models import four_bit, load_model, load_tokenizer
from tests.finetune import small_run
from tests.finetune.small_run import finetune

ADAPTER = ROOT / "data" / "checkpoints" / "tickets-lora"


def settings(**training_config):
    overrides = {"training_config": training_config}
    return Settings("d", "o", profile="tiny", overrides=overrides)


def refusal(tmp_path, capsys, config, *more):
    """The one line that the command ends with."""
    data = small_run.write_tickets(tmp_path)
    file = small_run.write_config(tmp_path, **config)
    assert finetune(small_run.arguments(data, tmp_path / "out", file, *more)) == 2
    said = capsys.readouterr().err
    assert "Traceback" not in said
    return said.splitlines()[-1]


def test_an_adapter_as_model_is_refused(tmp_path, capsys):
    line = refusal(tmp_path, capsys, {}, "--model", str(ADAPTER))
    assert f"{ADAPTER} is an adapter, and a model is needed: give its base" in line


def test_patience_evaluates_what_it_keeps():
    """Settings of one's own would be replaced; of those alike nothing is said."""
    with pytest.raises(RunError, match="eval_steps is 7, save_steps 9"):
        complete(dataclasses.replace(settings(eval_steps=7, save_steps=9), patience=2))
    with pytest.raises(RunError, match="eval_strategy is epoch, save_strategy steps"):
        changed = settings(eval_strategy="epoch")
        complete(dataclasses.replace(changed, patience=2))
    alike = dataclasses.replace(settings(eval_steps=9, save_steps=9), patience=2)
    assert complete(alike).training_config["eval_steps"] == 9


def test_patience_keeps_the_last_checkpoint_too():
    """Without it --resume could not tell that the run is complete."""
    limited = dataclasses.replace(settings(save_total_limit=1), patience=2)
    with pytest.raises(RunError, match="save_total_limit: 1 leaves the best .* give 2"):
        complete(limited)
    assert complete(settings(save_total_limit=1))


def test_a_batch_that_is_found_is_refused():
    """The trainer would begin anew with a smaller one, its adapter half trained."""
    with pytest.raises(RunError, match="'auto_find_batch_size' cannot be set"):
        complete(settings(auto_find_batch_size=True))


def test_a_schedule_is_tried_before_anything_is_scored(tmp_path):
    """transformers makes it when training begins."""
    text = "training_config: {lr_scheduler_kwargs: {min_lr: 1e-5}}"
    [section] = read_overrides(small_run.written(tmp_path / "c", text)).values()
    assert section == {"lr_scheduler_kwargs": {"min_lr": 1e-5}}
    kind = {"output_dir": str(tmp_path), "use_cpu": True, "bf16": False}
    kind |= {"lr_scheduler_type": "cosine_with_min_lr"}
    check_schedule(SFTConfig(**kind, **section))
    with pytest.raises(RunError, match="training_config is refused .*min_lr"):
        check_schedule(SFTConfig(**kind))


def test_a_complete_run_without_its_checkpoints_is_not_trained_again(tmp_path):
    """As a folder that was copied without them, and then scored on the test split."""
    folder = RunFolder(tmp_path)
    folder.check_kept(None)
    write_json(folder.metrics, {"scored": "validation"})
    with pytest.raises(RunError, match="the last checkpoint of .* is gone or damaged"):
        folder.check_kept(None)


@pytest.mark.parametrize(
    ("epoch", "step", "kept"), [(0.5, 3, False), (1.0, 6, True), (1.5, 9, True)]
)
def test_a_run_that_is_stopped_in_an_epoch_has_not_reached_its_end(
    tmp_path, epoch, step, kept
):
    """Evaluated there, it would not be the run that nobody stopped."""
    stop = StopOnSignal(tmp_path)
    stop.received = signal.SIGTERM
    control = TrainerControl(should_evaluate=True, should_save=True)
    state = TrainerState(epoch=epoch, global_step=step, max_steps=9)
    stop.on_epoch_end(None, state, control)
    assert control.should_evaluate == control.should_save == kept


@pytest.mark.parametrize("key", ["load_best_model_at_end", "greater_is_better"])
def test_the_best_adapter_is_kept_by_patience_alone(key):
    with pytest.raises(RunError, match=f"'{key}' cannot be set: --patience"):
        complete(settings(**{key: True}))


def test_checkpointing_goes_by_its_new_name():
    """Beside that of the profile, transformers 5.23 would not look at the old one."""
    says = "'gradient_checkpointing' cannot be set: activation_checkpointing decides"
    with pytest.raises(RunError, match=says):
        complete(settings(gradient_checkpointing=True))
    config = complete(settings(activation_checkpointing=True)).training_config
    assert SFTConfig(**config).gradient_checkpointing


@pytest.mark.slow
def test_layers_that_peft_chooses_and_an_update_that_no_one_keeps(tmp_path):
    """The card names those layers, and no update: without --patience the last stays."""
    steps = {"max_steps": 2, "save_steps": 1, "eval_steps": 1}
    steps |= {"lr_scheduler_type": "reduce_lr_on_plateau", "warmup_steps": 0}
    file = small_run.write_config(
        tmp_path, training_config=steps, peft_config={"target_modules": None}
    )
    data, output = small_run.write_prices(tmp_path), tmp_path / "out"
    more = ("--model", "data/checkpoints/tiny-llama")
    assert finetune(small_run.arguments(data, output, file, *more)) == 0
    metrics = small_run.metrics(output)
    state = trainer_state(output / "checkpoints" / "checkpoint-2")
    assert state.best_global_step and metrics["best_step"] is None
    text = (output / "README.md").read_text(encoding="utf-8")
    assert "| adapted layers | q_proj, v_proj |" in text
    assert "update kept" not in text


@pytest.mark.parametrize(
    ("targets", "layers"),
    [
        ({"target_modules": None}, None),
        ({"target_modules": ["b.q_proj", "a.q_proj", "k_proj"]}, "k_proj, q_proj"),
        ({"target_parameters": ["experts.up", "gate.weight"]}, "gate, up"),
        (
            {"target_modules": "all-linear", "target_parameters": ["experts.up"]},
            "all-linear, up",
        ),
    ],
)
def test_the_card_names_what_is_adapted(targets, layers):
    from tests.lessons.test_lesson_07 import METRICS

    peft = {"r": 8, "lora_alpha": 16, **targets}
    text = card(METRICS | {"settings": METRICS["settings"] | {"peft_config": peft}})
    assert ("adapted layers" in text) == bool(layers)
    assert not layers or f"| adapted layers | {layers} |" in text


@pytest.mark.parametrize(
    ("key", "value", "other", "unset"),
    [("num_train_epochs", 3, "max_steps", -1), ("bf16", True, "fp16", False)],
)
def test_of_two_keys_the_users_counts(key, value, other, unset):
    config = complete(settings(**{key: value})).training_config
    assert config[key] == value and config[other] == unset
    assert complete(settings(max_steps=7)).training_config["max_steps"] == 7
    with pytest.raises(RunError, match=f"{key} and {other} exclude each other"):
        complete(settings(**{key: value, other: value}))


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("XCallback requires x to be installed. Run `pip install x`."),
        ImportError("Using x requires x: pip install x"),
    ],
)
def test_a_package_that_is_missing_is_named(tmp_path, error):
    with pytest.raises(RunError, match="a package that is not here .*pip install x"):
        with explained(RunFolder(tmp_path)):
            raise error
    with pytest.raises(RuntimeError, match="other"):  # the control: passed on
        with explained(RunFolder(tmp_path)):
            raise RuntimeError("other")


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("wandb") is not None, reason="is here")
def test_an_integration_that_is_missing_is_named(tmp_path, capsys):
    steps = small_run.STEPS | {"report_to": "wandb"}
    line = refusal(tmp_path, capsys, {"training_config": steps})
    assert "WandbCallback requires wandb to be installed" in line


@pytest.mark.slow
def test_a_head_that_trl_cannot_read_is_refused(tmp_path, capsys):
    config = {"peft_config": {"trainable_token_indices": [5, 6]}}
    line = refusal(tmp_path, capsys, config | {"training_config": small_run.STEPS})
    assert "trainable_token_indices wraps a head that is the embedding" in line


def test_a_checkpoint_in_4_bit_is_recognised(tmp_path, capsys):
    profile = load_profile("tiny")
    assert four_bit(profile) is None
    asked = dataclasses.replace(settings(), qlora=False)
    assert recognised(asked, profile) == (asked, profile)
    saved = tmp_path / "mine"
    load_model(profile, quantized=True).save_pretrained(saved)
    load_tokenizer(profile, quantized=True).save_pretrained(saved)
    mine = load_profile("tiny", str(saved))
    mine.quantization_config["bnb_4bit_quant_type"] = "fp4"
    now, found = recognised(asked, mine)
    assert now.qlora and found.quantization_config["bnb_4bit_quant_type"] == "nf4"
    assert "local:mine holds weights in 4 bit: trained as" in capsys.readouterr().err
    model = load_model(mine)  # without being asked to
    layers = [m for m in model.modules() if type(m).__name__ == "Linear4bit"]
    assert layers and not any(m.support_avx512bf16_for_cpu for m in layers)


def test_a_base_elsewhere_has_no_name_of_the_hub(tmp_path):
    assert shown_model(tmp_path / "gpt2") == "local:gpt2"
    assert shown_model("owner/gpt2") == "owner/gpt2"
    assert shown_model(ROOT / "data" / "checkpoints" / "tiny-phi3").startswith("data/")


def test_a_start_that_is_drawn_anew_is_refused_before_training(tmp_path):
    start = {"peft_config": {"init_lora_weights": "pissa_niter_4"}}
    with pytest.raises(RunError, match="pissa_niter_4 is drawn anew at each loading"):
        complete(Settings(tmp_path, tmp_path / "out", "tiny", overrides=start))
    start["peft_config"]["init_lora_weights"] = "pissa"
    complete(Settings(tmp_path, tmp_path / "out", "tiny", overrides=start))


def test_the_card_says_what_a_base_and_its_start_mean():
    from tests.lessons.test_lesson_07 import METRICS

    plain = card(METRICS)
    assert "stands for a folder" not in plain and "taken out of the base" not in plain
    peft = METRICS["settings"]["peft_config"] | {"init_lora_weights": "pissa"}
    changed = {"settings": METRICS["settings"] | {"peft_config": peft}}
    text = card(METRICS | changed | {"base": METRICS["base"] | {"model": "local:gpt2"}})
    assert "`local:gpt2` stands for a folder of whoever trained it" in text
    assert "taken out of the base (`init_lora_weights: pissa`)" in text


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"gradient_accumulation_steps": 20}, "| examples an update | 10 |"),
        ({"gradient_accumulation_steps": 1}, "| examples an update | 4 |"),
        ({"packing": True}, "| packed rows an update | 8 |"),
    ],
)
def test_the_card_counts_what_an_update_reads(config, says):
    """An epoch's last update takes what is left; a packed row holds several."""
    from tests.lessons.test_lesson_07 import METRICS

    run = {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 2}
    settings = METRICS["settings"] | {"training_config": run | config}
    data = METRICS["data"] | {"rows": {"train": 10, "validation": 2, "test": 2}}
    text = card(METRICS | {"settings": settings, "data": data, "processes": 1})
    assert says in text and text.count("an update |") == 1
