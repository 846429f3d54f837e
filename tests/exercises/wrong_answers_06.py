"""Wrong answers to lesson 06's exercises, by the mistake each makes."""

PADDING = """
def answer(rows, pad):
    width = max(map(len, rows))
    ids = [[pad] * (width - len(row)) + row for row in rows]
    return ids, {mask}
"""

WRONG = {
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
