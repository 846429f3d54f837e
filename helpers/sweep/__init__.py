"""Settings compared: grids of short training runs, row by row into the ledger."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "rows": ["Budget", "Part", "RowFile", "measure"],
        "grids": ["profile_of", "questions"],
        "runs": ["answer", "make_trainer", "train_and_score"],
    },
)
