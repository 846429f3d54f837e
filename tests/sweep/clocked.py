"""Rows that take as long as a test says, and the file that they end in."""

import json

from helpers.sweep.rows import Part


class Clock:
    """Seconds that pass when a test says so."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def part(clock, log, name="speed", count=3, takes=10.0, **options):
    """A part of rows that each take some seconds; row 1 of "broken" fails."""

    def measure(wanted):
        for row in wanted:
            clock.now += takes
            log.append((name, row["row"]))
            if name == "broken" and row["row"] == 1:
                raise RuntimeError("no memory")
            yield {"found": row["row"] ** 2}

    numbered = [{"row": number} for number in range(count)]
    return Part(name, numbered, measure, **({"seconds": takes} | options))


def contents(folder, name):
    [file] = folder.glob(f"{name}.*.json")
    return json.loads(file.read_text(encoding="utf-8"))
