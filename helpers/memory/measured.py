"""What `helpers.memory` predicts, measured: the bytes of a model and its training."""

import torch


def measured_bytes(
    model, optimizer: torch.optim.Optimizer | None = None
) -> dict[str, int]:
    """Bytes of weights, adapter, gradients, optimizer, exactly; tied weights once.

    weights: every parameter but PEFT's, a 4-bit one with all of its quantisation state.
    gradients, optimizer: 0 before the first backward pass and step.
    """
    sizes = dict.fromkeys(("weights", "adapter", "gradients", "optimizer"), 0)
    for name, weight in model.named_parameters():
        part = "adapter" if ".lora_" in name else "weights"
        tensors = [weight, *quantisation_tensors(weight)]
        sizes[part] += sum(tensor.nbytes for tensor in tensors)
        sizes["gradients"] += 0 if weight.grad is None else weight.grad.nbytes
    if optimizer is not None:
        sizes["optimizer"] = sum(tensor.nbytes for tensor in state_tensors(optimizer))
    return sizes


def stored_bytes(optimizer: torch.optim.Optimizer) -> int:
    """Bytes of the gradients and of the optimizer's own tensors, after a step."""
    weights = [w for group in optimizer.param_groups for w in group["params"]]
    gradients = [w.grad for w in weights if w.grad is not None]
    return sum(tensor.nbytes for tensor in gradients + state_tensors(optimizer))


def state_tensors(optimizer: torch.optim.Optimizer) -> list[torch.Tensor]:
    """The tensors that an optimizer keeps; none before its first step."""
    values = [value for state in optimizer.state.values() for value in state.values()]
    return [value for value in values if torch.is_tensor(value)]


def quantisation_tensors(weight: torch.Tensor) -> list[torch.Tensor]:
    """What bitsandbytes keeps beside a 4-bit weight; nothing for any other weight."""
    state = getattr(weight, "quant_state", None)
    if state is None:
        return []
    tensors = [state.absmax, state.code]
    if state.nested:
        tensors += [state.offset, state.state2.absmax, state.state2.code]
    return tensors


def kept_bytes(model, batch: dict) -> int:
    """Bytes that one forward pass keeps for the backward pass, weights left out.

    Tensors that share memory count once (torch.autograd.graph.saved_tensors_hooks).
    """
    known = {w.untyped_storage().data_ptr() for w in model.parameters()}
    kept = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in known:
            kept[storage.data_ptr()] = storage  # kept alive, as in training
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = model(**batch, use_cache=False).loss  # noqa: F841 (holds the graph)
    return sum(storage.nbytes() for storage in kept.values())
