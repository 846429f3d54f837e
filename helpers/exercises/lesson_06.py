"""The checks of lesson 06's exercises."""

from helpers.config import GIB
from helpers.exercises.checking import Exercise, acts_like, numeric

TOKEN = 2 * 32 * 3072 * 2  # bytes of Phi-3-mini's cache a token: K and V, layers, width
CACHE = TOKEN * 4096 * 8 / GIB  # eight conversations, in GiB
WITHOUT, CACHED = sum(500 + k for k in range(200)), 500 + 200 - 1  # positions
PAD = 9
# The last one holds the pad id as a real token.
CASES = ([[1, 2, 3], [4], [5, 6]], [[1], [2]], [[1, PAD, 3], [PAD]])


def _padded(rows: list[list[int]], pad: int, left: bool) -> list[list[int]]:
    """Rows of one length."""
    width = max(map(len, rows))
    rest = [[pad] * (width - len(row)) for row in rows]
    pairs = zip(rest, rows, strict=True)
    return [empty + row if left else row + empty for empty, row in pairs]


def _pads(mask=lambda ids, right: right, left: bool = True):
    """A predicate: whether an answer pads on that side and makes that mask.

    mask: a function of the padded rows and of their right mask.
    """

    def rule(rows, pad):
        ids = _padded(rows, pad, left)
        return ids, mask(ids, _padded([[1] * len(row) for row in rows], 0, left))

    def same(got, wanted):
        ids, seen = got
        return ([[*map(int, r)] for r in ids], [[*map(int, r)] for r in seen]) == wanted

    return acts_like(rule, [(rows, PAD) for rows in CASES], same)


EXERCISES = {
    "06.1": numeric(
        "a number of GiB",
        right=CACHE,
        within=0.02,
        praise="Grouped-query attention shrinks it: Llama-3.1-8B has 8 key-value heads "
        "for its 32 heads, and a quarter of the cache.",
        hint="count the bytes that one token leaves in the cache, then the tokens.",
        mistakes={
            "attention weighs values by keys; a token leaves both in every layer.": (
                CACHE / 2
            ),
            "right for one conversation, and each has a cache of its own.": CACHE / 8,
            "that is one layer's share.": CACHE / 32,
            "how many bytes does a number take in bf16?": CACHE * 2,
            "the right bytes; the answer is asked for in GiB.": CACHE * GIB,
            "a GiB is a power of two, not of ten.": CACHE * GIB / 1e9,
        },
    ),
    "06.2": numeric(
        "a number",
        right=WITHOUT / CACHED,
        within=0.5,
        praise="Counted in positions; the clock gains less, since many positions at "
        "once use a processor better than one does.",
        hint="write down the positions of the first three steps, once with a cache and "
        "once without.",
        mistakes={
            "that is how many positions there are without a cache.": WITHOUT,
            "the prompt is read once in either case; without a cache it is read "
            "again in every step.": 200 * 201 / 2 / CACHED,
            "how many positions does the prompt cost with a cache?": WITHOUT / 200,
            "the text grows: later steps compute more than the prompt.": (
                200 * 500 / CACHED
            ),
        },
    ),
    "06.3": Exercise(
        "a function of rows and pad",
        right=_pads(),
        praise='`tokenizer.pad(..., padding_side="left")` does the same, and '
        "`generate` finds the positions from the mask.",
        hint="both results have a row for each given one, all as long as the longest; "
        "try it on `[[1, 2, 3], [4]]`.",
        mistakes={
            "generation goes on at the right end, and there your rows have "
            "padding.": _pads(left=False),
            "a row may hold the pad id as a real token: it lost its place in your "
            "mask.": _pads(lambda ids, _: [[int(x != PAD) for x in r] for r in ids]),
            "the mask says what is to be seen.": (
                _pads(lambda _, right: [[1 - x for x in row] for row in right])
            ),
            "with such a mask the model reads the padding as text.": (
                _pads(lambda ids, _: [[1] * len(row) for row in ids])
            ),
        },
    ),
}
