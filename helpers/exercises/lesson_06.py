"""The checks of lesson 06's exercises."""

from helpers.exercises.checking import Exercise, Mistake, close

GIB = 2**30
TOKEN = 2 * 32 * 3072 * 2  # bytes of Phi-3-mini's cache a token: K and V, layers, width
CACHE = TOKEN * 4096 * 8 / GIB  # eight conversations, in GiB
PASSES = 1000e9 / (7.5e9 * 2)  # over the weights of Llama-3.1-8B, a second
PAD = 9
# The last one holds the pad id as a real token.
CASES = ([[1, 2, 3], [4], [5, 6]], [[1], [2]], [[1, PAD, 3], [PAD]])


def _tried(answer, rows):
    """(ids, mask) that the answer gives, as lists of lists; the rows stay whole."""
    ids, mask = answer([list(row) for row in rows], PAD)
    return [[int(x) for x in row] for row in ids], [[int(x) for x in m] for m in mask]


def _padded(rows, pad=PAD, left=True):
    """Rows of one length."""
    width = max(map(len, rows))
    rest = [[pad] * (width - len(row)) for row in rows]
    pairs = zip(rest, rows, strict=True)
    return [empty + row if left else row + empty for empty, row in pairs]


def _mask(rows, left=True):
    """1 for a token, 0 for padding."""
    return _padded([[1] * len(row) for row in rows], pad=0, left=left)


def _by_value(rows):
    """The mask of someone who compares with the pad id."""
    return [[int(token != PAD) for token in row] for row in _padded(rows)]


def _gives(ids, mask):
    """A predicate: the answer pads all cases so. ids, mask: functions of rows."""
    return lambda a: all(_tried(a, r) == (ids(r), mask(r)) for r in CASES)


EXERCISES = {
    "06.1": Exercise(
        expected="a number of GiB",
        right=lambda a: close(a, CACHE, within=0.02),
        praise="Grouped-query attention shrinks it: Llama-3.1-8B has 8 key-value heads "
        "for its 32 heads, and a quarter of the cache.",
        hint="count the bytes that one token leaves in the cache, then the tokens.",
        mistakes=(
            Mistake(
                "keys without values",
                lambda a: close(a, CACHE / 2, within=0.02),
                "attention weighs values by keys; a token leaves both in every layer.",
            ),
            Mistake(
                "one conversation",
                lambda a: close(a, CACHE / 8, within=0.02),
                "right for one conversation, and each has a cache of its own.",
            ),
            Mistake(
                "one layer",
                lambda a: close(a, CACHE / 32, within=0.02),
                "that is one layer's share.",
            ),
            Mistake(
                "four bytes a number",
                lambda a: close(a, CACHE * 2, within=0.02),
                "how many bytes does a number take in bf16?",
            ),
            Mistake(
                "bytes",
                lambda a: close(a, CACHE * GIB, within=1),
                "the right bytes; the answer is asked for in GiB.",
            ),
            Mistake(
                "billions of bytes",
                lambda a: close(a, CACHE * GIB / 1e9, within=0.02),
                "a GiB is a power of two, not of ten.",
            ),
        ),
    ),
    "06.2": Exercise(
        expected="a number of tokens a second",
        right=lambda a: close(a, 4 * PASSES, within=0.5),
        praise="The limit grows with the batch until arithmetic takes longer than "
        "reading: the ridge of the roofline.",
        hint="how many passes over the weights fit into a second, and how many tokens "
        "does a pass make?",
        mistakes=(
            Mistake(
                "one conversation",
                lambda a: close(a, PASSES, within=0.5),
                "that is what one of the conversations gets.",
            ),
            Mistake(
                "shared among the conversations",
                lambda a: close(a, PASSES / 4, within=0.5),
                "the conversations do not share a pass's token: each gets its own.",
            ),
            Mistake(
                "one byte a weight",
                lambda a: (
                    close(a, 8 * PASSES, within=0.5) or close(a, 2 * PASSES, within=0.5)
                ),
                "how many bytes does a weight take in bf16?",
            ),
            Mistake(
                "bits for bytes",
                lambda a: (
                    close(a, PASSES / 2, within=0.5) or close(a, PASSES / 8, within=0.5)
                ),
                "the card's speed is in bytes, and so must be the weights.",
            ),
        ),
    ),
    "06.3": Exercise(
        expected="a function of rows and pad",
        right=_gives(_padded, _mask),
        praise='`tokenizer.pad(..., padding_side="left")` does the same, and '
        "`generate` finds the positions from the mask.",
        hint="both results have a row for each given one, all as long as the longest; "
        "try it on `[[1, 2, 3], [4]]`.",
        mistakes=(
            Mistake(
                "padded on the right",
                _gives(
                    lambda r: _padded(r, left=False), lambda r: _mask(r, left=False)
                ),
                "generation goes on at the right end, and there your rows have "
                "padding.",
            ),
            Mistake(
                "compared with the pad id",
                _gives(_padded, _by_value),
                "a row may hold the pad id as a real token: it lost its place in your "
                "mask.",
            ),
            Mistake(
                "inverted the mask",
                _gives(_padded, lambda r: [[1 - x for x in m] for m in _mask(r)]),
                "the mask says what is to be seen.",
            ),
            Mistake(
                "masked nothing",
                _gives(_padded, lambda r: [[1] * len(row) for row in _padded(r)]),
                "with such a mask the model reads the padding as text.",
            ),
        ),
    ),
}
