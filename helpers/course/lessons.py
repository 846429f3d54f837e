"""What each lesson holds at its worst moment on a card, and its minutes: predicted.

lessons.yaml says what lessons do. Bytes are those of `helpers.memory.predict`, and of
the cache of keys and values in batches as the course sizes them. Seconds follow from
arithmetic and from bytes read, at the shares of a card's peaks below. Downloads are
left out.
"""

from dataclasses import dataclass
from functools import lru_cache
from math import ceil
from pathlib import Path

import yaml

from helpers import UserError
from helpers.config import GIB, read_profiles
from helpers.evaluation import batch_that_fits, cache_bytes
from helpers.memory import CONTEXT, check_choice, predict
from helpers.models import CONFIGS, linear_shapes, meta_model

LESSONS = Path(__file__).with_name("lessons.yaml")
# Tokens of the course's data: the longest row, a row on average with its padding, the
# longest prompt, an answer at most. Rows of an epoch.
ROW, MEAN, PROMPT, ANSWER, EPOCH = 160, 110, 100, 56, 2000
# The shares of a card's peaks that training and reading weights are taken to reach; the
# seconds that Python needs at least to start the kernels of one decode step.
OF_FLOPS, OF_BANDWIDTH, LAUNCH = 0.30, 0.60, 0.03
# A 4-bit weight is read, written in 16 bit, and read again for its matrix product.
UNPACKED = 0.5 + 2 + 2  # bytes
DISK = 0.5e9  # bytes a second, of loading and saving
START = 40  # seconds of a lesson's imports, tokens and figures


@dataclass(frozen=True)
class Card:
    """A GPU. gib: the usable memory; flops, bandwidth: its peaks a second, 16 bit."""

    name: str
    gib: float
    flops: float
    bandwidth: float


# Arithmetic without sparsity and bandwidth are those of NVIDIA's data sheets.
CARDS = {
    "gpu-16gb": Card("T4", 14.6, 65e12, 300e9),
    "gpu-24gb": Card("L4", 22.0, 121e12, 300e9),
    "gpu-80gb": Card("A100", 79.0, 312e12, 2039e9),
}


@dataclass(frozen=True)
class Moment:
    """What a lesson does, the bytes in use meanwhile, and the seconds that it takes."""

    name: str
    bytes: int
    seconds: float = 0.0


class Plan:
    """The moments of a lesson with one model of a profile, on the profile's card.

    method: "lora" for a base in 16 bit, "qlora" for one in 4 bit. An adapter counts
    with its gradients and optimizer, which stay after training.
    """

    def __init__(self, profile: str, key: str = "model") -> None:
        entry = read_profiles()[profile]
        self.card, self.moments = CARDS[profile], []
        self.training, self.name = entry["training_config"], config_name(entry[key])
        self.model, self.layers = _shapes(self.name)
        self.batch = self.training["per_device_train_batch_size"]
        self.rank = entry["peft_config"]["r"]

    def note(self, name: str, size: float, seconds: float = 0.0) -> None:
        """Adds a moment. size: bytes, without those of CUDA itself."""
        self.moments.append(Moment(name, int(size) + CONTEXT, seconds))

    def parts(self, method: str, checkpointing: bool = False) -> dict[str, int]:
        """What a training step takes, by part."""
        run = {"rank": self.rank, "checkpointing": checkpointing, "padded": True}
        return predict(self.name, method, self.batch, ROW, **run).parts

    def weights(self, method: str = "lora") -> int:
        """Bytes of the base alone."""
        return self.parts(method)["weights"]

    def held(self, method: str = "lora") -> int:
        """Bytes of a base and an adapter, and what its training leaves beside them."""
        kept = ("weights", "adapter", "gradients", "optimizer")
        return sum(self.parts(method)[part] for part in kept)

    def wait(self, seconds: float) -> None:
        self.note("no model on the card", 0, seconds)

    def load(self, method: str = "lora") -> None:
        self.note("loading", self.weights(method), self.weights() / DISK)

    def train(
        self, updates: int = 0, method: str = "lora", tight: bool = False
    ) -> None:
        """updates: 0 for one epoch; tight: with checkpointing where it must, to fit."""
        saves, room = self.training["activation_checkpointing"], self.card.gib * GIB
        size = sum(self.parts(method, saves).values())
        if tight and size + CONTEXT > room:
            saves = True
            size = sum(self.parts(method, saves).values())
        steps = self.training["gradient_accumulation_steps"]
        steps *= updates or ceil(EPOCH / self.batch / steps)
        # Each pass takes 2 FLOP a weight and token. There is one forward, one backward
        # for the inputs alone, and with checkpointing another forward.
        passes = 3 if saves else 2
        seconds = passes * self._arithmetic(MEAN * self.batch)
        if method == "qlora":
            seconds += passes * self._reading(UNPACKED * sum(self.layers))
        self.note("training", size, steps * seconds)

    def answer(
        self,
        rows: int,
        method: str = "lora",
        batch: int | None = None,
        prompt: int = PROMPT,
        new: int = ANSWER,
        beside: float = 0,
    ) -> None:
        """batch: None for what fits; prompt, new: tokens; beside: bytes of others."""
        held, tokens = beside + self.held(method), prompt + new
        free = int(self.card.gib * GIB - CONTEXT - held)
        batch = min(rows, batch or batch_that_fits(self.model, tokens, free))
        weights = UNPACKED * sum(self.layers) if method == "qlora" else self.weights()
        cache = batch * tokens * cache_bytes(self.model)
        step = max(LAUNCH, self._reading(weights + cache))
        seconds = ceil(rows / batch) * new * step + self._arithmetic(rows * prompt)
        size = held + answering_bytes(self.model, batch, prompt, new)
        self.note(f"{batch} answers at once", size, seconds)

    def compare(self, rows: int, wide: int, method: str = "lora") -> None:
        """One pass, with the logits of all tokens in so many bytes each."""
        config, tokens = self.model.config, rows * ROW
        size = tokens * config.vocab_size * wide + reading_bytes(config, tokens)
        self.note("all logits", self.held(method) + size)

    def merge(self, method: str = "lora") -> None:
        """The change of the largest weight stands there twice, in fp32."""
        self.note("merging", self.held(method) + 2 * 4 * max(self.layers))

    def merge_all(self, rows: int, wide: int) -> None:
        """Logits of an adapter in the restored, the original and the 4-bit base."""
        self.load("qlora")
        # Restoring keeps each 4-bit layer until the last one is unpacked.
        packed = self.weights("qlora") - (self.weights() - 2 * sum(self.layers))
        self.note("unpacking", self.weights() + packed + 2 * 2 * max(self.layers))
        for method in ("lora", "qlora"):
            self.load(method)
            self.merge(method)
            self.compare(rows, wide, method)

    def finetune(self, updates: int = 0) -> None:
        """As `helpers.finetune` makes a lesson's adapter, with 20 validation rows."""
        self.load()
        self.train(updates)
        self.answer(2 * 20)

    def _arithmetic(self, tokens: int) -> float:
        """The seconds of one pass over so many tokens."""
        flops = 2 * self.model.num_parameters() * tokens
        return flops / (OF_FLOPS * self.card.flops)

    def _reading(self, size: float) -> float:
        """The seconds in which so many bytes arrive."""
        return size / (OF_BANDWIDTH * self.card.bandwidth)


@lru_cache
def _shapes(name: str) -> tuple:
    """(the model without data, in 16 bit, [weights of each linear layer])."""
    model = meta_model(name).bfloat16()
    return model, [d_in * d_out for d_in, d_out in linear_shapes(model).values()]


def training_run(profile: str, key: str, method: str, card: Card) -> tuple[str, Moment]:
    """(the model's name, one epoch of the tickets) with a profile on a card."""
    plan = Plan(profile, key)
    plan.card = card
    plan.train(method=method)
    return plan.name, plan.moments[-1]


def answering_bytes(model, batch: int, prompt: int, new: int) -> int:
    """Bytes beside the weights, where prompts are read or the last token is written.

    The cache grows by copies, one layer after the other.
    """
    token = batch * cache_bytes(model)
    read = prompt * token + reading_bytes(model.config, batch * prompt)
    copied = (prompt + new) * token // model.config.num_hidden_layers
    return max(read, (prompt + new) * token + copied)


def reading_bytes(config, tokens: int) -> int:
    """Bytes that a layer takes to read so many tokens, without gradients.

    The MLP's last projection to the inner width takes most: its output in 16 bit, and
    in fp32 the adapter's, scaled, and the sum of both; where it is not fused with the
    gate, that one's output too. What the hidden state takes meanwhile was counted.
    """
    inner = (2 if config.model_type == "phi3" else 1.2) * config.intermediate_size
    return int(tokens * ((2 + 4 + 4) * inner + 12 * config.hidden_size))


def config_name(model: str) -> str:
    """The name in `models.CONFIGS` of a model on the Hub. Raises UserError."""
    for name in CONFIGS:
        if model.rpartition("/")[2].startswith(name):
            return name
    raise UserError(f"no configuration is written out for {model!r}: add it to CONFIGS")


@lru_cache
def moments(profile: str) -> dict[str, list[Moment]]:
    """{lesson: its moments} on a profile's card. Raises UserError."""
    check_choice("profile", profile, CARDS)
    found = {}
    for lesson, steps in yaml.safe_load(LESSONS.read_text(encoding="utf-8")).items():
        plan = Plan(profile, "qlora_model" if "qlora" in lesson else "model")
        for step in steps:
            [(name, value)] = (step if isinstance(step, dict) else {step: {}}).items()
            do = getattr(plan, name)
            do(**value) if isinstance(value, dict) else do(value)
        found[lesson] = plan.moments
    return found


def lesson_peaks(profile: str) -> dict[str, Moment]:
    """{lesson: the moment that takes most} on a profile's card. Raises UserError."""
    lessons = moments(profile).items()
    return {name: max(found, key=lambda m: m.bytes) for name, found in lessons}


def lesson_minutes(profile: str) -> dict[str, float]:
    """{lesson: minutes} on a profile's card, without downloads. Raises UserError."""
    lessons = moments(profile).items()
    return {name: (START + sum(m.seconds for m in f)) / 60 for name, f in lessons}
