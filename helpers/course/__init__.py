"""Runs the notebooks headlessly; keeps what they measured."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "figures": ["MIME", "read_figures", "record"],
        "address": ["IN_BADGES", "SITE_BRANCH", "colab", "repository"],
        "ledger": ["END", "MEASURED", "read_ledger"],
    },
)
