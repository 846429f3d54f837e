"""The pretraining text of the tiny checkpoints: a small synthetic world, from a seed.

Four kinds of document: a customer's message with notes about it, copying exercises,
look-up exercises, and lists of words that belong together. The house format of the
tickets never occurs, nor a chat template, nor a phrase of theirs; its codes only where
the random letters of an exercise happen to spell one.
"""

from random import Random

from data.recipes.customer_messages import (
    LETTERS,
    make_message,
    make_name,
    make_note,
    make_order,
    read_phrases,
)
from data.recipes.loose_messages import make_loose_message, splice_name

# The special tokens of both chat templates. They stand in the text as separators, so
# that their embeddings are trained: LoRA on the linear layers does not train
# embeddings, and a tuned model may never emit a token that pretraining never saw.
START_TOKENS = ["<|begin_of_text|>", "<s>"]
END_TOKENS = ["<|end_of_text|>", "<|eot_id|>", "<|endoftext|>", "<|end|>"]
MARK_TOKENS = [
    "<|start_header_id|>",
    "<|end_header_id|>",
    "<|system|>",
    "<|user|>",
    "<|assistant|>",
]
PAD_TOKENS = ["<|finetune_right_pad_id|>", "<unk>"]  # never in the text
SPECIAL_TOKENS = START_TOKENS + END_TOKENS + MARK_TOKENS + PAD_TOKENS

SEPARATORS = ["\n", "\n\n", " => ", "\n---\n"]
SEPARATORS += END_TOKENS + MARK_TOKENS + START_TOKENS


def make_document(rng: Random, stage: str) -> str:
    """One document, from a start token (mostly) to an end token.

    stage: "exercises" (three documents in five are copying or look-up exercises),
    "plain" (one in five; messages follow patterns), "loose" (messages do not), "keys"
    (as loose; notes use more keys, and hardly any name has been seen before) or "codes"
    (as keys; notes write topics and urgencies also as abbreviations and levels).
    """
    exercises = 0.6 if stage == "exercises" else 0.2
    draw = rng.random()
    if draw < exercises:
        loose = stage in ("loose", "keys", "codes")
        text = copy_document(rng, loose) if rng.random() < 0.6 else lookup_document(rng)
    else:
        text = word_document(rng) if draw > 0.96 else message_document(rng, stage)
    start = rng.choice(START_TOKENS) if rng.random() < 0.8 else ""
    return start + text + rng.choice(END_TOKENS)


def message_document(rng: Random, stage: str = "plain") -> str:
    """A customer's message and one or two notes on it."""
    keys, codes = stage in ("keys", "codes"), stage == "codes"
    if (keys or stage == "loose") and rng.random() < 0.75:
        text, facts = make_loose_message(rng, spliced=1.0 if keys else 0.4)
    else:
        text, facts = make_message(rng)
    notes = [make_note(rng, facts, keys, codes) for _ in range(rng.choice([1, 1, 2]))]
    return text + "".join(rng.choice(SEPARATORS) + note for note in notes)


def copy_document(rng: Random, loose: bool = False) -> str:
    """A list and the same list again, plain or quoted.

    loose: half of the lists are spliced names.
    """
    make = splice_name if loose and rng.random() < 0.5 else make_word
    words = [make(rng) for _ in range(rng.randint(2, 9))]
    joint = rng.choice([" ", ", ", "; ", "\n"])
    mark = rng.choice([" | ", "\n", " = ", rng.choice(SEPARATORS)])
    again = [f'"{word}"' for word in words] if rng.random() < 0.4 else words
    return joint.join(words) + mark + rng.choice([joint, ", "]).join(again)


def lookup_document(rng: Random) -> str:
    """Keys with values, then some of the keys again, each with its value."""
    names = [
        name for names in read_phrases("corpus")["keys"].values() for name in names
    ]
    keys = rng.sample(names + list("abcdefgh"), rng.randint(2, 6))
    pairs = [(key, make_word(rng)) for key in keys]
    asked = rng.sample(pairs, rng.randint(1, len(pairs)))
    told_as = rng.choice(["{}: {}", "{}={}", '"{}": "{}"', "{} is {}"])
    asked_as = rng.choice([told_as, '"{}": "{}"', "{}? {}"])
    joint = rng.choice([", ", "; ", "\n"])
    told = joint.join(told_as.format(*pair) for pair in pairs)
    answers = joint.join(asked_as.format(*pair) for pair in asked)
    return told + rng.choice(SEPARATORS) + answers


def word_document(rng: Random) -> str:
    """Words of one topic with its name: what a dictionary of this world says."""
    topics = read_phrases("corpus")["topics"]
    about = topics[rng.choice(list(topics))]
    lists = [about[kind] for kind in about if kind not in ("called", "patterns")]
    called = rng.choice(about["called"])
    drawn = [rng.choice(rng.choice(lists)) for _ in range(rng.randint(2, 5))]
    some = ", ".join(drawn)
    return rng.choice(
        [f"{some}: {called}", f"{called}: {some}", f"words of {called} are {some}."]
    )


def make_word(rng: Random) -> str:
    """One thing to copy: a name, order number, product, code, number or mark."""
    kind = rng.randrange(8)
    if kind <= 2:
        return make_name(rng)
    if kind == 3:
        return make_order(rng)
    if kind == 4:
        return rng.choice(read_phrases("world")["items"])
    if kind <= 6:
        signs = LETTERS if kind == 5 else "0123456789"
        return "".join(rng.choices(signs, k=rng.choice([1, 2, 3])))
    return rng.choice(MARK_TOKENS)
