"""Checks on what stands in the texts: secrets, people, tokens of other templates."""

import re
from collections import Counter
from collections.abc import Callable, Iterator

from helpers.preflight.looking import Lines
from helpers.preflight.registry import check_of
from helpers.preflight.report import WARNS, Finding

# Plugins of detect-secrets that go by how random a text looks, or by the word
# "password": half of all codes and messages are secrets to them.
GUESSING = ("HexHighEntropyString", "Base64HighEntropyString", "KeywordDetector")
GUESSING += ("IPPublicDetector",)
BY_HEART = "a model says by heart what it was trained on, to whoever asks"
OWN = 5  # rows; an address in so many answers is that of the house
EMAIL = re.compile(r"[\w.+-]+@(?:[\w-]+\.)+[a-zA-Z]{2,}")
MADE_UP = re.compile(r"@(?:.*\.)?(?:example\.\w+|\w+\.(?:example|invalid|test))$")
PHONE = re.compile(r"(?<![\w+])\+[1-9](?:[ ()/.-]{0,2}\d){7,14}(?!\d)")  # ITU E.164
IBAN = re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?\b")
CARD = re.compile(r"(?<![\w.-])[3-6]\d{3}(?:[ -]?\d{4}){2}[ -]?\d{1,4}(?![\w-])")
# Tokens of chat templates, by family; each is one token there, a few letters elsewhere.
TEMPLATES = {
    "ChatML": ("<|im_start|>", "<|im_end|>"),
    "Llama 3": ("<|start_header_id|>", "<|eot_id|>", "<|begin_of_text|>"),
    "Llama 2 and Mistral": ("[INST]", "[/INST]", "<<SYS>>"),
    "Gemma": ("<start_of_turn>", "<end_of_turn>"),
    "Phi-3": ("<|user|>", "<|assistant|>", "<|end|>"),
    "gpt-oss": ("<|channel|>", "<|return|>"),
    "Command R": ("<|START_OF_TURN_TOKEN|>", "<|END_OF_TURN_TOKEN|>"),
    "GPT-2": ("<|endoftext|>",),
    "Alpaca": ("### Instruction:", "### Response:"),
}


@check_of("secrets", about="keys, tokens and passwords in answers")
def secrets(texts) -> Iterator[Finding]:
    """Answers that hold what opens a door, by the forms that detect-secrets knows."""
    plugins, found = _plugins(), {}
    for row in texts.rows():
        answer = row.answer
        for kind, forms in plugins:
            if any(form.search(answer) for form in forms):
                found.setdefault(kind, Lines()).add(row.line)
    for kind, lines in found.items():
        what = f"{len(lines):,} answers hold what looks like: {kind}: {lines}"
        mend = "make them void where they are used, and replace them in the data"
        yield Finding("secrets", WARNS, lines.where, what, BY_HEART, mend)
    return f"{len(texts):,} rows"


@check_of("personal-data", about="e-mail, phone, IBAN and card numbers in answers")
def personal_data(texts) -> Iterator[Finding]:
    """Answers that lead to one person; what is in many of them is the house's own."""
    found, often = {}, Counter()  # {kind: [(value, the answer's number, its line)]}
    for number, row in enumerate(texts.rows()):
        for kind, value in dict.fromkeys(people_in(row.answer)):
            often[value] += 1
            if often[value] <= OWN:
                there = found.setdefault(kind, [])
                there.append((value, number, row.line))
    for kind, all_of in found.items():
        answers = {number: line for value, number, line in all_of if often[value] < OWN}
        if answers:
            lines = Lines(dict.fromkeys(answers.values()))  # of a chat all have one
            what = f"{len(answers):,} answers hold {kind}: {lines}"
            mend = "put made-up ones in their place, or be sure that you may use them"
            yield Finding("personal-data", WARNS, lines.where, what, BY_HEART, mend)
    return f"{len(texts):,} rows"


def people_in(text: str) -> Iterator[tuple[str, str]]:
    """Yields (kind, value) of what leads to a person in a text, checksums checked."""
    if "@" in text:
        for match in EMAIL.finditer(text):
            if not MADE_UP.search(match[0].lower()):
                yield "an e-mail address", match[0]
    if "+" in text:
        for match in PHONE.finditer(text):
            yield "a phone number", match[0]
    for kind, form, valid in _numbers():
        for match in form.finditer(text):
            if valid(match[0]):
                yield kind, match[0]


@check_of("foreign-template-tokens", about="tokens of other models' chat templates")
def foreign_template_tokens(texts) -> Iterator[Finding]:
    """Texts that were rendered with a template already, of whatever model."""
    family = {token: name for name, tokens in TEMPLATES.items() for token in tokens}
    form, found = re.compile("|".join(map(re.escape, family))), {}
    for row in texts.rows():
        for token in {*form.findall(row.question), *form.findall(row.answer)}:
            found.setdefault(token, Lines()).add(row.line)
    for token, lines in found.items():
        what = f"{token!r} ({family[token]}) in {len(lines):,} rows: {lines}"
        why = "the chat template writes its own: these are learnt as text, and answered"
        mend = "give the messages as they were before any template"
        yield Finding("foreign-template-tokens", WARNS, lines.where, what, why, mend)
    return f"{len(texts):,} rows"


def _plugins() -> list[tuple[str, list[re.Pattern]]]:
    """(kind, forms) of every plugin of detect-secrets that knows secrets by form."""
    from detect_secrets.core.plugins.util import get_mapping_from_secret_type_to_class

    kinds = get_mapping_from_secret_type_to_class()
    return [
        (kind, list(plugin().denylist))
        for kind, plugin in sorted(kinds.items())
        if plugin.__name__ not in GUESSING
    ]


def _numbers() -> tuple[tuple[str, re.Pattern, Callable], ...]:
    """(kind, form, its checksum) of numbers that carry one."""
    from stdnum import iban, luhn

    return (
        ("an IBAN", IBAN, iban.is_valid),
        ("a card number", CARD, lambda text: luhn.is_valid(re.sub(r"[ -]", "", text))),
    )
