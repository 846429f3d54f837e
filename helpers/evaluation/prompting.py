"""What can be had from a prompt: instructions, examples, retrieved ones."""

import math
import re
from collections import Counter

from helpers.evaluation.scoring import Report, score
from helpers.formatting import answer_text, read_chat, to_messages


def with_examples(example: dict, shots=(), instruction: str = "") -> dict:
    """An example behind answered ones, as one chat that begins with the instruction.

    Of system messages the example's own stays, and so do its tools.
    """
    asked = read_chat(example)
    own = asked.messages[0]["role"] == "system"  # how many messages are the system's
    turns = [turn for shot in shots for turn in to_messages(shot)]
    turns = [turn for turn in turns if turn["role"] != "system"]
    first, *turns = [*asked.messages[:own], *turns, *asked.messages[own:]]
    if instruction:
        first = first | {"content": f"{instruction}\n\n{first['content']}"}
    tools = {"tools": asked.tools} if asked.tools else {}
    return {"messages": [first, *turns]} | tools


def nearest(examples, messages: list[str], k: int = 3) -> list[list]:
    """The k examples that share most with each message, the most similar last.

    Similarity: the summed rarity, ln(examples / examples with the word), of shared
    words, over the root of the example's length; simple, and close to what search
    engines start from (BM25, Robertson and Zaragoza 2009). Raises ValueError for k.
    """
    examples = list(examples)
    if not 1 <= k <= len(examples):
        raise ValueError(f"requires k from 1 to {len(examples)}: got {k}")
    bags = [_words(_asked(example)) for example in examples]
    counts = Counter(word for bag in bags for word in bag)
    rarity = {word: math.log(len(bags) / count) for word, count in counts.items()}
    found = []
    for message in messages:
        asked = _words(message)
        scores = [sum(rarity[w] for w in asked & b) / len(b) ** 0.5 for b in bags]
        order = sorted(range(len(bags)), key=lambda row: -scores[row])
        found.append([examples[row] for row in reversed(order[:k])])
    return found


def with_nearest(examples, rows, k: int = 3, instruction: str = "") -> list[dict]:
    """Each row as a chat, behind the k examples that are nearest to it."""
    near = nearest(examples, [_asked(row) for row in rows], k)
    pairs = zip(rows, near, strict=True)
    return [with_examples(row, shots, instruction) for row, shots in pairs]


def copy_nearest(examples, rows, scorer=None) -> Report:
    """The Report of a rival without a model: it answers as the nearest example does."""
    near = nearest(examples, [_asked(row) for row in rows], k=1)
    wanted = [answer_text(to_messages(row)[-1]) for row in rows]
    copies = [answer_text(to_messages(shot)[-1]) for [shot] in near]
    return score(wanted, copies, scorer=scorer)


def _asked(example: dict) -> str:
    """The last text before the answer of an example."""
    return to_messages(example)[-2]["content"]


def _words(text: str) -> set[str]:
    """The different words of a text, in lower case."""
    return set(re.findall(r"\w+", text.lower())) or {""}
