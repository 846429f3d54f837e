"""What would spoil a run, found before it costs anything: checks, and their report."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "registry": ["all_checks", "check", "check_of", "derived"],
        "report": ["Finding", "Report"],
    },
)
