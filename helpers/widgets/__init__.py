"""Views and controls that are plain figures or tables without a live kernel."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "showing": ["show"],
        "sliders": ["slider"],
        "tokens": ["browse", "token_view"],
        "chat_box": ["chat"],
        "failure_browser": ["browse_failures"],
        "training_bar": ["without_table"],
    },
)
