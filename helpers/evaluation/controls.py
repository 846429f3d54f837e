"""A control for learning: the same messages and answers, put together without sense."""

import json
import random

from datasets import Dataset

TRIES = 1000


def deal_answers(rows: Dataset, *fields: str) -> Dataset:
    """The rows, each with the answer of another that differs in all of these fields.

    rows: with the columns prompt and completion, the answers JSON objects. Drawn at
    random alone, some rows would keep their codes, and phrases meet them by luck.
    Raises ValueError where the rows have too few different values.
    """
    answers = [json.loads(each[-1]["content"]) for each in rows["completion"]]
    count, rng = len(answers), random.Random(0)
    dealt = rng.sample(range(count), count)

    def clash(row: int, other: int) -> bool:
        return any(answers[row][f] == answers[other][f] for f in fields)

    for row in range(count):
        for _ in range(TRIES):
            if not clash(row, dealt[row]):
                break
            other = rng.randrange(count)
            if not clash(row, dealt[other]) and not clash(other, dealt[row]):
                dealt[row], dealt[other] = dealt[other], dealt[row]
        else:
            rule = f"requires rows that differ in {', '.join(fields)}"
            raise ValueError(f"{rule}: row {row} of {count} finds no other")
    completions = rows["completion"]
    given = [completions[other] for other in dealt]
    return rows.remove_columns("completion").add_column("completion", given)
