"""The pretraining text of the tiny checkpoints: a small synthetic world, generated from a seed.

Four kinds of document: a customer's message with notes about it, copying exercises, look-up exercises, and lists of
words that belong together. The house format of the tickets (its keys, its codes, a chat template) never occurs, and no
wording, greeting, sign-off or other phrase of data/tickets does: `sentence` refuses them.
"""

import json
import random
import re
from functools import cache

import yaml

from helpers.config import ROOT

# Both chat templates' special tokens. They occur in the text as neutral separators, so their embeddings are trained;
# a token that pretraining never saw cannot be emitted after LoRA, which does not train embeddings.
END_TOKENS = ["<|end_of_text|>", "<|eot_id|>", "<|endoftext|>", "<|end|>"]
START_TOKENS = ["<|begin_of_text|>", "<s>"]
MARK_TOKENS = ["<|start_header_id|>", "<|end_header_id|>", "<|system|>", "<|user|>", "<|assistant|>"]
PAD_TOKENS = ["<|finetune_right_pad_id|>", "<unk>"]  # never in the text
SPECIAL_TOKENS = START_TOKENS + END_TOKENS + MARK_TOKENS + PAD_TOKENS

ONSETS = "b d f g h j k l m n p r s t v w y z ch sh th kh br dr gr kr tr st sl ny gw tz zh".split()
VOWELS = "a e i o u a e i o ai ei ou ia io ua é ö ā á".split()
CODAS = ["", "", "", "", "n", "r", "s", "l", "m", "k", "t", "nd", "ng", "x", "v", "sh"]
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


@cache
def load_words():
    """Return (corpus lists, items, training names) from data/phrases."""
    folder = ROOT / "data" / "phrases"
    words, world = (yaml.safe_load((folder / f).read_text(encoding="utf-8")) for f in ("corpus.yaml", "world.yaml"))
    return words, world["items"], world["names"]["train"]


@cache
def ticket_phrases():
    """Return every phrase of the tickets, of all splits, normalised: the text that must not occur here."""
    folder = ROOT / "data" / "phrases"
    found = set()

    def walk(node):
        if isinstance(node, str):
            found.add(normalise(node))
        else:
            for child in node.values() if isinstance(node, dict) else node:
                walk(child)

    for name in ("wordings", "frames"):
        walk(yaml.safe_load((folder / f"{name}.yaml").read_text(encoding="utf-8")))
    return found


def normalise(text):
    """Return a phrase in lower case without punctuation at its ends, to compare it with others."""
    return text.lower().strip(" .,:;?!()")


def expand(rng, text, lists):
    """Replace each {slot} that names a list by a random entry; other slots ({item}, {name}, ...) stay."""
    return re.sub(r"\{(\w+)\}", lambda m: rng.choice(lists[m[1]]) if m[1] in lists else m[0], text)


def sentence(rng, patterns, lists):
    """Return one filled pattern that no ticket phrase equals."""
    while True:
        text = expand(rng, rng.choice(patterns), lists)
        if normalise(text) not in ticket_phrases():
            return text


def make_name(rng):
    """Return a first name: half of them known, half made of syllables from nowhere."""
    if rng.random() < 0.35:
        return rng.choice(load_words()[2])
    syllables = rng.choices([1, 2, 3, 4], [1, 6, 5, 1])[0]
    name = "".join(rng.choice(ONSETS) * (rng.random() < 0.85) + rng.choice(VOWELS) + rng.choice(CODAS) for _ in range(syllables))
    return (name if len(name) > 2 else name + "n").capitalize()


def make_order(rng):
    """Return an order number of one letter (or two) and three to five digits."""
    return "".join(rng.choices(LETTERS, k=rng.choice([1, 1, 1, 2]))) + "".join(rng.choices("0123456789", k=rng.choice([3, 4, 4, 4, 5])))


def _typo(rng, text):
    words = text.split(" ")
    i = rng.randrange(len(words))
    if len(words[i]) >= 5 and words[i].isalpha() and words[i].islower():
        j = rng.randrange(1, len(words[i]) - 2)
        words[i] = words[i][:j] + words[i][j + 1] + words[i][j] + words[i][j + 2 :]
    return " ".join(words)


def make_message(rng):
    """Return (text, facts): a customer's message and {topic, urgency, order, item, name} in plain words."""
    words, items, _ = load_words()
    topic, urgency = rng.choice(list(words["topics"])), rng.choice(list(words["urgency"]))
    item, other = rng.sample(items, 2)
    name, order = make_name(rng), make_order(rng) if rng.random() < 0.85 else None
    about = words["topics"][topic]
    body = [sentence(rng, about["patterns"], {**about, "time": words["time"]})]
    if rng.random() < 0.15:
        body[0] = f"{rng.choice(words['filler'])}, {body[0]}" if rng.random() < 0.5 else f"{body[0]}, {rng.choice(words['filler'])}"
    if rng.random() < 0.1:
        body[0] = _typo(rng, body[0])
    if rng.random() < 0.3:
        kind = rng.choice(["pairing", "excepting"])
        body.insert(rng.randint(0, 1) if kind == "excepting" else 0, sentence(rng, words[kind], {}))
    if order:
        body.insert(rng.randint(0, len(body)), sentence(rng, words["numbering"], {}))
    if urgency != "normal" or rng.random() < 0.5:
        manner = words["urgency"][urgency]
        body.insert(rng.randint(0, len(body)), sentence(rng, manner["patterns"], manner))
    if rng.random() < 0.5:
        body.insert(rng.randint(0, len(body)), sentence(rng, words["naming"], {}))
    else:
        body.append(rng.choice(words["farewell"]) + rng.choice([", ", " ", ": "]) + "{name}" if rng.random() < 0.9 else "{name}")
    if rng.random() < 0.8:
        body.insert(0, rng.choice(words["greeting"]) + rng.choice([",", ",", ":", "!"]))
    slots = {"item": item, "other": other, "name": name, "order": order}
    facts = {"topic": topic, "urgency": urgency, "order": order, "item": item, "name": name}
    return " ".join(_finish(rng, part, slots) for part in body), facts


def _finish(rng, text, slots):
    """Fill the slots, mend the article, set a capital and a full stop."""
    text = re.sub(r"\b([Aa]) \{(item|other)\}", lambda m: f"{m[1]}{'n' if slots[m[2]][0] in 'aeio' else ''} {{{m[2]}}}", text)
    text = text.format(**slots)
    text = text[0].upper() + text[1:]
    question = re.match(r"(Is|Can|How|What|Which|Where|When|Does|Do|Would|Could|Are|May) ", text)
    return text if text[-1] in ",:!" or text.endswith(slots["name"]) else text + ("?" if question else ".")


def make_note(rng, facts):
    """Return a note on a message: some of its facts in a random order, under random keys, in a random layout."""
    words = load_words()[0]
    kinds = rng.sample(list(facts), rng.choice([1, 2, 3, 4, 5, 5, 5]))
    pairs = []
    for kind in kinds:
        value = facts[kind]
        if kind == "topic":
            value = rng.choice(words["topics"][value]["called"])
        elif kind == "urgency":
            value = rng.choice(words["urgency"][value]["called"])
        pairs.append((rng.choice(words["keys"][kind]), value))
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


def message_document(rng):
    text, facts = make_message(rng)
    notes = [make_note(rng, facts) for _ in range(rng.choice([1, 1, 2]))]
    parts = [text, *notes]
    return "".join(part + (_separator(rng) if i + 1 < len(parts) else "") for i, part in enumerate(parts))


def _separator(rng):
    return rng.choice(["\n", "\n\n", " => ", "\n---\n", *END_TOKENS, *MARK_TOKENS, *START_TOKENS])


def make_word(rng):
    """Return one thing to copy: a name, an order number, a product, a code of letters, a number or a special token."""
    kind = rng.randrange(8)
    if kind <= 2:
        return make_name(rng)
    if kind == 3:
        return make_order(rng)
    if kind == 4:
        return rng.choice(load_words()[1])
    if kind == 5:
        return "".join(rng.choices(LETTERS, k=rng.choice([1, 2, 3])))
    return "".join(rng.choices("0123456789", k=rng.choice([1, 2, 3]))) if kind == 6 else rng.choice(MARK_TOKENS)


def copy_document(rng):
    """A list and the same list again, plain or quoted."""
    words = [make_word(rng) for _ in range(rng.randint(2, 9))]
    joint, mark = rng.choice([" ", ", ", "; ", "\n"]), rng.choice([" | ", "\n", " = ", _separator(rng)])
    again = [f'"{word}"' for word in words] if rng.random() < 0.4 else words
    return joint.join(words) + mark + rng.choice([joint, ", "]).join(again)


def lookup_document(rng):
    """Keys with values, then some of the keys again: the value follows."""
    keys = rng.sample([k for names in load_words()[0]["keys"].values() for k in names] + list("abcdefgh"), rng.randint(2, 6))
    pairs = [(key, make_word(rng)) for key in keys]
    asked = rng.sample(pairs, rng.randint(1, len(pairs)))
    style = rng.choice(["{}: {}", "{}={}", '"{}": "{}"', "{} is {}"])
    style2 = rng.choice([style, '"{}": "{}"', "{}? {}"])
    joint = rng.choice([", ", "; ", "\n"])
    return joint.join(style.format(*p) for p in pairs) + _separator(rng) + joint.join(style2.format(*p) for p in asked)


def word_document(rng):
    """Words that belong to one topic: what a dictionary of this world would say."""
    words = load_words()[0]
    topic = rng.choice(list(words["topics"]))
    about = words["topics"][topic]
    lists = [v for k, v in about.items() if k not in ("called", "patterns")]
    called = rng.choice(about["called"])
    some = [rng.choice(rng.choice(lists)) for _ in range(rng.randint(2, 5))]
    return rng.choice([f"{', '.join(some)}: {called}", f"{called}: {', '.join(some)}", f"words of {called} are {', '.join(some)}."])


def make_document(rng, progress):
    """Return one document. progress in [0, 1): copying exercises are frequent early and rarer later."""
    exercises = 0.6 if progress < 0.2 else 0.2
    draw = rng.random()
    if draw < exercises:
        text = copy_document(rng) if rng.random() < 0.6 else lookup_document(rng)
    else:
        text = word_document(rng) if draw > 0.96 else message_document(rng)
    start = rng.choice(START_TOKENS) if rng.random() < 0.8 else ""
    return start + text + rng.choice(END_TOKENS)
