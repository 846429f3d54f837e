"""The checks of lesson 03's exercises."""

from collections import Counter

from helpers.exercises.checking import IN_PERCENT, Number, numeric

LAYERS, WIDTH, RANK = 32, 3072, 8  # Phi-3-mini, and the rank asked for
ATTENTION = LAYERS * RANK * (WIDTH + 3 * WIDTH + WIDTH + WIDTH)  # qkv_proj, o_proj
CODES = ("queue", "priority")


def _top(answers: list[dict], *keys: str) -> float:
    """The share of the most frequent value, or combination of values, of these keys."""
    counts = Counter(tuple(answer[key] for key in keys) for answer in answers)
    return max(counts.values()) / counts.total()


EXERCISES = {
    "03.1": numeric(
        "a number of updates",
        right=3 * 8000 / (4 * 4 * 2),
        within=0,
        praise="Reckon in updates when you compare runs: a schedule, its warm-up and "
        "`eval_steps` all count these.",
        hint="find the examples that one update reads over all devices, then the "
        "updates of one epoch, then of the run.",
        mistakes={
            "that counts forward passes. How many of them make one update?": (
                3 * 8000 / (4 * 2)
            ),
            "`per_device_train_batch_size` is counted on each device, and both "
            "feed the same update.": 3 * 8000 / (4 * 4),
            "that is one pass over the data; `num_train_epochs` asks for more.": (
                8000 / (4 * 4 * 2)
            ),
            "a `max_steps` of -1 means that the epochs decide.": lambda a: a <= 0,
        },
    ),
    "03.2": numeric(
        "a number of parameters",
        right=ATTENTION,
        within=0,
        praise="PEFT counts the same: fused, the three matrices share one A, which is "
        "cheaper than three adapters on q, k and v.",
        hint="count one layer first: r x (d_in + d_out) for each of the two modules.",
        mistakes={
            "the product is the size of the frozen matrix. An adapter has two thin "
            "ones: how many numbers does each hold?": (
                LAYERS * RANK * (3 + 1) * WIDTH**2,
                LAYERS * (3 + 1) * WIDTH**2,
            ),
            "right for one layer; the model has more of them.": ATTENTION / LAYERS,
            "that is matrix A of each module. Matrix B goes from r to d_out.": (
                LAYERS * RANK * 2 * WIDTH
            ),
            "that is Llama's layout, with q, k and v apart. Here they are one "
            "module with one A.": LAYERS * RANK * 4 * 2 * WIDTH,
            "`qkv_proj` puts out three vectors side by side: look at its d_out.": (
                LAYERS * RANK * 2 * 2 * WIDTH
            ),
        },
    ),
    "03.3": numeric(
        "a number, the share of the messages",
        right=Number(lambda answers: _top(answers, *CODES)),
        within=0.0005,
        praise="A run that does not beat this on the pair has learnt no code book, "
        "however low its loss.",
        hint="which pair of codes would you always write, and how often is it right?",
        percent=IN_PERCENT,
        mistakes={
            "the product holds only if queue and priority are independent. Count "
            "the pairs themselves.": Number(
                lambda answers: _top(answers, "queue") * _top(answers, "priority")
            ),
            "that is a clerk who draws lots. This one knows which pair is the "
            "most frequent.": Number(
                lambda answers: 1 / len({(a["queue"], a["priority"]) for a in answers})
            ),
            "the right pair, counted; what share of the messages is that?": Number(
                lambda answers: _top(answers, *CODES) * len(answers)
            ),
            "that scores one of the two codes. Both must be right on the same "
            "message.": Number(
                lambda answers: (_top(answers, "queue"), _top(answers, "priority"))
            ),
        },
    ),
}
