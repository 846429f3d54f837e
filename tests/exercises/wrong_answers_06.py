"""Wrong answers to lesson 06's exercises, by the mistake each makes."""

PADDING = """
def answer(rows, pad):
    width = max(map(len, rows))
    ids = [[pad] * (width - len(row)) + row for row in rows]
    return ids, {mask}
"""

WRONG = {
    "06.1": {
        "keys without values": "answer = 32 * 3072 * 2 * 4096 * 8 / 2**30",
        "one conversation": "answer = 2 * 32 * 3072 * 2 * 4096 / 2**30",
        "one layer": "answer = 2 * 3072 * 2 * 4096 * 8 / 2**30",
        "four bytes a number": "answer = 2 * 32 * 3072 * 4 * 4096 * 8 / 2**30",
        "bytes": "answer = 2 * 32 * 3072 * 2 * 4096 * 8",
        "billions of bytes": "answer = 2 * 32 * 3072 * 2 * 4096 * 8 / 1e9",
    },
    "06.2": {
        "one conversation": "answer = 1000e9 / (7.5e9 * 2)",
        "shared among the conversations": "answer = 1000e9 / (7.5e9 * 2) / 4",
        "one byte a weight": "answer = 4 * 1000e9 / 7.5e9",
        "bits for bytes": "answer = 4 * 1000e9 / (7.5e9 * 16)",
    },
    "06.3": {
        "padded on the right": """
def answer(rows, pad):
    width = max(map(len, rows))
    ids = [row + [pad] * (width - len(row)) for row in rows]
    mask = [[1] * len(row) + [0] * (width - len(row)) for row in rows]
    return ids, mask
""",
        "compared with the pad id": PADDING.format(
            mask="[[int(token != pad) for token in row] for row in ids]"
        ),
        "inverted the mask": PADDING.format(
            mask="[[1] * (width - len(r)) + [0] * len(r) for r in rows]"
        ),
        "masked nothing": PADDING.format(mask="[[1] * width for _ in rows]"),
    },
}
