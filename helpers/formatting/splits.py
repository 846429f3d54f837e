"""From files of examples to splits that share no prompt.

Splits hold TRL's conversational prompt-completion format (TRL documentation, "Dataset
formats and types"), whose loss falls on the completion only. A chat with several
answers becomes several rows, one an answer: its prompt is all that stands before it, as
the model will see it. Chats may begin alike: where an answer within one has a prompt
that an earlier split has, its row is left out of validation and test, and counted.
"""

from collections.abc import Callable

from helpers.formatting.lines import say
from helpers.formatting.rows import Rows
from helpers.formatting.sources import find_sources


def load_splits(
    path,
    seed: int = 0,
    group: str | None = None,
    columns=None,
    lines: bool = False,
    say: Callable = say,
    apart: bool = True,
):
    """A datasets.DatasetDict with train, validation and test.

    path: a folder with files of each split, or one that `datasets` saved, or
        `hub:OWNER/NAME[/CONFIG][@REVISION][#SPLIT]`, with these three splits; or one
        file or split, which is shuffled with the seed and divided 80/10/10, equal
        prompts together; of few parts, train has most. Rows are on disk where they are
        many.
    group: the name of a column: rows with the same value come into the same split.
    columns: {column: field} of other names. lines: adds the column "line", where a row
        came from: "path:line", and "group" where there is one. say: told what was
        detected, joined or found twice. apart: False also reads splits that share
        something, for `helpers.preflight` to name all of it.
    Columns: prompt (messages), completion (a list of one message), and tools where
        there are some.
    Raises DataError as `read_examples` does, and where two splits share a group, or the
    prompt of a chat's last answer.
    """
    sources = find_sources(path, say)
    rows = Rows(path, group, columns, say, apart)
    for split, parts in sources.items():
        for part in parts:
            rows.add(split, part)
    rows.tell()
    places = rows.divide(seed) if "" in sources else rows.places()
    return rows.splits(places, lines)
