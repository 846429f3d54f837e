"""The tokenizer and model of a profile; what of it is adapted; its shape."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "adapters": [
            "SCALE",
            "changes_base",
            "check_adapter",
            "check_base",
            "check_keys",
            "check_scale",
            "check_trained",
            "claims",
            "load_adapter",
            "read_weights",
        ],
        "integrity": ["ModelError", "check_checkpoint", "read_whole"],
        "loading": [
            *("checkpoint_quantization", "four_bit", "load_model", "load_tokenizer"),
            *("quiet", "train_in_float32", "window"),
        ],
        "room": ["available_bytes", "free"],
        "inspection": [
            "adapted_modules",
            "bypassed",
            "fingerprint",
            "unquantised",
            "left_out",
            "lora_settings",
            "trainable_table",
            "unadapted_modules",
        ],
        "cpu_training": ["score_trained_positions", "train_fast_on_cpu"],
        "small": ["fetch_small_model"],
        "tokens": [
            *("answer_at_once", "answer_end", "check_rows", "check_template"),
            *("choose_pad", "let_think", "thinks"),
        ],
        "shapes": [
            *("CONFIGS", "MIXTURES", "active_parameters"),
            *("linear_shapes", "meta_model", "skeleton"),
        ],
    },
)
