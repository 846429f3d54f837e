"""Servers that speak the protocol of the OpenAI API, for as long as a lesson needs."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "process": ["Server", "ServerError"],
        "transformers_serve": ["start"],
        "llamacpp": [
            "GgufError",
            "ask_llamacpp",
            "export_gguf",
            "llamacpp_python",
            "start_llamacpp",
        ],
        "vllm_serve": ["start_vllm", "vllm_command"],
    },
)
