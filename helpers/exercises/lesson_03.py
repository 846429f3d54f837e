"""The checks of lesson 03's exercises."""

from collections import Counter

from helpers.exercises.checking import Exercise, Mistake, close

LAYERS, WIDTH, RANK = 32, 3072, 8  # Phi-3-mini, and the rank asked for
ATTENTION = LAYERS * RANK * (WIDTH + 3 * WIDTH + WIDTH + WIDTH)  # qkv_proj, o_proj


def _top(values):
    """The share of the most frequent value."""
    counts = Counter(values)
    return max(counts.values()) / counts.total()


def _pairs(answers):
    return [(a["queue"], a["priority"]) for a in answers]


def _product(answers):
    """What the best pair would score were queue and priority independent."""
    return _top([q for q, _ in _pairs(answers)]) * _top([p for _, p in _pairs(answers)])


EXERCISES = {
    "03.1": Exercise(
        expected="a number of updates",
        right=lambda a: close(a, 3 * 8000 / (2 * 8 * 2), within=0),
        praise="Reckon in updates when you compare runs: a schedule, its warm-up and "
        "`eval_steps` all count these.",
        hint="find the examples that one update reads over all devices, then the "
        "updates of one epoch, then of the run.",
        mistakes=(
            Mistake(
                "forgot accumulation",
                lambda a: close(a, 3 * 8000 / (2 * 2), within=0),
                "that counts forward passes. How many of them make one update?",
            ),
            Mistake(
                "forgot the second GPU",
                lambda a: close(a, 3 * 8000 / (2 * 8), within=0),
                "`per_device_train_batch_size` is counted on each device, and both "
                "feed the same update.",
            ),
            Mistake(
                "one epoch only",
                lambda a: close(a, 8000 / (2 * 8 * 2), within=0),
                "that is one pass over the data; `num_train_epochs` asks for more.",
            ),
            Mistake(
                "took max_steps for a number of updates",
                lambda a: a <= 0,
                "a `max_steps` of -1 means that the epochs decide.",
            ),
        ),
    ),
    "03.2": Exercise(
        expected="a number of parameters",
        right=lambda a: close(a, ATTENTION, within=0),
        praise="PEFT counts the same: fused, the three matrices share one A, which is "
        "cheaper than three adapters on q, k and v.",
        hint="count one layer first: r x (d_in + d_out) for each of the two modules.",
        mistakes=(
            Mistake(
                "multiplied d_in by d_out",
                lambda a: (
                    close(a, LAYERS * RANK * (3 + 1) * WIDTH**2, within=0)
                    or close(a, LAYERS * (3 + 1) * WIDTH**2, within=0)
                ),
                "the product is the size of the frozen matrix. An adapter has two thin "
                "ones: how many numbers does each hold?",
            ),
            Mistake(
                "one layer only",
                lambda a: close(a, ATTENTION / LAYERS, within=0),
                "right for one layer; the model has more of them.",
            ),
            Mistake(
                "counted A alone",
                lambda a: close(a, LAYERS * RANK * 2 * WIDTH, within=0),
                "that is matrix A of each module. Matrix B goes from r to d_out.",
            ),
            Mistake(
                "three adapters on the fused projection",
                lambda a: close(a, LAYERS * RANK * 4 * 2 * WIDTH, within=0),
                "that is Llama's layout, with q, k and v apart. Here they are one "
                "module with one A.",
            ),
            Mistake(
                "square projection",
                lambda a: close(a, LAYERS * RANK * 2 * 2 * WIDTH, within=0),
                "`qkv_proj` puts out three vectors side by side: look at its d_out.",
            ),
        ),
    ),
    "03.3": Exercise(
        expected="a number, the share of the messages",
        right=lambda a, answers: close(a, _top(_pairs(answers)), within=0.0005),
        praise="A run that does not beat this on the pair has learnt no code book, "
        "however low its loss.",
        hint="which pair of codes would you always write, and how often is it right?",
        mistakes=(
            Mistake(
                "product of the two chances",
                lambda a, answers: close(a, _product(answers), within=0.0005),
                "the product holds only if queue and priority are independent. Count "
                "the pairs themselves.",
            ),
            Mistake(
                "all pairs equally frequent",
                lambda a, answers: close(a, 1 / len(set(_pairs(answers))), 0.0005),
                "that is a clerk who draws lots. This one knows which pair is the "
                "most frequent.",
            ),
            Mistake(
                "count instead of share",
                lambda a, answers: close(a, _top(_pairs(answers)) * len(answers), 0.01),
                "the right pair, counted; what share of the messages is that?",
            ),
            Mistake(
                "percent instead of share",
                lambda a, answers: close(a, _top(_pairs(answers)) * 100, within=0.05),
                "the right idea in another unit: a share lies between 0 and 1.",
            ),
            Mistake(
                "one code of the two",
                lambda a, answers: any(
                    close(a, _top([pair[k] for pair in _pairs(answers)]), 0.0005)
                    for k in (0, 1)
                ),
                "that scores one of the two codes. Both must be right on the same "
                "message.",
            ),
        ),
    ),
}
