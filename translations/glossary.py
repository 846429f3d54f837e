"""A language's glossary: its terms, and the phrases that the tools write."""

import re
from collections import defaultdict

from helpers.address import SITE_BRANCH
from translations.markdown_blocks import blocks
from translations.pages import read_text

TERMS = """adapter, attention, base model, batch, checkpoint, completion, control,
double quantisation, epoch, exact match, exercise, field, fine-tuning,
gradient, hash, held-out, inference, interval, label, layer, learning rate,
loss, mask, merge, message, optimizer, padding, parameter, perplexity,
profile, prompt, quantisation, rank, seed, solution, step, stop token,
target modules, template, token, tokenizer, training, validation, weight"""
PHRASES = (
    *("Measured", "on a", "not yet", "lesson", "profile, machine", "seconds"),
    *("peak memory", "exact match before", "after", "training"),
    *("Open in Colab", "Read it as a site"),
    *("Not translated yet.", "The English text has changed since."),
    "Out of date: the English text is shown.",
    "Code, and what it prints, stays in English.",
)
ABSENT_CELLS = 4  # cells with a term, none with its translation: surely another word


class Glossary:
    """terms: {English: [translation, other stems]}; phrases: {English: translation}."""

    def __init__(self, terms, phrases):
        self.terms, self.phrases = terms, phrases
        longest_first = sorted(terms, key=len, reverse=True)
        names = "|".join(map(re.escape, longest_first)) or r"(?!)"
        self._term = re.compile(rf"\b({names})(?:s|es)?\b", re.IGNORECASE)

    def used(self, english):
        """Return the terms that an English text uses as words, the longest first."""
        lower = {term.lower(): term for term in self.terms}
        return {lower[found.lower()] for found in self._term.findall(_words(english))}

    def kept(self, term, translated):
        """Return whether a translated text has the term's translation or a stem."""
        words = _words(translated).lower()
        return any(_holds(words, form.lower()) for form in self.terms[term])


def _holds(words, form):
    if len(form) > 3:
        return form in words
    return re.search(rf"\b{re.escape(form)}\b", words) is not None


def _words(text):
    return " ".join(" ".join(block.prose for block in blocks(text)).split())


def read(folder):
    """Return the Glossary of a language's folder: empty where there is no file."""
    path = folder / "glossary.md"
    tables = _tables(read_text(path)) if path.exists() else []
    rows, phrases = (tables + [[], []])[:2]
    forms = {row[0]: re.split(r"\s*;\s*", row[1]) for row in rows if row[1]}
    colab = {f"{SITE_BRANCH}/en": f"{SITE_BRANCH}/{folder.name}"}
    return Glossary(forms, {row[0]: row[1] for row in phrases} | colab)


def _tables(text):
    """Return the tables of a page, each a list of rows of at least two texts."""
    tables = defaultdict(list)
    number = 0
    for block in blocks(text):
        if block.kind == "table/thead/tr/th" or not block.kind.startswith("table"):
            number += not block.kind.startswith("table")
        else:
            tables[number].append((block.line, block.prose.strip()))
    rows = []
    for cells in tables.values():
        lines = defaultdict(list)
        for line, word in cells:
            lines[line].append(word)
        rows.append([[*row, ""] for row in lines.values()])
    return rows


def template(known=()):
    """Return an empty glossary; known: English terms of another language's."""
    words = known or [" ".join(term.split()) for term in TERMS.split(",")]
    terms = "\n".join(f"| {word} | | |" for word in words)
    phrases = "\n".join(f"| {phrase} | |" for phrase in PHRASES)
    return f"""# Glossary

One name for one thing. Give the translation; after a semicolon, other stems that are
right too. `check` looks for them wherever an English cell uses the term. A row without
a translation is not checked.

| English | translation; stems | note |
|---|---|---|
{terms}

## Phrases that the tools write

| English | translation |
|---|---|
{phrases}
"""


def compare(glossary, pairs):
    """Return (errors, warnings) of one page as [(cell id, message)].

    pairs: [(cell id, English text, translated text)] of the translated cells.
    """
    errors, with_term, without = [], defaultdict(list), defaultdict(list)
    for name, english, translated in pairs:
        terms = sorted(glossary.used(english))
        lost = [term for term in terms if not glossary.kept(term, translated)]
        for term in terms:
            (without if term in lost else with_term)[term].append(name)
        if len(lost) > 1 and lost == terms:
            message = f"none of the terms {', '.join(terms)} is in this text; "
            errors.append((name, message + "is it the text of another cell?"))
    warnings = []
    for term, names in without.items():
        message = f"glossary: {term!r} is not {' or '.join(glossary.terms[term])!r}"
        if len(names) >= ABSENT_CELLS and not with_term[term]:
            message += " in any cell; correct the text, or the glossary"
            errors.append((names[0], message))
        else:
            total = len(names) + len(with_term[term])
            warnings.append((names[0], f"{message} in {len(names)} of {total} cells"))
    return errors, warnings
