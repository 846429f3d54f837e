"""Answers, scores and intervals, losses; two models side by side."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "generation": [
            "batch_that_fits",
            "cache_bytes",
            "generate",
            "generate_with_stops",
            "prompt_ids",
            "stop_ids",
        ],
        "scoring": ["Report", "before_after", "evaluate", "field_name", "score"],
        "constrained": ["json_processor"],
        "intervals": ["bootstrap_interval"],
        "controls": ["deal_answers"],
        "likelihood": ["answer_loss", "perplexity", "text_loss"],
        "json_answer": ["json_object"],
        "comparison": [
            "confusion",
            "difference_by_rows",
            "hits",
            "on_each",
            "paired_difference",
        ],
        "prompting": ["copy_nearest", "nearest", "with_examples", "with_nearest"],
    },
)
