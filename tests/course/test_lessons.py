"""What lessons are predicted to hold on the cards, and how long: all of it fits."""

import pytest
import torch

from helpers import UserError
from helpers.config import GIB, read_profiles
from helpers.course.lessons import (
    ANSWER,
    CARDS,
    PROMPT,
    Plan,
    answering_bytes,
    config_name,
    lesson_minutes,
    lesson_peaks,
)
from helpers.evaluation import cache_bytes
from helpers.files import ROOT
from helpers.models import meta_model
from tests.benchmarks.living import Living
from tests.benchmarks.memory import random_model
from tests.memory.test_memory import QWEN3, small


def too_large(moments, card):
    """The moments that the card has no room for."""
    return [moment for moment in moments if moment.bytes > card.gib * GIB]


def test_every_profile_of_a_gpu_has_a_card():
    gpus = {name: entry["needs"] for name, entry in read_profiles().items()}
    assert list(CARDS) == [name for name, needs in gpus.items() if needs]
    for name, card in CARDS.items():
        assert gpus[name]["free_gib"] < card.gib


@pytest.mark.parametrize("profile", CARDS)
def test_every_lesson_fits_its_card(profile):
    lessons = [path.stem for path in (ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb")]
    peaks = lesson_peaks(profile)
    assert list(peaks) == sorted(lessons) == list(lesson_minutes(profile))
    assert not too_large(peaks.values(), CARDS[profile]), peaks
    assert all(0 < minutes < 60 for minutes in lesson_minutes(profile).values())


BROKEN = {
    "two copies": lambda do: do.note("two", 2 * do.weights()),
    "100 answers beside a training": lambda do: do.answer(
        100, batch=100, beside=sum(do.parts("lora").values()) - do.held()
    ),
    "128 answers": lambda do: do.answer(128, batch=128, new=200),
}


@pytest.mark.parametrize("spoil", BROKEN.values(), ids=BROKEN)
def test_a_broken_plan_does_not_fit(spoil):
    plan = Plan("gpu-16gb")
    plan.load()
    plan.train()
    assert not too_large(plan.moments, plan.card)
    spoil(plan)
    assert too_large(plan.moments, plan.card) == plan.moments[-1:]


def test_the_cache_of_a_token_is_known_by_hand():
    for name, size in (("Phi-3-mini", 393_216), ("Qwen3-8B", 147_456)):
        assert cache_bytes(meta_model(name).bfloat16()) == size


def test_minutes_are_those_of_a_calculation_by_hand():
    plan = Plan("gpu-16gb")
    plan.training |= {
        "per_device_train_batch_size": 4,
        "activation_checkpointing": True,
    }
    plan.training |= {"gradient_accumulation_steps": 4}
    plan.train(updates=10)
    forward = 2 * 3_821_079_552 * 110 * 160  # FLOP of all tokens
    assert plan.moments[-1].seconds == pytest.approx(3 * forward / (0.3 * 65e12))
    plan.answer(1, batch=1, prompt=100, new=56)
    step = (2 * 3_821_079_552 + 156 * 393_216) / (0.6 * 300e9)
    read = 2 * 3_821_079_552 * 100 / (0.3 * 65e12)
    assert plan.moments[-1].seconds == pytest.approx(56 * step + read)


def test_what_is_not_known_is_refused_in_one_line():
    with pytest.raises(UserError, match="unknown profile 'tiny': use one of gpu-16gb"):
        lesson_peaks("tiny")
    with pytest.raises(UserError, match="for 'someone/Else': add it to CONFIGS"):
        config_name("someone/Else")


@pytest.mark.parametrize("kind", ["llama", "phi3", "qwen3"])
def test_answers_take_what_is_predicted(kind):
    """Every tensor alive while a model with an adapter answers, counted."""
    heads = QWEN3 if kind == "qwen3" else {}
    config = small(kind, hidden_size=64, intermediate_size=160, **heads)
    model = random_model(config, "lora", rank=4).eval()
    batch, prompt, new = 8, PROMPT, ANSWER
    ids = torch.randint(3, 300, (batch, prompt))
    with torch.no_grad(), Living(list(model.parameters())) as living:
        before = living.now
        model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            do_sample=False,
            min_new_tokens=new,
            max_new_tokens=new,
        )
    expected = answering_bytes(model, batch, prompt, new)
    assert living.peak - before == pytest.approx(expected, rel=0.1)
