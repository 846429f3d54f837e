"""How long rows are, and what a limit on the length would cut off, row by row.

A limit cuts what stands last, the end of the answer, and TRL drops a row of which no
answer is left, both in silence. Here it is known before.
"""

from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

from helpers.formatting.batches import IGNORED
from helpers.formatting.lines import Bar, each
from helpers.formatting.rendering import Encoder

FATES = {
    "dropped": "no token of the answer is left: the row is not trained on",
    "words lost": "the answer breaks off",
    "end lost": "the answer is whole, the token that ends it is cut off",
    "harmless": "only what follows the answer's end is cut off",
}
LINES_SHOWN = 5


@dataclass
class Lengths:
    """The tokens of rows under a limit. str(): what a person should know of them.

    tokens, answers: of each row, whole, and of its answer. needed: the smallest limit
        that cuts no answer. fates: {name of FATES: [place of a row]}. lines: where each
        row came from.
    """

    limit: int
    tokens: array = field(default_factory=partial(array, "q"))
    answers: array = field(default_factory=partial(array, "q"))
    needed: int = 0
    fates: dict[str, list[int]] = field(default_factory=dict)
    lines: Sequence[str] = ()

    @property
    def spoilt(self) -> list[int]:
        """The places of rows that are dropped, or learn no end."""
        return sorted(
            p for f in FATES if f != "harmless" for p in self.fates.get(f, [])
        )

    def spoils(self, name: str) -> str:
        """What the limit does to the rows of a split of that name, counted."""
        counts = ", ".join(f"{len(p):,} {fate}" for fate, p in self.fates.items())
        rows = f"{len(self.spoilt):,} of {len(self.tokens):,} {name} rows"
        return f"max_length {self.limit:,} spoils {rows} ({counts})"

    @property
    def remedy(self) -> str:
        """The setting that cuts no answer."""
        return f"set training_config: {{max_length: {self.needed}}} in --config"

    def __str__(self) -> str:
        cut = {fate: places for fate in FATES if (places := self.fates.get(fate))}
        text = [f"max_length {self.limit:,} of {len(self.tokens):,} rows:"]
        for fate, places in cut.items():
            where = ", ".join(self.lines[place] for place in places[:LINES_SHOWN])
            more = ", ..." if len(places) > LINES_SHOWN else ""
            text.append(f"  {len(places):,} {fate} ({FATES[fate]}): {where}{more}")
        if not cut:
            return f"{text[0]} nothing is cut, the longest has {max(self.tokens):,}"
        return "\n".join(
            [*text, f"  the smallest that cuts no answer: {self.needed:,}"]
        )


def count_lengths(tokenizer, rows, limit: int, stops=()) -> Lengths:
    """What happens to the rows of a split where TRL cuts them at so many tokens.

    rows: of `load_splits`, with lines=True for their lines. stops: ids that end an
        answer, beside the tokenizer's own. A bar shows where it takes long.
    Raises DataError as `Encoder` does.
    """
    found, ends = Lengths(limit), {tokenizer.eos_token_id, *stops} - {None}
    known = "line" in rows.column_names  # read from the disk as they are asked for
    found.lines = rows["line"] if known else [f"row {n + 1}" for n in range(len(rows))]
    encode = Encoder(tokenizer)
    for place, row in enumerate(Bar(each(rows), total=len(rows), unit="row")):
        ids, labels = encode(row)
        start = labels.count(IGNORED)
        stop = next((n for n in range(start, len(ids)) if ids[n] in ends), len(ids) - 1)
        found.tokens.append(len(ids))
        found.answers.append(len(ids) - start)
        found.needed = max(found.needed, stop + 1)
        if len(ids) > limit:
            fate = "harmless" if stop < limit else "words lost"
            fate = "end lost" if stop == limit else fate
            fate = "dropped" if start >= limit else fate
            found.fates.setdefault(fate, []).append(place)
    return found
