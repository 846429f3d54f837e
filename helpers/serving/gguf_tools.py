"""What runs in the environment of llama.cpp: a script, which nothing imports.

    python gguf_tools.py convert FOLDER FILE TYPE CHANGES
    python gguf_tools.py quantize FILE OUTPUT TYPE
    python gguf_tools.py serve FILE --port N ...

`helpers.serving.llamacpp` calls it, and says what the arguments are.
"""

import argparse
import json
import sys
import threading
from pathlib import Path

# llama.cpp cuts a text in pieces before it merges letters, in one of the ways that it
# knows by name. The checkpoints of the course cut otherwise than all of these. Where no
# token crosses a border, neither of theirs nor of this way, Llama 3's, both give the
# same tokens, but for runs of white space, which Llama 3 divides.
PIECES = "llama-bpe"
LLAMA_3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
# The numbers of enum llama_ftype in llama.cpp's llama.h.
TYPES = {"Q4_0": 2, "Q4_1": 3, "Q8_0": 7, "Q4_K_M": 15, "Q5_K_M": 17, "Q6_K": 18}
TYPES["F32"] = 0  # of rounded weights: what they are worth computed with in 32 bit


def convert(folder: str, file: str, kind: str, changes: str) -> None:
    """Writes a model's folder as a GGUF file of F32, F16 or BF16 weights.

    changes: a JSON object of the file's settings to write otherwise, or not (null).
    The chat template says where a text begins: the file's tokenizer adds no token.
    """
    import gguf
    import torch
    from conversion import ModelBase, ModelType, get_model_architecture, get_model_class

    hparams = ModelBase.load_hparams(Path(folder), False)
    base = get_model_class(get_model_architecture(hparams, ModelType.TEXT))
    settings = {"tokenizer.ggml.add_bos_token": False} | json.loads(changes)

    class Converter(base):
        model_arch = base.model_arch

        def get_vocab_base_pre(self, tokenizer) -> str:
            try:
                return super().get_vocab_base_pre(tokenizer)
            except NotImplementedError:  # a tokenizer that it has never met
                if fits(tokenizer.backend_tokenizer):
                    return PIECES
                raise

        def set_vocab(self) -> None:
            if is_byte_level(self.dir_model):
                self._set_vocab_gpt2()
            else:
                super().set_vocab()

        def prepare_metadata(self, vocab_only: bool) -> None:
            super().prepare_metadata(vocab_only)
            change(self.gguf_writer, settings)

    types = gguf.LlamaFileType
    names = {"F32": types.ALL_F32, "F16": types.MOSTLY_F16, "BF16": types.MOSTLY_BF16}
    with torch.inference_mode():
        Converter(Path(folder), names[kind], Path(file)).write()


def fits(tokenizer) -> bool:
    """Whether each token of a tokenizer is one piece, in its own way and Llama 3's."""
    from tokenizers import Regex, pre_tokenizers

    if tokenizer.pre_tokenizer is None:
        return False
    ways = (tokenizer.pre_tokenizer, pre_tokenizers.Split(Regex(LLAMA_3), "isolated"))
    special = tokenizer.get_added_tokens_decoder()
    ids = set(range(tokenizer.get_vocab_size())) - set(special)
    texts = [text for i in ids if "\ufffd" not in (text := tokenizer.decode([i]))]
    return all(len(way.pre_tokenize_str(text)) < 2 for text in texts for way in ways)


def is_byte_level(folder: Path) -> bool:
    """Whether a folder's tokenizer is a byte-level BPE, as GPT-2's and Llama 3's."""
    text = (folder / "tokenizer.json").read_text(encoding="utf-8")
    return '"ByteLevel"' in text and not (folder / "tokenizer.model").exists()


def change(writer, settings: dict) -> None:
    """Writes settings of a GGUF file anew; None leaves one out."""
    kinds = {bool: writer.add_bool, float: writer.add_float32, str: writer.add_string}
    for key, value in settings.items():
        writer.kv_data[0].pop(key, None)
        if value is not None:
            kinds[type(value)](key, value)


def quantize(file: str, output: str, kind: str) -> None:
    """Writes a GGUF file with its weights in another type."""
    from cyllama.llama import llama_cpp

    params = llama_cpp.LlamaModelQuantizeParams()
    params.ftype = TYPES[kind]
    params.nthread, params.allow_requantize = 1, True
    llama_cpp.model_quantize(file, output, params)


def serve(*arguments: str) -> None:
    """Runs llama.cpp's server for a GGUF file until the process is ended."""
    import xllamacpp

    parser = argparse.ArgumentParser()
    parser.add_argument("file")
    parser.add_argument("--port", type=int)
    parser.add_argument("--context", type=int)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--exact", action="store_true")
    parser.add_argument("--no-repack", action="store_true")
    options = parser.parse_args(arguments)
    params = xllamacpp.CommonParams()
    params.model.path = options.file
    params.port, params.n_ctx = options.port, options.context
    params.n_parallel = 1  # a batch of several rounds otherwise
    params.cpuparams.n_threads = options.threads
    params.cpuparams_batch.n_threads = options.threads
    params.use_jinja, params.warmup, params.fit_params = True, False, False
    params.no_extra_bufts = options.no_repack
    if options.exact:
        kinds, flash = xllamacpp.ggml_type, xllamacpp.llama_flash_attn_type
        params.cache_type_k = params.cache_type_v = kinds.GGML_TYPE_F32
        params.flash_attn_type = flash.LLAMA_FLASH_ATTN_TYPE_DISABLED
    server = xllamacpp.Server(params)
    print("serving at", server.listening_address, flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    command, *given = sys.argv[1:]
    {"convert": convert, "quantize": quantize, "serve": serve}[command](*given)
