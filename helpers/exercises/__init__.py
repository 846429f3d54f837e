"""Check the answers to a lesson's exercises: a tick, or a hint."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "checking": [
            "Exercise",
            "Mistake",
            "check",
            "close",
            "find",
            "number",
            "verdict",
        ],
    },
)
