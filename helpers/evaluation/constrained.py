"""Answers that cannot break a JSON schema: what would, is ruled out token by token.

The schema says what is legal, never what is right.
"""

import json

import numpy as np
import torch
from llguidance import LLMatcher
from llguidance.hf import from_tokenizer
from transformers import LogitsProcessor, LogitsProcessorList

from helpers.evaluation.generation import stop_ids

# Between keys, values and items: what json.dumps writes, and no other white space. A
# schema may say otherwise under "x-guidance" (docs/json_schema.md of llguidance).
ONE_LINE = {"key_separator": ": ", "item_separator": ", ", "whitespace_flexible": False}


def json_processor(model, tokenizer, schema: dict) -> LogitsProcessorList:
    """What keeps `generate` to JSON of a schema, its keys in the order of the schema.

    For `logits_processor` of this package's functions and of `model.generate`, any
    number of times. An answer ends with its JSON, or where its tokens run out: bound
    the length of every string. Raises ValueError for a schema that llguidance cannot
    follow, and for a tokenizer that is not of the library `tokenizers`.
    """
    vocabulary = from_tokenizer(tokenizer, eos_token=stop_ids(model, tokenizer))
    grammar = LLMatcher.grammar_from_json_schema(schema, defaults=ONE_LINE)
    failed, messages = LLMatcher.validate_grammar_with_warnings(grammar, vocabulary)
    if failed:
        got = " ".join(messages[0].split())
        raise ValueError(f"requires a JSON schema that llguidance can follow: {got}")
    brace = tokenizer.encode("{", add_special_tokens=False)
    if vocabulary.decode_bytes(brace).startswith(b" "):
        grammar = _after_a_space(grammar)
    start = LLMatcher(vocabulary, grammar, log_level=0)
    return LogitsProcessorList([_FollowGrammar(start)])


def _after_a_space(grammar: str) -> str:
    """The grammar that also lets a space stand before what another one describes.

    Vocabularies such as Phi-3's put one before each text, and decoding takes it away:
    a tuned model begins its JSON with the token " {".
    """
    parts = json.loads(grammar)["grammars"]
    spaced = {"lark_grammar": f'start: " "? @{parts[0]["name"]}'}
    return json.dumps({"grammars": [spaced, *parts]})


class _FollowGrammar(LogitsProcessor):
    """Gives -inf to every token that the grammar does not let follow in its row.

    It is called once a token, and knows a new batch by its prompts. Rows that have
    answered alike so far share a matcher.
    """

    def __init__(self, start: LLMatcher):
        self.start = start
        self.prompts, self.tokens = [], 0  # of the batch, and how many it has answered
        self.matchers = {}  # {the tokens of an answer so far: its matcher}

    def __call__(self, input_ids, scores):
        """scores: (rows, logits), masked; input_ids: (rows, tokens so far)."""
        rows = input_ids.tolist()
        width = len(self.prompts[0]) if self.prompts else 0
        goes_on = self.prompts == [row[:width] for row in rows]
        if goes_on and len(rows[0]) == width + self.tokens + 1:
            self.tokens += 1
            answers = [tuple(row[width:]) for row in rows]
            self.matchers = {answer: self._after(answer) for answer in set(answers)}
        else:
            self.prompts, self.tokens = rows, 0
            answers, self.matchers = [()] * len(rows), {(): self.start.deep_copy()}
        masks = {answer: m.compute_bitmask() for answer, m in self.matchers.items()}
        bits = b"".join(masks[answer] for answer in answers)
        packed = np.frombuffer(bits, np.uint8).reshape(len(answers), -1)
        # Where the model has more logits than the tokenizer has tokens, zeros follow.
        allowed = np.unpackbits(packed, 1, count=scores.shape[1], bitorder="little")
        allowed = torch.from_numpy(allowed).to(scores.device, torch.bool)
        return scores.masked_fill(~allowed, -torch.inf)

    def _after(self, answer: tuple[int, ...]) -> LLMatcher:
        """The matcher that has read an answer's last token. Raises ValueError."""
        before = self.matchers[answer[:-1]]
        if before.is_stopped():  # it has ended: its end token or padding follows
            return before
        matcher = before.deep_copy()
        if not matcher.consume_token(answer[-1]):
            rule = "requires that each token be one that the schema allows"
            raise ValueError(f"{rule}: got {answer[-1]}, so no other processor may act")
        return matcher
