"""Check the answers to a lesson's exercises: a tick, or a hint that fits the mistake.

    from helpers import exercises
    exercises.check("03.1", answer)

The exercises of lesson NN stand in `lesson_NN.py`, in a dictionary `EXERCISES` of
`{"NN.1": Exercise(...), ...}`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__, submod_attrs={"checking": ["check"]}
)
