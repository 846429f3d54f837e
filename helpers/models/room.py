"""Room for a model: what a GPU has left, and letting go of what is in the way."""

import gc

import torch

from helpers.config import GIB, Profile
from helpers.models.integrity import ModelError
from helpers.models.shapes import linear_shapes, skeleton

# What a freed model must not do any more: it would fail far from the cause, or worse,
# write or hash weights that are empty.
USES = ("forward", "generate", "state_dict", "save_pretrained", "merge_and_unload")


def free(*things) -> None:
    """Lets go of the weights, gradients and optimizer states of models and trainers.

    `del` is not enough: a model that went through SFTTrainer stays in reference cycles
    with its trainer, and one notebook variable more keeps any model alive. So the
    tensors themselves are emptied, whoever still holds them, and with them a model
    that was merged from this one. Each use of it raises ModelError from then on.
    """
    for thing in things:
        model = thing if isinstance(thing, torch.nn.Module) else thing.model
        if getattr(thing, "optimizer", None) is not None:
            thing.optimizer.state.clear()
        for module in model.modules():
            _empty(module)
    if torch.cuda.is_initialized():  # on a CPU the rest of a cycle is small
        gc.collect()
        torch.cuda.empty_cache()


def available_bytes(device: int | None = None) -> int:
    """What can still be allocated on a GPU: free, or kept by torch and unused."""
    kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return torch.cuda.mem_get_info(device)[0] + kept


def check_room(name: str, config, profile: Profile, quantized: bool, gpu: int) -> None:
    """Raises ModelError where the weights to come do not fit beside what is there."""
    needed, free_now = weight_bytes(config, profile, quantized), available_bytes(gpu)
    if needed <= free_now:
        return
    held = torch.cuda.memory_allocated(gpu)
    line = f"{name} takes {needed / GIB:.1f} GiB, and {free_now / GIB:.1f} GiB are free"
    if held > needed / 10:
        way = f"{held / GIB:.1f} GiB are held by models of this process"
        raise ModelError(f"{line}: {way}: free(model) first")
    remedy = "end what else runs on this GPU, or use a smaller MODEL"
    raise ModelError(f"{line}: {remedy}{'' if quantized else ', or QLoRA'}")


def weight_bytes(config, profile: Profile, quantized: bool) -> int:
    """Bytes of a model's weights as `load_model` loads them.

    0 for a checkpoint that is quantised itself: only its own library knows.
    """
    if hasattr(config, "quantization_config"):
        return 0
    model = skeleton(config)
    width = getattr(torch, profile.dtype).itemsize
    packed = sum(a * b for a, b in linear_shapes(model).values()) if quantized else 0
    # 4 bits and, for 64 values, a maximum in fp32, or in one byte.
    nested = profile.quantization_config.get("bnb_4bit_use_double_quant")
    four_bit = 0.5 + (1 if nested else 4) / 64
    return int(width * (model.num_parameters() - packed) + four_bit * packed)


def _empty(module: torch.nn.Module) -> None:
    """Empties the tensors of one module, and refuses its use from now on."""
    for tensor in [*module.parameters(recurse=False), *module.buffers(recurse=False)]:
        tensor.grad = None
        tensor.data = torch.empty(0, dtype=tensor.dtype, device=tensor.device)
        if hasattr(tensor, "quant_state"):  # the scales of a 4-bit weight
            tensor.quant_state = module.quant_state = None
    for name in USES:
        if hasattr(type(module), name):
            setattr(module, name, _refuse)


def _refuse(*args, **kwargs):
    """Stands where a freed model's methods were."""
    raise ModelError("this model was freed, to make room for another: load it again")
