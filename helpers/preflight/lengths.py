"""Checks on rows as tokens: what the template refuses, what the limit cuts."""

from collections.abc import Iterator

from helpers.formatting import DataError, count_lengths
from helpers.preflight.looking import Lines
from helpers.preflight.registry import check_of, derived
from helpers.preflight.report import RUINS, WARNS, Finding


@derived
def lengths(splits, tokenizer, arguments) -> dict:
    """{split: its Lengths, or the DataError of the first row that is refused}.

    Without a limit nothing is cut: the longest row counts as the limit.
    """
    from helpers.models import answer_end

    limit, found = getattr(arguments, "max_length", None) or 10**9, {}
    for name, rows in splits.items():
        try:
            found[name] = count_lengths(tokenizer, rows, limit, {answer_end(tokenizer)})
        except DataError as error:
            found[name] = error
    return found


@check_of("refused-rows", about="whether the chat template renders every row whole")
def refused_rows(lengths) -> Iterator[Finding]:
    """The first row of each split that the template refuses, or leaves parts out of."""
    for found in lengths.values():
        if isinstance(found, DataError):
            where, _, what = str(found).partition(": ")
            what, _, mend = what.rpartition(": ")
            why = "what is left out is not learnt, and nothing says so"
            yield Finding("refused-rows", RUINS, where, what, why, mend)
    return _looked(lengths)


@check_of("cut-answers", about="what max_length cuts off, or drops whole")
def cut_answers(lengths) -> Iterator[Finding]:
    """Answers of which a limit leaves a part, or nothing."""
    for name, found in lengths.items():
        if name == "test" or isinstance(found, DataError) or not found.spoilt:
            continue
        lines = Lines(found.lines[place] for place in found.spoilt)
        what = f"{found.spoils(name)}: {lines}"
        why = "a cut answer teaches to break off, or never to stop; TRL says nothing"
        level = RUINS if len(lines) > len(found.tokens) / 2 else WARNS
        yield Finding("cut-answers", level, lines.where, what, why, found.remedy)
    return _looked(lengths)


def _looked(lengths: dict) -> str:
    """How many rows, and how long the longest is."""
    whole = [found for found in lengths.values() if not isinstance(found, DataError)]
    rows = sum(len(found.tokens) for found in whole)
    longest = max((max(found.tokens, default=0) for found in whole), default=0)
    return f"{rows:,} rows, the longest has {longest:,} tokens"
