"""A random Llama and its tokenizer, for tests that need no shipped checkpoint."""

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    Phi3Config,
    Phi3ForCausalLM,
    PreTrainedTokenizerFast,
)

SPECIAL = [
    "<|pad|>",
    "<|begin|>",
    "<|end|>",
    "<|endoftext|>",
    "<|user|>",
    "<|assistant|>",
]
TEMPLATE = (
    "{{ '<|begin|>' }}{% for m in messages %}"
    "{{ '<|' + m['role'] + '|>' + m['content'] + '<|end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
WORDS = [
    "the tablet of order G4521 is broken",
    '{"queue": "QWZ", "order": null}',
    "please send it back today",
]
SIZES = {
    "vocab_size": 320,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 256,
    "initializer_range": 0.2,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 3,
}


def build_tokenizer():
    """Byte-level BPE, 300 tokens; its eos is the end of text, not of the turn."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=SPECIAL, initial_alphabet=alphabet
    )
    bpe.train_from_iterator(WORDS * 10, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        bos_token="<|begin|>",
        eos_token="<|endoftext|>",
        pad_token="<|pad|>",
        additional_special_tokens=["<|end|>", "<|user|>", "<|assistant|>"],
        chat_template=TEMPLATE,
    )


def build_model(seed=0, **changes):
    """A 2-layer Llama of width 64 over 320 tokens, in fp32, in eval mode.

    Its weights are ten times the usual ones, so that its answers depend on the prompt.
    """
    torch.manual_seed(seed)
    return LlamaForCausalLM(LlamaConfig(**SIZES, **changes)).eval()


def build_phi3(seed=0):
    """The same as Phi-3, whose attention and MLP projections are fused."""
    torch.manual_seed(seed)
    return Phi3ForCausalLM(Phi3Config(**SIZES)).eval()


def chat(question, answer):
    """An example in the messages format."""
    return {
        "messages": [
            {"role": "user", "content": question},
            {"role": "assistant", "content": answer},
        ]
    }
