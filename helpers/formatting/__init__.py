"""From files of examples to messages, splits and batches of tokens."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "lines": ["DataError", "each"],
        "chats": ["read_chat", "to_messages"],
        "naming": ["parse_map"],
        "examples": [
            *("answer_text", "check_file", "find_repeats"),
            *("prompt_key", "read_examples"),
        ],
        "splits": ["load_splits"],
        "batches": ["IGNORED", "collate", "encode", "render"],
        "lengths": ["Lengths", "count_lengths"],
        "rendering": ["Encoder"],
    },
)
