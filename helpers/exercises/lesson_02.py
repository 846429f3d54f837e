"""The checks of lesson 02's exercises."""

from helpers.exercises.checking import IN_PERCENT, Exercise, number, numeric, raises
from helpers.formatting import DataError, to_messages

LENGTHS = (60, 100, 100, 140)
PLACES, REAL = len(LENGTHS) * max(LENGTHS), sum(LENGTHS)
PROMPT, COMPLETION = [9, 41, 10], [52, 63, 74, 5]
MASKED = [-100] * len(PROMPT)
FAQ = {"q": "How long does it take?", "context": "Orders to Norway", "a": "Five days."}


def _labels(answer) -> list:
    """What the learner's function makes of a prompt and a completion, as a list."""
    labels = answer(list(PROMPT), list(COMPLETION))
    return [number(label) for label in labels]


def _chat(answer, **changes: str) -> list[dict]:
    """The chat that the learner's function makes of a record."""
    return to_messages(answer(FAQ | changes))


def _asked(answer, **changes: str) -> str:
    """What the user says in that chat."""
    return _chat(answer, **changes)[-2]["content"]


def _asks_all(answer) -> bool:
    chat, question = _chat(answer), _asked(answer)
    return (
        [message["role"] for message in chat] == ["user", "assistant"]
        and FAQ["q"] in question
        and FAQ["context"] in question
        and chat[-1]["content"] == FAQ["a"]
        and _asked(answer, context="").strip() == FAQ["q"]
    )


EXERCISES = {
    "02.1": numeric(
        "a number, the share of the batch's tokens",
        right=1 - REAL / PLACES,
        within=0.001,
        praise="Had the long example been left out, the other three would need far "
        "fewer places: this is why batches sorted by length waste so little.",
        hint="how many places does the padded batch have, and how many of them hold "
        "real tokens?",
        percent=IN_PERCENT,
        mistakes={
            "that part of the batch is real; the question is about the rest.": (
                REAL / PLACES
            ),
            "the right count of padding, divided by the real tokens. Divide by "
            "all places of the batch.": (PLACES - REAL) / REAL,
            "so many tokens are padding; what share of the batch is that?": (
                PLACES - REAL
            ),
        },
    ),
    "02.2": Exercise(
        "a function of two lists that returns a list of labels",
        right=lambda a: _labels(a) == MASKED + COMPLETION,
        praise="These are the labels that TRL built for every row of this lesson.",
        hint="the list needs one label for each token of prompt and completion: which "
        "of them should the loss see?",
        mistakes={
            "these labels train the model to write the customer's message too.": (
                lambda a: _labels(a) == PROMPT + COMPLETION
            ),
            "the last token is passed over: what would a model do that has never "
            "learnt to stop?": (
                lambda a: _labels(a) == MASKED + COMPLETION[:-1] + [-100]
            ),
            "there are fewer labels than tokens. The model still reads the prompt, "
            "so the prompt needs labels as well.": lambda a: _labels(a) == COMPLETION,
            "0 is the id of a token, and the model would learn to write it. Which "
            "number does the loss pass over?": (
                lambda a: _labels(a) == [0] * len(PROMPT) + COMPLETION
            ),
            "the labels are shifted by one place; the model does that by itself.": (
                lambda a: _labels(a)[:-1] == (MASKED + COMPLETION)[1:]
            ),
        },
    ),
    "02.3": Exercise(
        "a function of a record that returns an example",
        right=_asks_all,
        praise="A converter of a few lines and `check_file` are all that most odd "
        "formats need.",
        hint="look at what `to_messages(answer(record))` gives, once with a context "
        "and once without.",
        mistakes={
            "`to_messages` refuses this example. Call it yourself: the error names "
            "the fields it knows.": (lambda a: raises(lambda: _chat(a), DataError)),
            "the context is nowhere in the chat, and the model would have to guess "
            "where the order goes.": (
                lambda a: not any(FAQ["context"] in m["content"] for m in _chat(a))
            ),
            "the context stands in the chat, but not in the user's message.": (
                lambda a: FAQ["context"] not in _asked(a)
            ),
            "the user says the answer here. Who says what?": (
                lambda a: FAQ["a"] in _asked(a)
            ),
            "with an empty context the user's message should be the bare question.": (
                lambda a: _asked(a, context="").strip() != FAQ["q"]
            ),
        },
    ),
}
