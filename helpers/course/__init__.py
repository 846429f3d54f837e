"""Runs the notebooks headlessly; keeps what they measured."""

import lazy_loader

LEDGER = ["MEASURED", "RESULTS", "machine", "measured_line"]
LEDGER += ["read_ledger", "results_block", "usual_seconds"]
ADDRESS = ["IN_BADGES", "badges_block", "colab", "declared", "repository", "site"]

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "figures": ["MIME", "read_figures", "record"],
        "address": ADDRESS,
        "ledger": LEDGER,
        "wording": ["ENGLISH", "Wording"],
    },
)
