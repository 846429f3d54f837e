"""Peak memory of a training run, predicted by part, and measured."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "prediction": [
            *("CONTEXT", "STRATEGIES", "check_choice", "largest_batch"),
            *("predict", "size"),
        ],
        "controls": ["calculator"],
        "measured": ["kept_bytes", "measured_bytes", "stored_bytes"],
    },
)
