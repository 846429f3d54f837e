"""What a plain training loop needs around it: batches, and the bytes of its parts."""

import torch

IGNORED = -100  # the label that torch.nn.functional.cross_entropy passes over


def encode(tokenizer, row) -> tuple[list[int], list[int]]:
    """(ids, labels) of a row of `formatting.load_splits`; no label on the prompt."""
    chat = tokenizer.apply_chat_template
    prompt = chat(row["prompt"], add_generation_prompt=True, return_dict=False)
    ids = chat(row["prompt"] + row["completion"], return_dict=False)
    return ids, [IGNORED] * len(prompt) + ids[len(prompt) :]


def collate(tokenizer, examples) -> dict[str, torch.Tensor]:
    """Examples of `encode` as input_ids and labels, both (batch, width).

    Padded on the right: a causal model needs no attention mask there, since no token
    looks ahead.
    """
    width = max(len(ids) for ids, _ in examples)
    ids, labels = [], []
    for row, wanted in examples:
        rest = width - len(row)
        ids.append(row + [tokenizer.pad_token_id] * rest)
        labels.append(wanted + [IGNORED] * rest)
    return {"input_ids": torch.tensor(ids), "labels": torch.tensor(labels)}


def stored_bytes(optimizer) -> int:
    """Bytes of the gradients and of the optimizer's own tensors, after a step."""
    weights = [w for group in optimizer.param_groups for w in group["params"]]
    stored = [w.grad for w in weights if w.grad is not None]
    for state in optimizer.state.values():
        stored += [value for value in state.values() if torch.is_tensor(value)]
    return sum(tensor.nbytes for tensor in stored)


def kept_bytes(model, batch) -> int:
    """Bytes that one forward pass keeps for the backward pass, weights left out.

    Tensors that share memory count once (torch.autograd.graph.saved_tensors_hooks).
    """
    known = {w.untyped_storage().data_ptr() for w in model.parameters()}
    kept = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in known:
            kept[storage.data_ptr()] = storage  # kept alive, as in training
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = model(**batch, use_cache=False).loss  # noqa: F841 (holds the graph)
    return sum(storage.nbytes() for storage in kept.values())
