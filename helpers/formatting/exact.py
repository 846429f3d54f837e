"""The package `datasets`, whose JSON keeps every number as it was.

Its feature Json writes and reads with pandas' parser, which rounds: 1.7 comes back as
1.7000000000000002, 1e-12 as 0.0, and 2**64 is an error (datasets 5.2.0). Upstream knows
it of files (https://github.com/huggingface/datasets/pull/8652) and of the parser
(https://github.com/pandas-dev/pandas/issues/38437). A feature of our own would be lost:
`map`, `to_list` and a file that is read again make the plain one of Arrow's type.
"""

import json
from collections.abc import Callable
from functools import cache

COMPACT = json.JSONEncoder(separators=(",", ":"), allow_nan=False)  # as pandas writes
PYTHONS = {"ujson_dumps": COMPACT.encode, "ujson_loads": json.loads}


@cache
def exact_datasets():
    """The package `datasets`; from then on its JSON is exact, in the whole process."""
    import datasets
    from datasets import arrow_writer
    from datasets.features import features
    from datasets.packaged_modules.json import json as reader
    from datasets.utils import json as own

    for module in (own, features, arrow_writer, reader):
        for name, exact in PYTHONS.items():
            if usual := getattr(module, name, None):
                setattr(module, name, _either(exact, usual))
    return datasets


def _either(exact: Callable, usual: Callable) -> Callable:
    """A function that does as `usual` what `exact` refuses: dates, NaN, odd JSON."""

    def one_or_other(value, **options):
        try:
            return exact(value, **options)
        except (TypeError, ValueError, RecursionError):
            return usual(value, **options)

    return one_or_other
