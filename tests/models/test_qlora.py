"""An evaluation must not change 4-bit training: the CPU trap, and its cure.

On CPUs with AVX512-BF16, bitsandbytes 0.50.2 repacks 4-bit weights in place at the
first forward pass in evaluation mode; no gradient comes through them any more.
"""

import pytest
import torch
from bitsandbytes.nn import Linear4bit
from bitsandbytes.nn.modules import has_avx512bf16
from peft import LoraConfig, get_peft_model
from trl import SFTConfig, SFTTrainer

from helpers import models
from helpers.config import load_profile
from helpers.formatting.batches import collate, encode
from helpers.formatting.splits import load_splits
from helpers.models import loading

pytestmark = pytest.mark.filterwarnings("ignore:.*an autograd kernel was not reg")
needs_repacking = pytest.mark.skipif(
    not has_avx512bf16(),
    reason="bitsandbytes repacks weights only where the CPU has AVX512-BF16",
)


@pytest.fixture(scope="module")
def splits():
    return load_splits("data/tickets")


@pytest.fixture
def uncured(monkeypatch):
    """`load_model` without the cure."""
    monkeypatch.setattr(loading, "keep_4bit_layout", lambda model: None)


def layers(model):
    return [module for module in model.modules() if isinstance(module, Linear4bit)]


def bytes_of(model):
    """Copies of the packed codes of every 4-bit layer."""
    return [layer.weight.data.clone() for layer in layers(model)]


def test_the_cure_reaches_every_4bit_layer_and_nothing_else(profile):
    model = models.load_model(profile, quantized=True)
    flags = [layer.support_avx512bf16_for_cpu for layer in layers(model)]
    assert len(flags) == 28 and not any(flags)
    plain = load_profile("tiny", model=profile.qlora_model)
    untouched = models.load_model(plain)
    before = models.fingerprint(untouched)
    loading.keep_4bit_layout(untouched)
    assert models.fingerprint(untouched) == before


class Case:
    """tiny-llama in 4 bits with a fresh adapter, and a batch of real examples."""

    def __init__(self, profile, splits):
        tokenizer = models.load_tokenizer(profile, quantized=True)
        rows = [encode(tokenizer, splits["train"][i]) for i in range(4)]
        self.batch = collate(tokenizer, rows)
        base = models.load_model(profile, quantized=True)
        torch.manual_seed(0)
        self.model = get_peft_model(base, LoraConfig(**profile.peft_config))

    def gradient(self):
        self.model.train().zero_grad()
        self.model(**self.batch, use_cache=False).loss.backward()
        trained = [w for w in self.model.parameters() if w.requires_grad]
        return torch.cat([w.grad.flatten() for w in trained]).double()

    def evaluate(self):
        self.model.eval()
        with torch.no_grad():
            return self.model(**self.batch, use_cache=False).loss.item()

    def cosine(self):
        """Of the gradient before and after an evaluation."""
        before = self.gradient()
        self.evaluate()
        return torch.cosine_similarity(before, self.gradient(), dim=0).item()


def test_gradients_and_bytes_survive_an_evaluation(profile, splits):
    case = Case(profile, splits)
    before = bytes_of(case.model)
    nested = [layer.weight.quant_state.nested for layer in layers(case.model)]
    assert all(nested)
    assert case.cosine() > 0.999
    assert all(map(torch.equal, before, bytes_of(case.model)))
    assert all(layer.weight.quant_state.nested for layer in layers(case.model))


@needs_repacking
def test_gradients_and_bytes_break_without_the_cure(profile, splits, uncured):
    case = Case(profile, splits)
    before = bytes_of(case.model)
    assert case.cosine() < 0.9
    assert not any(map(torch.equal, before, bytes_of(case.model)))
    # It also undoes double quantisation: the saving is gone after an evaluation.
    assert not any(layer.weight.quant_state.nested for layer in layers(case.model))


@needs_repacking
def test_the_cure_comes_too_late_after_an_evaluation(profile, splits, uncured):
    """Why `load_model` applies it: before any forward pass."""
    case = Case(profile, splits)
    healthy = case.gradient()
    case.evaluate()
    for layer in layers(case.model):
        layer.support_avx512bf16_for_cpu = False
    after = torch.cosine_similarity(healthy, case.gradient(), dim=0)
    assert after.item() < 0.9


def trained_weights(profile, splits, folder, eval_strategy):
    """The adapter after four steps of TRL, with or without evaluations between."""
    config = profile.training_config | {
        "output_dir": str(folder),
        "max_steps": 4,
        "eval_strategy": eval_strategy,
        "eval_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
    }
    trainer = SFTTrainer(
        model=models.load_model(profile, quantized=True),
        args=SFTConfig(**config),
        train_dataset=splits["train"].select(range(16)),
        eval_dataset=splits["validation"].select(range(4)),
        processing_class=models.load_tokenizer(profile, quantized=True),
        peft_config=LoraConfig(**profile.peft_config),
    )
    models.train_in_float32(trainer.model)
    trained = [w for w in trainer.model.parameters() if w.requires_grad]
    trainer.train()
    return torch.cat([weight.detach().flatten() for weight in trained])


@pytest.mark.slow
def test_a_run_with_evaluations_is_the_run_without(profile, splits, tmp_path):
    plain = trained_weights(profile, splits, tmp_path, "no")
    evaluated = trained_weights(profile, splits, tmp_path, "steps")
    assert torch.equal(plain, evaluated)


@pytest.mark.slow
@needs_repacking
def test_a_run_with_evaluations_differs_without_the_cure(
    profile, splits, tmp_path, uncured
):
    plain = trained_weights(profile, splits, tmp_path, "no")
    evaluated = trained_weights(profile, splits, tmp_path, "steps")
    assert (plain - evaluated).abs().max() > 1e-3
