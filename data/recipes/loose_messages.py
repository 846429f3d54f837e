"""The later pretraining text: messages whose sentences keep no fixed form.

A model that has only read patterns knows the patterns: it finds a name by the words
around it and a topic by the whole sentence. Here the words around names and order
numbers are random, sentences lose their small words or come in twos, and names are
spliced from the parts of others. What stays is what identifies a fact anywhere.
"""

import re
from functools import cache
from random import Random

from data.recipes.customer_messages import (
    LETTERS,
    make_message,
    make_sentence,
    read_phrases,
    ticket_phrases,
)


def make_loose_message(rng: Random, spliced: float = 0.4) -> tuple[str, dict]:
    """(text, facts) as `make_message` does, its sentences loosened.

    spliced: the share of messages whose name is made by `splice_name`.
    """

    def loosen_and_rename(rng: Random, body: list[str], topic: dict) -> str | None:
        loosen(rng, body, topic)
        return splice_name(rng) if rng.random() < spliced else None

    return make_message(rng, loosen_and_rename)


def loosen(rng: Random, body: list[str], topic: dict) -> None:
    """Loosens a message's sentences in place."""
    for i, sentence in enumerate(body):
        for slot in ("{name}", "{order}"):
            if slot in sentence and rng.random() < 0.7:
                body[i] = frame(rng, slot)
        if "{item}" in sentence and "{other}" not in sentence:
            body[i] = loosen_complaint(rng, sentence, topic)
        elif "{" not in sentence and i > 0:
            body[i] = drop_small_words(rng, sentence)


def frame(rng: Random, slot: str) -> str:
    """A slot among random small words, one that is no phrase of the tickets."""
    words = read_phrases("corpus")["connecting"]
    while True:
        before = " ".join(rng.choices(words, k=rng.choice([0, 1, 2, 2, 3, 3, 4, 5])))
        after = " ".join(rng.choices(words, k=rng.choice([0, 0, 0, 1, 2, 3])))
        joint = rng.choice([" ", " ", " ", ", ", ": ", " - ", ". "]) if before else ""
        text = before + joint + slot + (" " + after if after else "")
        said = f" {bare(before)} | {bare(after)} | {bare(text)} "
        if not any(f" {phrase} " in said for phrase in bare_phrases()):
            return f"({text})" if rng.random() < 0.1 else text


def loosen_complaint(rng: Random, sentence: str, topic: dict) -> str:
    """The sentence with another of its topic, or as keywords, or shortened."""
    draw = rng.random()
    if draw < 0.25:
        other = make_sentence(rng, topic["patterns"], topic | {"time": ["some time"]})
        other = other.replace("the {item}", rng.choice(["it", "this", "the {item}"]))
        sentence += rng.choice([", ", ". ", " and ", " - ", "; "]) + other
    elif draw < 0.4:
        lists = [topic[kind] for kind in topic if kind not in ("called", "patterns")]
        some = [rng.choice(rng.choice(lists)) for _ in range(rng.randint(2, 4))]
        some.insert(rng.randint(0, len(some)), rng.choice(["{item}", "the {item}"]))
        sentence = rng.choice([", ", " ", " and ", ". "]).join(some)
    return drop_small_words(rng, sentence)


def drop_small_words(rng: Random, sentence: str) -> str:
    """A sentence without some of its small words, if any are left."""
    small = read_phrases("corpus")["connecting"]
    kept = [w for w in sentence.split(" ") if w not in small or rng.random() > 0.15]
    text = " ".join(kept)
    pieces = {bare(piece) for piece in [text, *re.split(r"[.,;!?]| - ", text)]}
    return text if kept and not pieces & bare_phrases() else sentence


@cache
def bare_phrases() -> set[str]:
    """The tickets' phrases of two words or more, without their slots."""
    return {phrase for phrase in map(bare, ticket_phrases()) if " " in phrase}


def bare(text: str) -> str:
    """The words of a text, in lower case, without slots and punctuation."""
    return " ".join(re.findall(r"\w+", re.sub(r"\{\w+\}", "", text.lower())))


def splice_name(rng: Random) -> str:
    """The head of one listed name and the tail of another, joined."""
    head, tail = rng.choices(read_phrases("world")["names"]["pretraining"], k=2)
    between = "".join(rng.choices(LETTERS.lower(), k=rng.choice([0, 0, 1, 2])))
    name = (
        head[: rng.randint(1, len(head))] + between + tail[rng.randint(0, len(tail)) :]
    )
    name = name.replace("-", "")[:12].capitalize()
    return name if len(name) > 2 else name + "an"
