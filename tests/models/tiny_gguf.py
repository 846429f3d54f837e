"""A small Llama as the GGUF file that llama.cpp would make of it, in 4 bit."""

import json

import gguf
import numpy as np
import torch
from gguf.quants import dequantize, quantize

Q4_1 = gguf.GGMLQuantizationType.Q4_1
NORMAL, CONTROL, UNUSED = 1, 3, 5  # gguf.TokenType


def write_gguf(path, model, tokenizer) -> dict[str, torch.Tensor]:
    """Writes a tied model and its tokenizer; the weights that the file then holds.

    Matrices are Q4_1, norms float32; the weights are float32, by transformers' names.
    """
    config, writer = model.config, gguf.GGUFWriter(path, "llama")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_dimension_count(config.head_dim)
    add_tokenizer(writer, tokenizer, config.vocab_size)
    held = {}
    for name, weight in model.named_parameters():  # a tied head is not among them
        held[name] = add_weight(writer, name, weight.detach(), config)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return held


def add_tokenizer(writer, tokenizer, vocab_size) -> None:
    """The vocabulary as one whose digits stand alone, and the chat template."""
    bpe = json.loads(tokenizer.backend_tokenizer.to_str())["model"]
    tokens = {number: token for token, number in bpe["vocab"].items()}
    kinds = dict.fromkeys(tokens, NORMAL)
    kinds |= dict.fromkeys(tokenizer.all_special_ids, CONTROL)
    every = range(vocab_size)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list([tokens.get(n, f"[UNUSED{n}]") for n in every])
    writer.add_token_types([kinds.get(n, UNUSED) for n in every])
    writer.add_token_merges([" ".join(pair) for pair in bpe["merges"]])
    writer.add_bos_token_id(tokenizer.bos_token_id)
    writer.add_eos_token_id(tokenizer.eos_token_id)
    writer.add_pad_token_id(tokenizer.eos_token_id)
    writer.add_chat_template(tokenizer.chat_template)


def add_weight(writer, name, weight, config) -> torch.Tensor:
    """Adds a weight; what is left of it. Queries and keys are turned to llama.cpp's
    order of dimensions, in which the halves of a rotated pair are neighbours."""
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config.num_hidden_layers)
    as_llama_cpp = names.get_name(name, try_suffixes=(".weight",))
    if weight.dim() == 1:
        writer.add_tensor(as_llama_cpp, weight.numpy())
        return weight
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    turned = next((n for key, n in heads.items() if key in name), None)
    matrix = weight.numpy()
    if turned:
        matrix = _swap(matrix, (turned, 2, -1, matrix.shape[1]))
    packed = quantize(np.ascontiguousarray(matrix), Q4_1)
    writer.add_tensor(as_llama_cpp, packed, raw_dtype=Q4_1)
    matrix = dequantize(packed, Q4_1)
    if turned:
        matrix = _swap(matrix, (turned, matrix.shape[0] // turned // 2, 2, -1))
    return torch.tensor(matrix)


def _swap(matrix, shape):
    """A matrix with the middle two of four dimensions of its rows exchanged."""
    return matrix.reshape(shape).swapaxes(1, 2).reshape(matrix.shape)
