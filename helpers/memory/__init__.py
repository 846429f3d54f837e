"""Peak memory of a training run, predicted by part, and measured."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "prediction": ["STRATEGIES", "largest_batch", "predict", "size"],
        "controls": ["calculator"],
        "lessons": [
            "CARDS",
            "EPOCH",
            "MEAN",
            "lesson_minutes",
            "lesson_peaks",
            "training_run",
        ],
        "measured": ["kept_bytes", "measured_bytes", "stored_bytes"],
    },
)
