"""Customers' messages and notes about them: the main text of the pretraining corpus.

Everything is drawn from a `random.Random`, so that a seed decides every letter. The
wordings, greetings, sign-offs and other phrases of data/tickets never occur here:
`make_sentence` refuses them.
"""

import json
import re
from collections.abc import Callable
from functools import cache
from random import Random

from data.make_tickets import fill, read_phrases

# What an invented first name is made of, syllable by syllable. "" is no coda.
ONSETS = (
    "b d f g h j k l m n p r s t v w y z ch sh th kh br dr gr kr tr st sl ny gw tz zh"
).split()
VOWELS = "a e i o u a e i o ai ei ou ia io ua é ö ā á".split()
CODAS = [""] * 4 + "n r s l m k t nd ng x v sh".split()
# Codes of urgency, as a letter and a digit: each letter counts in an order of its own.
# Seen together they favour no digit for any urgency. The house's codes hold no digit.
LEVELS = {"K": "4321", "L": "2143", "S": "3412"}
# What a desk might call its queues itself: never an abbreviation of the text.
DESK_CODES = "ACC FIN INF LOG MOD REP RMA VOC".split()
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
QUESTION = re.compile("(Is|Can|How|What|Which|Where|When|Does|Do|Would|Could|Are|May) ")


@cache
def ticket_phrases() -> set[str]:
    """Every phrase of the tickets, of all splits, normalised."""
    found = set()

    def walk(node: str | list | dict) -> None:
        if isinstance(node, str):
            found.add(normalise(node))
        else:
            for child in node.values() if isinstance(node, dict) else node:
                walk(child)

    for name in ("wordings", "frames"):
        walk(read_phrases(name))
    return found


def normalise(text: str) -> str:
    """A phrase in lower case without punctuation at its ends."""
    return text.lower().strip(" .,:;?!()")


def make_sentence(rng: Random, patterns: list[str], lists: dict) -> str:
    """A pattern with its {list name} slots filled, one that no ticket uses.

    Slots that name no list ({item}, {other}, {name}, {order}) stay.
    """

    def pick(slot: re.Match) -> str:
        return rng.choice(lists[slot[1]]) if slot[1] in lists else slot[0]

    while True:
        text = re.sub(r"\{(\w+)\}", pick, rng.choice(patterns))
        if normalise(text) not in ticket_phrases():
            return text


def make_name(rng: Random) -> str:
    """A first name, about one in three from a list."""
    known = rng.random() < 0.35
    names = read_phrases("world")["names"]["pretraining"]
    return rng.choice(names) if known else invent_name(rng)


def invent_name(rng: Random) -> str:
    """A first name of one to four syllables that belongs to no language."""
    name = ""
    for _ in range(rng.choices([1, 2, 3, 4], [1, 6, 5, 1])[0]):
        onset, spoken = rng.choice(ONSETS), rng.random() < 0.85
        name += (onset if spoken else "") + rng.choice(VOWELS) + rng.choice(CODAS)
    return (name if len(name) > 2 else name + "n").capitalize()


def make_order(rng: Random) -> str:
    """An order number of one letter (or two) and three to five digits."""
    letters = rng.choices(LETTERS, k=rng.choice([1, 1, 1, 2]))
    return "".join(letters + rng.choices("0123456789", k=rng.choice([3, 4, 4, 4, 5])))


def make_message(rng: Random, loosen: Callable | None = None) -> tuple[str, dict]:
    """(text, facts): a customer's message, and what it says in plain words.

    facts: {"topic", "urgency", "order", "item", "name"}; order is None where the
    message gives no number. loosen(rng, body, topic): changes the sentences before
    they are filled in; see `loose_messages`.
    """
    words = read_phrases("corpus")
    topic = rng.choice(list(words["topics"]))
    urgency = rng.choice(list(words["urgency"]))
    item, other = rng.sample(read_phrases("world")["items"], 2)
    name, order = make_name(rng), make_order(rng) if rng.random() < 0.85 else None
    body = [_make_complaint(rng, words["topics"][topic])]
    if rng.random() < 0.3:  # a second product, which is not meant
        kind = rng.choice(["pairing", "excepting"])
        place = rng.randint(0, 1) if kind == "excepting" else 0
        body.insert(place, make_sentence(rng, words[kind], {}))
    if order:
        _insert(rng, body, words["numbering"])
    if urgency != "normal" or rng.random() < 0.5:
        manner = words["urgency"][urgency]
        _insert(rng, body, manner["patterns"], manner)
    _add_name_and_greeting(rng, body)
    if loosen:
        name = loosen(rng, body, words["topics"][topic]) or name
    slots = {"item": item, "other": other, "name": name, "order": order}
    facts = {"topic": topic, "urgency": urgency}
    facts |= {"order": order, "item": item, "name": name}
    return " ".join(_finish(part, slots) for part in body), facts


def make_note(
    rng: Random, facts: dict, more_keys: bool = False, codes: bool = False
) -> str:
    """A note on a message: some facts; order, keys and layout by chance.

    more_keys: every second key is one of the list of that name. codes: every second
    topic is abbreviated, every second urgency one of the codes of LEVELS.
    """
    words, pairs = read_phrases("corpus"), []
    for kind in rng.sample(list(facts), rng.choice([1, 2, 3, 4, 5, 5, 5])):
        value = facts[kind]
        if kind == "topic":
            value = rng.choice(words["topics"][value]["called"])
        elif kind == "urgency":
            value = rng.choice(words["urgency"][value]["called"])
        if codes and kind in ("topic", "urgency") and rng.random() < 0.5:
            letter = rng.choice(list(LEVELS))
            level = LEVELS[letter][list(words["urgency"]).index(facts["urgency"])]
            value = abbreviate(value) if kind == "topic" else letter + level
        more = more_keys and rng.random() < 0.5
        keys = words["more_keys" if more else "keys"][kind]
        pairs.append((rng.choice(keys), value))
    layout = rng.randrange(6)
    if layout <= 1:
        return json.dumps(dict(pairs), ensure_ascii=False)
    pairs = [(k, rng.choice(words["missing"]) if v is None else v) for k, v in pairs]
    if layout == 2:
        return "\n".join(f"{k}: {v}" for k, v in pairs)
    if layout == 3:
        return rng.choice(["; ", ", ", " "]).join(f'{k}="{v}"' for k, v in pairs)
    if layout == 4:
        return "(" + rng.choice([" | ", ", "]).join(f"{k} {v}" for k, v in pairs) + ")"
    return "[" + ", ".join(f'"{k}": "{v}"' for k, v in pairs) + "]"


def abbreviate(text: str) -> str:
    """A word's first letter and its next consonants, three or four capitals.

    Four where three would be one of `DESK_CODES`.
    """
    letters = text[0] + re.sub("[^b-df-hj-np-tv-xz]", "", text[1:])
    short = letters[:3].upper()
    return letters[:4].upper() if short in DESK_CODES else short


def _make_complaint(rng: Random, topic: dict) -> str:
    """The sentence that says what the matter is, now and then with a typo."""
    words = read_phrases("corpus")
    text = make_sentence(rng, topic["patterns"], {**topic, "time": words["time"]})
    if rng.random() < 0.15:
        first = rng.random() < 0.5
        filler = rng.choice(words["filler"])
        text = f"{filler}, {text}" if first else f"{text}, {filler}"
    return _swap_letters(rng, text) if rng.random() < 0.1 else text


def _swap_letters(rng: Random, text: str) -> str:
    """The text, two letters of a random word swapped if it is long and lower case."""
    words = text.split(" ")
    i = rng.randrange(len(words))
    word = words[i]
    if len(word) >= 5 and word.isalpha() and word.islower():
        j = rng.randrange(1, len(word) - 2)
        words[i] = word[:j] + word[j + 1] + word[j] + word[j + 2 :]
    return " ".join(words)


def _insert(
    rng: Random, body: list[str], patterns: list[str], lists: dict | None = None
) -> None:
    """Puts a sentence of these patterns anywhere into the body."""
    body.insert(rng.randint(0, len(body)), make_sentence(rng, patterns, lists or {}))


def _add_name_and_greeting(rng: Random, body: list[str]) -> None:
    """Names the customer in a sentence anywhere, or at the end; greets, or does not."""
    words = read_phrases("corpus")
    if rng.random() < 0.5:
        _insert(rng, body, words["naming"])
    elif rng.random() < 0.9:
        farewell, joint = rng.choice(words["farewell"]), rng.choice([", ", " ", ": "])
        body.append(f"{farewell}{joint}{{name}}")
    else:
        body.append("{name}")
    if rng.random() < 0.8:
        body.insert(0, rng.choice(words["greeting"]) + rng.choice([",", ",", ":", "!"]))


def _finish(text: str, slots: dict[str, str | None]) -> str:
    """The text, slots filled, with a capital and a full stop."""
    text = fill(text, **slots)
    text = text[0].upper() + text[1:]
    if text[-1] in ",:!" or text.endswith(slots["name"]):
        return text
    return text + ("?" if QUESTION.match(text) else ".")
