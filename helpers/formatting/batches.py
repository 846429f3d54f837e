"""A row as tokens, by the chat template; batches of them for a plain training loop."""

import torch
from torch.nn.utils.rnn import pad_sequence

IGNORED = -100  # the label that torch.nn.functional.cross_entropy passes over


def encode(tokenizer, row: dict) -> tuple[list[int], list[int]]:
    """(ids, labels) of a row of `formatting.load_splits`; no label on the prompt."""
    prompt, ids = render(tokenizer, row), render(tokenizer, row, answered=True)
    return ids, [IGNORED] * len(prompt) + ids[len(prompt) :]


def render(tokenizer, row: dict, answered: bool = False, tokenize: bool = True):
    """The ids, or the text, of a row's prompt as the answer follows it; or of all."""
    chat = row["prompt"] + row["completion"] if answered else row["prompt"]
    options = {"add_generation_prompt": not answered, "tools": row.get("tools")}
    options |= {"tokenize": tokenize, "return_dict": False}
    return tokenizer.apply_chat_template(chat, **options)


def collate(tokenizer, examples: list[tuple]) -> dict[str, torch.Tensor]:
    """Examples of `encode` as input_ids and labels, both (batch, width).

    Padded on the right: a causal model needs no attention mask there, since no token
    looks ahead.
    """
    columns = {"input_ids": tokenizer.pad_token_id, "labels": IGNORED}
    return {
        name: pad_sequence([torch.tensor(row[i]) for row in examples], True, padding)
        for i, (name, padding) in enumerate(columns.items())
    }
