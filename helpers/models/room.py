"""Room for a model: what a GPU has left, and letting go of what is in the way."""

import gc

import torch

from helpers.models.integrity import ModelError

# What a freed model must not do any more: it would fail far from the cause, or worse,
# write or hash weights that are empty.
USES = ("forward", "generate", "state_dict", "save_pretrained", "merge_and_unload")


def free(*things) -> None:
    """Lets go of the weights, gradients and optimizer states of models and trainers.

    `del` is not enough: a model that went through SFTTrainer stays in reference cycles
    with its trainer, and one notebook variable more keeps any model alive. So the
    tensors themselves are emptied, whoever still holds them. Afterwards each use of
    the model raises ModelError: load it again.
    """
    for thing in things:
        model = thing if isinstance(thing, torch.nn.Module) else thing.model
        if getattr(thing, "optimizer", None) is not None:
            thing.optimizer.state.clear()
        for module in model.modules():
            _empty(module)
    gc.collect()
    torch.cuda.empty_cache()  # does nothing where CUDA is not in use


def available_bytes() -> int:
    """What this process can still allocate on its GPU.

    That is what the driver calls free, and what torch's allocator keeps unused.
    """
    unused = torch.cuda.memory_reserved() - torch.cuda.memory_allocated()
    return torch.cuda.mem_get_info()[0] + unused


def _empty(module: torch.nn.Module) -> None:
    """Empties the tensors of one module, and refuses its use from now on."""
    for tensor in [*module.parameters(recurse=False), *module.buffers(recurse=False)]:
        tensor.grad = None
        tensor.data = torch.empty(0, dtype=tensor.dtype, device=tensor.device)
        if hasattr(tensor, "quant_state"):  # the scales of a 4-bit weight
            tensor.quant_state = module.quant_state = None
    vars(module).pop("_cache", None)  # the static cache of a generation
    for name in USES:
        if hasattr(type(module), name):
            setattr(module, name, _refuse)


def _refuse(*args, **kwargs):
    """Stands where a freed model's methods were."""
    raise ModelError("this model was freed, to make room for another: load it again")
