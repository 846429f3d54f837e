"""A control for learning: the same messages and answers, put together without sense."""

import json
import math

from datasets import Dataset


def deal_answers(rows: Dataset, *fields: str) -> Dataset:
    """The rows, each with the answer of another.

    rows: with the columns prompt and completion, the answers JSON objects.
    fields: every value of these meets every other as often as chance would have it in
        the long run; among answers drawn at random some go together by luck.
    """
    answers = [json.loads(each[-1]["content"]) for each in rows["completion"]]
    count = len(answers)
    order = sorted(range(count), key=lambda row: [answers[row][f] for f in fields])
    # Sorted, codes stand in blocks: with a step near 3/8 eight codes would pair off.
    start = 178 * count // 1000
    far = next(n for n in range(start, count) if math.gcd(n, count) == 1)
    dealt = [None] * count
    for place, row in enumerate(order):
        dealt[row] = rows[order[place * far % count]]["completion"]
    return rows.remove_columns("completion").add_column("completion", dealt)
