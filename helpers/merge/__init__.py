"""An adapter merged into its base: a whole model, written once it is proven."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "merging": ["base_profile", "merge_adapter"],
        "proof": ["MOST_LOST", "MergeError", "summary"],
    },
)
