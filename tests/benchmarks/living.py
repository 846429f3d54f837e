"""The activations of a forward pass and the peak of a whole step, measured.

They hold `helpers.memory` to account: the tests on a CPU, the benchmark on a GPU.
"""

import weakref
from types import SimpleNamespace

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from helpers.memory.measured import kept_bytes, quantisation_tensors, state_tensors


class Trunk(nn.Module):
    """A causal language model without its head, in the form that `kept_bytes` takes."""

    def __init__(self, model) -> None:
        super().__init__()
        causal = model.get_base_model() if hasattr(model, "get_base_model") else model
        self.trunk = causal.base_model
        self.dtype = causal.get_input_embeddings().weight.dtype

    def forward(self, **inputs) -> SimpleNamespace:
        with autocast(inputs["input_ids"].device, self.dtype):
            hidden = self.trunk(**inputs)
        return SimpleNamespace(loss=hidden.last_hidden_state.sum())


class Alone(nn.Module):
    """One decoder layer by itself, with the input that it gets in a pass of the model.

    That input is a parameter here: `kept_bytes` leaves it out, since checkpointing has
    kept it already.
    """

    def __init__(self, layer: nn.Module, trunk: Trunk, batch: dict) -> None:
        super().__init__()
        seen = {}
        hook = layer.register_forward_pre_hook(
            lambda _, args, kwargs: seen.update(args=args, kwargs=kwargs),
            with_kwargs=True,
        )
        with torch.no_grad():
            trunk(**batch, use_cache=False)
        hook.remove()
        self.layer, self.kwargs, self.dtype = layer, seen["kwargs"], trunk.dtype
        self.hidden = nn.Parameter(seen["args"][0])

    def forward(self, use_cache: bool) -> SimpleNamespace:
        with autocast(self.hidden.device, self.dtype):
            output = self.layer(self.hidden, **self.kwargs)
        return SimpleNamespace(loss=output.sum())


def autocast(device: torch.device, dtype: torch.dtype) -> torch.autocast:
    """Autocast for a 16-bit model, as `SFTConfig(bf16=True)` trains; none for fp32."""
    mixed = dtype in (torch.float16, torch.bfloat16)
    return torch.autocast(device.type, dtype if mixed else None, enabled=mixed)


def measured_activations(model, batch: dict) -> int:
    """Bytes that a forward pass keeps for the backward pass, head and loss left out.

    batch: a dict with input_ids and maybe attention_mask, both (batch, length).
    Parameters are left out as well. With activation checkpointing, which works in
    `model.train()` only, one decoder layer is added, as the backward pass rebuilds it.
    """
    trunk = Trunk(model)
    batch = {k: batch[k] for k in ("input_ids", "attention_mask") if k in batch}
    kept = kept_bytes(trunk, batch)
    layer = trunk.trunk.layers[-1]
    if not (layer.gradient_checkpointing and layer.training):
        return kept
    alone = Alone(layer, trunk, batch)
    layer.gradient_checkpointing = False
    try:
        return kept + kept_bytes(alone, {})
    finally:
        layer.gradient_checkpointing = True


class Living(TorchDispatchMode):
    """Counts the bytes of all tensors alive, each memory once, and their peak.

    Stands for torch.cuda.max_memory_allocated on a CPU. It does not see what a kernel
    allocates for itself, and rounds nothing up to the allocator's blocks.
    """

    def __init__(self, tensors: list[torch.Tensor]) -> None:
        super().__init__()
        self.sizes, self.now, self.peak = {}, 0, 0
        for tensor in tensors:
            self.count(tensor)

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        output = func(*args, **(kwargs or {}))
        for value in tree_leaves(output):
            if torch.is_tensor(value):
                self.count(value)
        return output

    def count(self, tensor: torch.Tensor) -> None:
        storage = tensor.untyped_storage()
        if (key := storage._cdata) not in self.sizes:
            self.sizes[key] = storage.nbytes()
            self.now += storage.nbytes()
            self.peak = max(self.peak, self.now)
            weakref.finalize(storage, self.forget, key)

    def forget(self, key: int) -> None:
        self.now -= self.sizes.pop(key)


def measured_peak(model, optimizer: torch.optim.Optimizer, step) -> int:
    """Bytes alive at the worst moment of step(), model and optimizer included.

    step: a function without arguments that updates the model. Call it once before, so
    that the optimizer's states exist. On a CUDA GPU this is
    torch.cuda.max_memory_allocated, elsewhere the count of `Living`.
    """
    if model.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        step()
        return torch.cuda.max_memory_allocated()
    weights = list(model.parameters())
    known = [tensor for w in weights for tensor in (w, *quantisation_tensors(w))]
    with Living(known + state_tensors(optimizer)) as living:
        step()
    return living.peak
