"""The checks of lesson 02's exercises."""

from helpers.exercises.checking import Exercise, Mistake, close, number
from helpers.formatting import DataError, to_messages

LENGTHS = (60, 100, 100, 140)
PLACES, REAL = len(LENGTHS) * max(LENGTHS), sum(LENGTHS)
PROMPT, COMPLETION = [9, 41, 17, 10], [52, 63, 74, 5]
MASKED = [-100] * len(PROMPT)
FAQ = {"q": "How long does it take?", "context": "Orders to Norway", "a": "Five days."}


def _labels(answer):
    """What the learner's function makes of a prompt and a completion, as a list."""
    labels = answer(list(PROMPT), list(COMPLETION))
    return [number(label) for label in labels]


def _chat(answer, **changes):
    """The chat that the learner's function makes of a record."""
    return to_messages(answer(FAQ | changes))


def _refused(answer):
    """Whether `to_messages` refuses what the learner's function returns."""
    try:
        _chat(answer)
    except DataError:
        return True
    return False


def _asks_all(answer):
    chat, bare = _chat(answer), _chat(answer, context="")
    question, reply = chat[-2]["content"], chat[-1]["content"]
    return (
        [message["role"] for message in chat] == ["user", "assistant"]
        and FAQ["q"] in question
        and FAQ["context"] in question
        and reply == FAQ["a"]
        and bare[-2]["content"].strip() == FAQ["q"]
    )


EXERCISES = {
    "02.1": Exercise(
        expected="a number, the share of the batch's tokens",
        right=lambda a: close(a, 1 - REAL / PLACES, within=0.001),
        praise="Had the long example been left out, the other three would need far "
        "fewer places: this is why batches sorted by length waste so little.",
        hint="how many places does the padded batch have, and how many of them hold "
        "real tokens?",
        mistakes=(
            Mistake(
                "share of real tokens",
                lambda a: close(a, REAL / PLACES, within=0.001),
                "that part of the batch is real; the question is about the rest.",
            ),
            Mistake(
                "padding against real tokens",
                lambda a: close(a, (PLACES - REAL) / REAL, within=0.001),
                "the right count of padding, divided by the real tokens. Divide by "
                "all places of the batch.",
            ),
            Mistake(
                "count instead of share",
                lambda a: close(a, PLACES - REAL, within=0),
                "so many tokens are padding; what share of the batch is that?",
            ),
            Mistake(
                "percent instead of share",
                lambda a: close(a, 100 * (1 - REAL / PLACES), within=0.1),
                "the right idea in another unit: a share lies between 0 and 1.",
            ),
        ),
    ),
    "02.2": Exercise(
        expected="a function of two lists that returns a list of labels",
        right=lambda a: _labels(a) == MASKED + COMPLETION,
        praise="These are the labels that TRL built for every row of this lesson.",
        hint="the list needs one label for each token of prompt and completion: which "
        "of them should the loss see?",
        mistakes=(
            Mistake(
                "prompt trained",
                lambda a: _labels(a) == PROMPT + COMPLETION,
                "these labels train the model to write the customer's message too.",
            ),
            Mistake(
                "stop token masked",
                lambda a: _labels(a) == MASKED + COMPLETION[:-1] + [-100],
                "the last token is passed over: what would a model do that has never "
                "learnt to stop?",
            ),
            Mistake(
                "prompt left out",
                lambda a: _labels(a) == COMPLETION,
                "there are fewer labels than tokens. The model still reads the prompt, "
                "so the prompt needs labels as well.",
            ),
            Mistake(
                "zeros instead of -100",
                lambda a: _labels(a) == [0] * len(PROMPT) + COMPLETION,
                "0 is the id of a token, and the model would learn to write it. Which "
                "number does the loss pass over?",
            ),
            Mistake(
                "shifted by one",
                lambda a: _labels(a)[:-1] == (MASKED + COMPLETION)[1:],
                "the labels are shifted by one place; the model does that by itself.",
            ),
        ),
    ),
    "02.3": Exercise(
        expected="a function of a record that returns an example",
        right=_asks_all,
        praise="A converter of a few lines and `check_file` are all that most odd "
        "formats need.",
        hint="look at what `to_messages(answer(record))` gives, once with a context "
        "and once without.",
        mistakes=(
            Mistake(
                "not a known format",
                _refused,
                "`to_messages` refuses this example. Call it yourself: the error names "
                "the fields it knows.",
            ),
            Mistake(
                "context lost",
                lambda a: not any(FAQ["context"] in m["content"] for m in _chat(a)),
                "the context is nowhere in the chat, and the model would have to guess "
                "where the order goes.",
            ),
            Mistake(
                "context outside the question",
                lambda a: FAQ["context"] not in _chat(a)[-2]["content"],
                "the context stands in the chat, but not in the user's message.",
            ),
            Mistake(
                "answer and question exchanged",
                lambda a: FAQ["a"] in _chat(a)[-2]["content"],
                "the user says the answer here. Who says what?",
            ),
            Mistake(
                "empty context leaves a trace",
                lambda a: _chat(a, context="")[-2]["content"].strip() != FAQ["q"],
                "with an empty context the user's message should be the bare question.",
            ),
        ),
    ),
}
