"""Keys and values of a settings file that a run would pass over are refused."""

import inspect
from types import SimpleNamespace

import pytest
import torch
from peft import LoraConfig, get_peft_model
from trl import SFTConfig

from helpers import config, environment
from helpers.config import Device
from helpers.finetune.callbacks import Clock, Watch
from helpers.finetune.errors import RunError, _explanation
from helpers.finetune.keys import TAKEN, check_keys, check_names
from helpers.finetune.settings import Settings, complete, read_overrides
from helpers.finetune.trial import check_optimizer, check_schedule
from tests.finetune import small_run
from tests.models.tiny_model import build_model


@pytest.mark.parametrize(
    ("section", "key", "value", "says"),
    [
        ("training_config", "hub_token", "hf_x", "nothing is uploaded by a training"),
        ("training_config", "hub_strategy", "every_save", "nothing is uploaded"),
        ("training_config", "enable_jit_checkpoint", True, "saves by itself"),
        ("training_config", "dataloader_drop_last", True, "rows would be left out"),
        ("training_config", "chat_template_path", "t.jinja", "chat_template.jinja"),
        ("training_config", "packing_strategy", "wrapped", "cuts rows and answers"),
        ("training_config", "packing", "false", "expected bool"),
        ("training_config", "max_steps", "3", "expected int"),
        ("training_config", "optim_args", {"eps": 1}, "expected str"),
        ("peft_config", "use_dora", "false", "expected bool"),
        ("peft_config", "init_lora_weights", False, "not be the one that is scored"),
        ("peft_config", "init_lora_weights", "eva", "needs a preparation"),
        ("peft_config", "layer_replication", [[0, 2]], "not be the one that is scored"),
        ("quantization_config", "bnb_4bit_use_double_quant", "no", "True or False"),
        ("quantization_config", "bnb_4bit_quant_type", "nf5", "expected nf4 or fp4"),
        ("quantization_config", "bnb_4bit_compute_dtype", "int8", "expected bfloat16"),
    ],
)
def test_a_key_or_value_that_would_do_harm_is_refused(section, key, value, says):
    with pytest.raises(RunError, match=says):
        check_keys({section: {key: value}})


def test_no_key_of_an_upload_is_taken():
    keys = [n for n in inspect.signature(SFTConfig).parameters if n.startswith("hub_")]
    assert len(keys) > 4 and {*keys} <= TAKEN.keys()


def test_what_people_set_is_taken():
    training = {
        "packing": True,
        "max_steps": 3,
        "learning_rate": 1,
        "optim": "adafactor",
    }
    training |= {"optim_args": "eps=1e-8", "warmup_steps": 0.1, "eval_steps": 0.5}
    training |= {"lr_scheduler_kwargs": {"min_lr": 1.0}, "packing_strategy": "bfd"}
    training |= {"report_to": ["tensorboard"], "neftune_noise_alpha": 5}
    adapter = {"init_lora_weights": True, "r": 8, "target_modules": "all-linear"}
    adapter |= {"use_dora": True, "modules_to_save": ["lm_head"], "lora_alpha": 16}
    quantised = {"bnb_4bit_quant_type": "fp4", "bnb_4bit_use_double_quant": False}
    check_keys({"training_config": training, "peft_config": adapter})
    for start in ("gaussian", "pissa", "olora"):
        check_keys({"peft_config": {"init_lora_weights": start}})
    check_keys({"quantization_config": quantised})


@pytest.mark.parametrize(
    "text",
    ["peft_config: {r: 8}\npeft_config: {lora_alpha: 4}", "a: {b: {r: 1, r: 2}}"],
)
def test_a_key_that_stands_twice_is_refused(tmp_path, text):
    with pytest.raises(RunError, match=r"the key '\w+' stands twice"):
        read_overrides(small_run.written(tmp_path / "c.yaml", text))


NAMES = ["model.layers.0.self_attn.qkv_proj", "lm_head", "experts.gate_up_proj"]


@pytest.mark.parametrize("key", ["rank_pattern", "alpha_pattern"])
def test_a_pattern_that_matches_nothing_is_refused(key):
    for name in ("qkv_proj", r"layers\.0\..*", "^model.*qkv_proj"):
        check_names({key: {name: 4}}, NAMES)
    with pytest.raises(RunError, match=f"{key} names 'q_proj', not a part of the base"):
        check_names({key: {"q_proj": 4}}, NAMES)


@pytest.mark.parametrize(
    "key", ["modules_to_save", "exclude_modules", "target_parameters"]
)
def test_a_name_that_matches_nothing_is_refused(key):
    check_names({key: ["lm_head", "experts.gate_up_proj"]}, NAMES)
    check_names({key: None} | {"exclude_modules": ".*head"}, NAMES)
    for typo in (["lm_head", "head"], "head"):
        with pytest.raises(RunError, match=f"{key} names 'head'"):
            check_names({key: typo}, NAMES)
    with pytest.raises(RunError, match=f"{key} names 'lm.head'"):
        check_names({key: ["lm.head"]}, NAMES)


@pytest.mark.parametrize(
    ("training", "says"),
    [
        ({"num_train_epochs": 0}, "num_train_epochs 0 trains nothing"),
        ({"use_cpu": False}, "use_cpu is False, and no GPU is found"),
        ({"activation_offloading": True}, "activation_offloading needs a GPU"),
    ],
)
def test_settings_that_leave_nothing_to_do_are_refused(tmp_path, training, says):
    overrides = {"training_config": training}
    with pytest.raises(RunError, match=says):
        complete(Settings(tmp_path, tmp_path / "out", "tiny", overrides=overrides))


def arguments(folder, **more):
    kind = {"output_dir": str(folder), "use_cpu": True, "bf16": False, "max_steps": 20}
    return SFTConfig(**kind, **more)


def test_a_warm_up_that_a_schedule_leaves_out_is_said(tmp_path, capsys):
    check_schedule(arguments(tmp_path, warmup_steps=5, lr_scheduler_type="cosine"))
    check_schedule(arguments(tmp_path, lr_scheduler_type="constant"))
    assert capsys.readouterr().err == ""
    check_schedule(arguments(tmp_path, warmup_steps=5, lr_scheduler_type="constant"))
    assert "constant leaves out the warm-up (5 updates)" in capsys.readouterr().err


def test_an_optimizer_that_cannot_be_made_is_refused_before_training(tmp_path):
    model = build_model()
    check_optimizer(arguments(tmp_path), model)
    missing = arguments(tmp_path, optim="schedule_free_adamw")
    with pytest.raises(RunError, match="training_config is refused .*schedulefree"):
        check_optimizer(missing, model)


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (MemoryError(), "too little memory (MemoryError)"),
        (RuntimeError("Failed to find C compiler. Set CC"), "install a C compiler"),
        (RuntimeError("x/cuda_utils.c returned 1"), "install a C compiler"),
        (NotADirectoryError(20, "Not a directory"), "out cannot be written"),
    ],
)
def test_what_the_machine_lacks_is_one_line(tmp_path, error, says):
    line = _explanation(error, tmp_path / "out")
    assert says in line and "\n" not in line


@pytest.mark.parametrize(
    ("packing", "says"),
    [
        (False, "5 updates of 32 rows are 5 epochs of 32 rows"),
        (True, "5 updates of 32 packed rows are 5 epochs of 32 packed rows"),
    ],
)
def test_an_update_reads_no_more_than_an_epoch_has(capsys, packing, says):
    args = SimpleNamespace(per_device_train_batch_size=4, world_size=1)
    args.gradient_accumulation_steps, args.packing = 20, packing
    watch = SimpleNamespace(trainer=SimpleNamespace(train_dataset=range(32)))
    watch._say = lambda state, line: print(line)
    Watch.on_train_begin(watch, args, SimpleNamespace(max_steps=5), None)
    assert capsys.readouterr().out == f"{says}\n"


def test_memory_and_machine_are_those_of_training_in_every_session(monkeypatch, capsys):
    clock = Clock()
    clock.on_train_begin(None, None, None)
    first = clock.state()["attributes"]
    assert first["peaks"]["peak_rss_mib"] > 0 and len(first["sessions"]) == 1
    first["peaks"]["peak_rss_mib"] = 1e9  # of a process that took more
    again = Clock.from_state(clock.state() | {"attributes": first})
    monkeypatch.setattr("helpers.finetune.callbacks.versions", lambda: {"torch": "9"})
    again.on_train_begin(None, None, None)
    last = again.state()["attributes"]
    assert last["peaks"]["peak_rss_mib"] == 1e9
    assert [s["versions"] for s in last["sessions"]][1] == {"torch": "9"}
    assert "other versions than it began with" in capsys.readouterr().err


@pytest.mark.parametrize("quantised", [True, False])
def test_a_base_that_another_device_quantised_is_known(monkeypatch, quantised, caplog):
    """By its weights that are not in 4 bit; on this device all must be the same."""
    from helpers.models import ModelError, adapters

    model = build_model()
    known = {"fingerprint": "0" * 64, "model": "m"}
    known |= (
        {"quantised_on": "Another GPU", "unquantised": "a" * 64} if quantised else {}
    )
    monkeypatch.setattr(adapters, "claims", lambda _: {"base": known, "settings": {}})
    found = "a" * 64 if quantised else None
    monkeypatch.setattr(adapters, "unquantised", lambda _: found)
    if quantised:
        adapters.check_base(model, "folder")
        assert "was made on Another GPU" in caplog.text
        known["quantised_on"] = adapters.probe_device().name
    with pytest.raises(ModelError, match="with the fingerprint 00000000"):
        adapters.check_base(model, "folder")


def test_what_is_not_in_4_bit_is_hashed_alone():
    from helpers.models import unquantised

    model = build_model()
    assert unquantised(model) is None
    packed = {"layer.weight": torch.zeros(2), "layer.weight.absmax": torch.ones(2)}
    rest = {"norm.weight": torch.ones(3), "layer.weights": torch.ones(1)}
    look = lambda **more: unquantised(SimpleNamespace(state_dict=lambda: more))  # noqa: E731
    was = look(**packed, **rest)
    packed["layer.weight"] = packed["layer.weight.absmax"] = torch.full((2,), 7.0)
    assert look(**packed, **rest) == was
    assert look(**packed, **rest | {"layer.weights": torch.zeros(1)}) != was


def test_an_adapter_that_changes_nothing_is_not_published(tmp_path):
    from helpers.models import ModelError, check_trained

    adapted = get_peft_model(build_model(), LoraConfig(target_modules=["o_proj"]))
    adapted.save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="they change nothing, they were not trained"):
        check_trained(tmp_path)


def test_settings_ask_for_the_device_where_the_rehearsal_plays_it(monkeypatch):
    """tests/rehearsal/stage.py puts a card there; that tier is no part of CI."""
    card = Device("cuda", "T4", (7, 5), 14.6, 14.6)
    for asks in (config, environment):
        monkeypatch.setattr(asks, "probe_device", lambda: card)
    found = complete(Settings("data.jsonl", "out", "gpu-16gb"))
    assert found.training_config["use_cpu"] is False
