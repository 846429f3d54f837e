"""What is trained, in which precision, how fast and how long."""

from types import SimpleNamespace

import pytest
import torch
from datasets import Dataset
from peft import IA3Config, LoraConfig, get_peft_model
from trl import SFTConfig, SFTTrainer

from helpers.config import load_profile
from helpers.models import meta_model
from helpers.preflight import check
from helpers.preflight.training import losses
from tests.models.tiny_model import build_model, build_phi3, build_tokenizer, chat
from tests.preflight.made import levels

CHECKS = [
    *("half-adapted", "half-precision", "rate-too-low", "few-updates", "accumulation")
]
PROJECTIONS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj"]


def tuned(base=None, targets="all-linear"):
    config = LoraConfig(target_modules=targets, task_type="CAUSAL_LM", r=4)
    return get_peft_model(base or build_model(), config)


def arguments(**more):
    given = {"learning_rate": 2.5e-3, "max_steps": 160, "use_cpu": True, "bf16": False}
    return SFTConfig(**given | more)


def codes(**inputs):
    return check(only=CHECKS, **inputs).codes


def test_a_healthy_run_has_no_finding():
    for targets in ("all-linear", ["q_proj", "v_proj"], r".*\.q_proj"):
        assert codes(model=tuned(targets=targets), arguments=arguments()) == set()
    report = check(model=tuned(build_phi3()), only=["half-adapted"])
    assert report.checked["half-adapted"].endswith("o_proj 2, qkv_proj 2")


@pytest.mark.parametrize("profile", ["tiny"])
def test_a_profile_has_no_finding_and_its_model_is_not_loaded(profile):
    known = load_profile(profile)
    splits = {"train": range(2000)}
    given = {"arguments": SFTConfig(**known.training_config), "splits": splits}
    report = check(profile=known, only=CHECKS, **given)
    assert report.findings == [] and [*report.checked] == CHECKS
    config = known.peft_config | {"target_modules": ["q_proj", "o_proj"]}
    object.__setattr__(known, "peft_config", config)  # it is frozen
    assert codes(profile=known, **given) == {"half-adapted"}


def test_target_modules_that_match_nothing_are_found():
    model = tuned(build_phi3(), PROJECTIONS)
    [finding] = check(model=model).findings
    assert finding.code == "half-adapted" and finding.level == "ruins"
    assert "gate_proj, k_proj, q_proj, up_proj, v_proj match no" in finding.what
    assert "gate_up_proj (2), qkv_proj (2)" in finding.what
    assert codes(model=tuned(build_phi3(), ["o_proj", "down_proj"])) == set()
    every = [*PROJECTIONS, "down_proj", "qkv_proj", "gate_up_proj"]
    assert codes(model=tuned(targets=every)) == set()  # a list for many families


@pytest.mark.parametrize(
    ("dtype", "level"), [("float16", "ruins"), ("bfloat16", "warns"), ("float32", None)]
)
def test_16_bit_weights_that_are_trained_are_found(dtype, level):
    model = tuned()
    for weight in model.parameters():
        if weight.requires_grad:
            weight.data = weight.data.to(getattr(torch, dtype))
    found = check(model=model, only=CHECKS).findings
    assert [(f.code, f.level) for f in found] == [("half-precision", level)][
        : bool(level)
    ]


def test_a_16_bit_base_is_no_finding():
    base = build_model().bfloat16()
    assert codes(model=base) == set()  # not trained, as far as one can see
    assert codes(model=tuned(base)) == set()  # PEFT's adapters are in fp32
    trained = {"arguments": arguments(learning_rate=2e-4)}
    assert codes(model=build_model().bfloat16(), **trained) == {"half-precision"}


@pytest.mark.parametrize(
    ("rate", "expected"),
    [
        *((2e-5, "warns: rate-too-low"), (2e-4, "warns: rate-too-low")),
        *((1e-3, ""), (1e-2, "")),
        *((2e-2, "warns: rate-too-high"), (2e-1, "ruins: rate-too-high")),
    ],
)
def test_a_rate_that_is_far_from_usual_is_found(rate, expected):
    given = {"arguments": arguments(learning_rate=rate), "model": tuned()}
    found = check(only=CHECKS, **given).findings
    assert [f"{f.level}: {f.code}" for f in found] == [expected][: bool(expected)]


def test_the_usual_rate_of_full_fine_tuning_is_too_low_for_lora():
    config = LoraConfig(target_modules="all-linear", task_type="CAUSAL_LM")
    given = {"model": get_peft_model(meta_model("Phi-3-mini"), config)}
    for rate, expected in ((2e-5, {"rate-too-low"}), (2e-4, set()), (1e-4, set())):
        assert codes(arguments=arguments(learning_rate=rate), **given) == expected


def test_full_fine_tuning_and_real_models_have_rates_of_their_own():
    full = {"model": build_model(), "arguments": arguments(learning_rate=2.5e-3)}
    assert codes(**full) == set()
    full["arguments"] = arguments(learning_rate=5e-2)
    assert codes(**full) == {"rate-too-high"}
    other = {"arguments": arguments(learning_rate=2e-5, optim="sgd"), "model": tuned()}
    assert codes(**other) == set()
    scaled = get_peft_model(build_model(), IA3Config(task_type="CAUSAL_LM"))
    assert codes(arguments=arguments(learning_rate=5e-2), model=scaled) == set()


def test_few_updates_are_found():
    rows = {"train": range(2000)}
    batch = {"per_device_train_batch_size": 4}
    assert codes(splits=rows, arguments=arguments(**batch)) == set()
    assert codes(splits=rows, arguments=arguments(max_steps=8)) == {"few-updates"}
    epochs = arguments(max_steps=-1, num_train_epochs=1, gradient_accumulation_steps=4)
    assert codes(splits={"train": range(20)}, arguments=epochs) == {"few-updates"}
    assert codes(splits=rows, arguments=epochs) == set()  # 2,000 / 32
    whole = arguments(max_steps=5, gradient_accumulation_steps=20)
    given = {"splits": {"train": range(32)}, "arguments": whole}
    [found] = check(**given, only=["few-updates"]).findings
    assert found.what.startswith("5 updates, 5 epochs of 32 rows")
    slow = arguments(warmup_steps=100)
    assert codes(splits=rows, arguments=slow) == {"few-updates"}
    report = check(splits={"train": []}, arguments=slow, only=["few-updates"])
    assert report.checked == {"few-updates": "no training rows"}


def test_packed_rows_make_fewer_updates():
    packed = {"packing": True, "max_length": 1000, "num_train_epochs": 1}
    packed = arguments(max_steps=-1, per_device_train_batch_size=4, **packed)
    rows = {"train": range(1000)}
    report = check(splits=rows, arguments=packed, only=["few-updates"])
    assert report.checked == {"few-updates": "not judged with packing"}
    lengths = {"train": SimpleNamespace(tokens=[100] * 1000)}
    given = {"splits": rows, "arguments": packed, "lengths": lengths}
    report = check(**given, only=["few-updates"])
    assert report.codes == {"few-updates"}
    assert "25 updates, 1 epochs of 100 packed rows" in report.findings[0].what
    lengths["train"].tokens *= 4
    assert check(**given, only=["few-updates"]).codes == set()


def test_a_model_that_takes_no_count_is_found_where_batches_are_added_up():
    model = tuned()
    split = arguments(gradient_accumulation_steps=4)
    assert codes(model=model, arguments=split) == set()
    model.get_base_model().accepts_loss_kwargs = False
    report = check(model=model, arguments=split, only=CHECKS)
    assert levels(report) == {"accumulation": "warns"}
    assert codes(model=model, arguments=arguments()) == set()


class MeanTrainer(SFTTrainer):
    """Takes the mean of each batch, as Trainer did before transformers 4.46."""

    def compute_loss(self, model, inputs, return_outputs=False, **count):
        return super().compute_loss(model, inputs, return_outputs)


class DividingTrainer(SFTTrainer):
    """Divides the mean of each batch by the number of batches itself."""

    def compute_loss(self, model, inputs, return_outputs=False, **count):
        loss = super().compute_loss(model, inputs, return_outputs)
        return loss / self.args.gradient_accumulation_steps


@pytest.fixture(scope="module", params=[SFTTrainer, MeanTrainer, DividingTrainer])
def trainer(request, tmp_path_factory):
    rows = [chat("Which?", "one " * (n + 1)) for n in range(4)]
    args = arguments(
        output_dir=str(tmp_path_factory.mktemp("run")),
        gradient_accumulation_steps=2,
        report_to=[],
        max_length=128,
    )
    made = request.param(
        model=build_model(),
        args=args,
        processing_class=build_tokenizer(),
        train_dataset=Dataset.from_list(rows),
        peft_config=LoraConfig(target_modules="all-linear", task_type="CAUSAL_LM"),
    )
    made.model_accepts_loss_kwargs = request.param is not MeanTrainer
    return made


def test_a_trainers_loss_is_measured(trainer):
    before = [*trainer._metrics["eval"]]
    report = check(trainer=trainer, only=CHECKS)
    wrong = type(trainer) is not SFTTrainer
    assert levels(report) == ({"accumulation": "ruins"} if wrong else {})
    assert report.checked["accumulation"].startswith("a loss ")
    one, split = losses(trainer)
    assert abs(one - split) < one / 3  # a mean of means, never a sum of them
    assert trainer.args.gradient_accumulation_steps == 2
    assert [*trainer._metrics["eval"]] == before


def test_a_trainers_rows_are_looked_at(trainer):
    report = check(trainer=trainer)
    assert "prompt-trained" in report.codes  # of a chat SFTTrainer trains all
    assert report.checked["nothing-trained"].startswith("the first of 4 rows trains ")
    assert report.checked["prompt-trained"].endswith(" of the tokens of 4 rows")


def test_a_trainer_whose_rows_have_no_labels_is_not_measured(trainer, monkeypatch):
    monkeypatch.setattr(trainer, "data_collator", lambda rows: {"prompt_ids": rows})
    report = check(trainer=trainer, only=CHECKS)
    assert report.findings == [] and report.checked["half-precision"] == "float32"
    assert report.checked["accumulation"] == "2 batches an update"
