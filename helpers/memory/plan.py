"""What a lesson does on a card, moment by moment: its bytes and seconds, predicted.

Bytes are those of `predict`, and of the cache of keys and values in batches as the
course sizes them. Seconds follow from arithmetic and from bytes read, at the shares of
a card's peaks below. Downloads are left out.
"""

from dataclasses import dataclass
from functools import lru_cache
from math import ceil

from helpers import UserError
from helpers.config import GIB, read_profiles
from helpers.evaluation import batch_that_fits, cache_bytes
from helpers.memory.prediction import predict
from helpers.models import CONFIGS, linear_shapes, meta_model

# Tokens of the course's data: the longest row, a row on average with its padding, the
# longest prompt, an answer at most.
ROW, MEAN, PROMPT, ANSWER = 160, 110, 100, 56
TRAIN_ROWS = 2000
CONTEXT = int(0.6 * GIB)  # CUDA's own in a process, and what the allocator cannot use
# The shares of a card's peaks that training and reading weights are taken to reach, and
# the seconds that Python needs at least to start the kernels of one decode step.
OF_FLOPS, OF_BANDWIDTH, LAUNCH = 0.30, 0.60, 0.03
# A 4-bit weight is read, written in 16 bit, and read again for its matrix product.
UNPACKED = 0.5 + 2 + 2  # bytes
DISK = 0.5e9  # bytes a second, of loading and saving


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
    """The moments of a lesson, with one model of a profile on the profile's card.

    method, in what follows: "lora" for a base in 16 bit, "qlora" for one in 4 bit. An
    adapter counts with its gradients and optimizer, which stay after training.
    """

    def __init__(self, profile: str, key: str = "model") -> None:
        entry = read_profiles()[profile]
        self.card, self.moments = CARDS[profile], []
        self.training, self.name = entry["training_config"], config_name(entry[key])
        self.model, self.layers = _shapes(self.name)
        self.rank = entry["peft_config"]["r"]

    def parts(self, method: str, checkpointing: bool = False) -> dict[str, int]:
        """What a training step takes, by part."""
        batch = self.training["per_device_train_batch_size"]
        run = {"rank": self.rank, "checkpointing": checkpointing, "padded": True}
        return predict(self.name, method, batch, ROW, **run).parts

    def note(self, name: str, size: float, seconds: float = 0.0) -> None:
        """Adds a moment. size: bytes, without those of CUDA itself."""
        self.moments.append(Moment(name, int(size) + CONTEXT, seconds))

    def load(self, method: str = "lora") -> None:
        """From the base's 16-bit files."""
        self.note("loading", self.weights(method), self.weights("lora") / DISK)

    def train(
        self, updates: int = 0, method: str = "lora", tight: bool = False
    ) -> None:
        """updates: 0 for one epoch; tight: with checkpointing if it must be, to fit."""
        checkpointing = self.training["activation_checkpointing"]
        if tight and not checkpointing:
            size = sum(self.parts(method).values())
            checkpointing = size + CONTEXT > self.card.gib * GIB
        batch = self.training["per_device_train_batch_size"]
        steps = self.training["gradient_accumulation_steps"]
        updates = updates or ceil(TRAIN_ROWS / batch / steps)
        # Each pass takes 2 FLOP a weight and token. There is one forward, one backward
        # for the inputs alone, and with checkpointing another forward.
        passes = 3 if checkpointing else 2
        flops = passes * 2 * self.model.num_parameters() * MEAN * batch
        seconds = flops / (OF_FLOPS * self.card.flops)
        if method == "qlora":
            seconds += passes * self._read(UNPACKED * sum(self.layers))
        size = sum(self.parts(method, checkpointing).values())
        self.note("training", size, updates * steps * seconds)

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
        held = beside + self._held(method)
        free = int(self.card.gib * GIB - CONTEXT - held)
        batch = min(rows, batch or batch_that_fits(self.model, prompt + new, free))
        cache = batch * (prompt + new) * cache_bytes(self.model)
        size = held + answering_bytes(self.model, batch, prompt, new)
        weights = self.weights("lora")
        if method == "qlora":
            weights = UNPACKED * sum(self.layers)
        seconds = ceil(rows / batch) * new * max(LAUNCH, self._read(weights + cache))
        flops = 2 * self.model.num_parameters() * rows * prompt
        seconds += flops / (OF_FLOPS * self.card.flops)
        self.note(f"{batch} answers at once", size, seconds)

    def compare(self, rows: int, length: int = ROW, method: str = "lora") -> None:
        """One pass with the logits of all tokens, and their softmax in fp32."""
        config, tokens = self.model.config, rows * length
        size = tokens * config.vocab_size * (2 + 4 + 4) + reading_bytes(config, tokens)
        self.note("all logits", self._held(method) + size)

    def merge(self, method: str = "lora") -> None:
        """The change of the largest weight stands there twice, in fp32."""
        self.note("merging", self._held(method) + 2 * 4 * max(self.layers))

    def unpack(self) -> None:
        """A 4-bit base to 16 bit: each layer stays until the last one is unpacked."""
        self.load("qlora")
        packed = self.weights("qlora") + 2 * sum(self.layers) - self.weights("lora")
        size = self.weights("lora") + packed + 2 * 2 * max(self.layers)
        self.note("unpacking", size)

    def save(self) -> None:
        """The merged model."""
        self.note("saving", self._held("lora"), self.weights("lora") / DISK)

    def serve(self, seconds: float) -> None:
        """A server in a process of its own, while the lesson's holds nothing more."""
        cache = 8192 * cache_bytes(self.model)  # tokens, as helpers.serving asks for
        size = self.weights("lora") + cache + reading_bytes(self.model.config, 512)
        self.note("the server", CONTEXT + size, seconds)

    def weights(self, method: str) -> int:
        """Bytes of the base alone."""
        return self.parts(method)["weights"]

    def _held(self, method: str) -> int:
        """Bytes of a base and an adapter, and what its training leaves beside them."""
        kept = ("weights", "adapter", "gradients", "optimizer")
        parts = self.parts(method)
        return sum(parts[part] for part in kept)

    def _read(self, size: float) -> float:
        """The seconds in which so many bytes arrive."""
        return size / (OF_BANDWIDTH * self.card.bandwidth)


@lru_cache
def _shapes(name: str) -> tuple:
    """(the model without data, in 16 bit, [weights of each linear layer])."""
    model = meta_model(name).bfloat16()
    return model, [d_in * d_out for d_in, d_out in linear_shapes(model).values()]


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
