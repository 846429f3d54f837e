"""Small splits for the tests of preflight."""

from datasets import Dataset, DatasetDict

THINGS = ("kettle", "lamp", "chair", "phone", "tablet", "oven", "desk", "clock", "fan")


def pairs(count, first=0):
    """Questions that share few words, and answers that have to do with them."""
    found = []
    for n in range(first, first + count):
        thing, place = THINGS[n % 9], f"{n * 7919 % 1000003:x}"
        asked = (
            f"n{n} q{place}: where is {n * 31 % 997} the {thing} of z{n * 37 % 1009}?"
        )
        found.append((asked, f"The {thing} is in {place}."))
    return found


def splits(train=None, validation=None, test=None, **columns):
    """A DatasetDict of (question, answer) pairs, as load_splits makes it with lines.

    columns: {name: {split: values}} of more of them.
    """
    given = {"train": train, "validation": validation, "test": test}
    found, first = DatasetDict(), 0
    for name, rows in given.items():
        rows = pairs(60 if name == "train" else 20, first) if rows is None else rows
        more = {column: values[name] for column, values in columns.items()}
        found[name] = Dataset.from_dict(
            {
                "prompt": [[{"role": "user", "content": q}] for q, _ in rows],
                "completion": [[{"role": "assistant", "content": a}] for _, a in rows],
                "line": [f"{name}.jsonl:{n + 1}" for n in range(len(rows))],
                **more,
            }
        )
        first += 1000
    return found


def levels(report):
    """{code: the level of its findings}, all of which have the same."""
    found = {finding.code: finding.level for finding in report.findings}
    assert all(finding.level == found[finding.code] for finding in report.findings)
    return found


def found(report, code):
    """The only finding of this code."""
    [one] = [finding for finding in report.findings if finding.code == code]
    return one
