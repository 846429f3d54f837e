"""The whole recipe: from splits to an adapter with its card and metrics."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "settings": ["Settings"],
        "errors": ["RunError"],
        "recipe": ["run"],
        "checkpoints": ["last_checkpoint"],
        "starting_point": ["AdapterError", "adapter_folder", "item_tickets"],
        "keeping": ["keep_adapter"],
        "metrics": ["describe_adapter"],
        "model_card": ["card"],
    },
)
