"""The checks of lesson 04's exercises."""

from helpers.exercises.checking import IN_PERCENT, Exercise, acts_like, numeric

BLOCK, NESTED = 128, 256  # weights a scale, scales a number of the second level
LINEAR, TABLE = 6_979_321_856, 128_256 * 4_096  # Llama-3.1-8B
NF4_BYTES = LINEAR * 4.127 / 8


def _share(ends: float, linear: float = NF4_BYTES) -> float:
    """The share that embeddings and head take of that many bytes."""
    return ends / (linear + ends)


def _precision(base=lambda c: "bfloat16" if c >= (8, 0) else "float16", adapter=None):
    """A predicate: whether an answer chooses for every card what these choose."""

    def rule(capability):
        chosen = base(capability)
        return chosen, adapter(chosen) if adapter else "float32"

    cards = [((7, 0),), ((7, 5),), ((8, 0),), ((8, 6),), ((9, 0),), ((12, 0),)]
    return acts_like(rule, cards, lambda got, wanted: tuple(got) == wanted)


EXERCISES = {
    "04.1": numeric(
        "a number of bits",
        right=4 + 8 / BLOCK + 32 / (BLOCK * NESTED),
        within=0.0005,
        praise="The gain over blocks of 64 is small, which is why few people change "
        "the block size once they quantise the scales.",
        hint="add three prices: the code, its part of a scale, and its part of the "
        "number that the scales share.",
        mistakes={
            "that is without double quantisation: here a scale has 8 bits.": (
                4 + 32 / BLOCK
            ),
            "that is the price of the default; the blocks here are larger.": (
                4 + 8 / 64 + 32 / (64 * NESTED)
            ),
            "nearly: the scales have a scale of their own.": 4 + 8 / BLOCK,
            "that is the price of the scales. The weight itself has a code too.": (
                8 / BLOCK + 32 / (BLOCK * NESTED)
            ),
            "how many weights share the number of the second level? It serves "
            "many scales, and each scale a whole block.": 4 + 8 / BLOCK + 32 / NESTED,
        },
    ),
    "04.2": Exercise(
        "a function of capability that returns two names",
        right=_precision(),
        praise="Ask for the capability, never for the name of the card: the next "
        "card is not on any list.",
        hint="two questions: from which capability on is bf16 multiplied, and which "
        "precision notices small updates?",
        mistakes={
            "the base is right. But what is trained must notice small updates: "
            "which precision has the digits?": _precision(adapter=lambda base: base),
            "an A100 has (8, 0), and it multiplies bf16: which comparison lets it "
            "in?": _precision(lambda c: "bfloat16" if c > (8, 0) else "float16"),
            "a T4 emulates bf16, which is slow: what else has 16 bits?": (
                _precision(lambda c: "bfloat16")
            ),
            "fp16 works everywhere, but newer cards have a format that does not "
            "overflow.": _precision(lambda c: "float16"),
        },
    ),
    "04.3": numeric(
        "a number, the share of the model's bytes",
        right=_share(2 * TABLE * 2),
        within=0.003,
        praise="Models with a large vocabulary shrink less than fourfold; compare "
        "bytes, not counts.",
        hint="bytes of the linear layers, bytes of the two tables, then their share.",
        percent=IN_PERCENT,
        mistakes={
            "that is their share of the numbers. A number of theirs takes more "
            "bytes than one in NF4.": _share(2 * TABLE, LINEAR),
            "either one table is missing, or a byte of every number in them.": (
                _share(TABLE * 2)
            ),
            "a share is of the whole: the tables belong to the model too.": (
                2 * TABLE * 2 / NF4_BYTES
            ),
        },
    ),
}
