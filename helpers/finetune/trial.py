"""What is tried before the base is scored, so that no run ends after minutes of it."""

from helpers.finetune.errors import RunError
from helpers.finetune.rows import say
from helpers.finetune.settings import build


def check_schedule(args) -> None:
    """Raises RunError for a schedule that the Trainer could not make once it trains."""
    from torch import zeros
    from torch.optim import SGD
    from transformers import get_scheduler

    parts = {"name": args.lr_scheduler_type, "num_warmup_steps": 1}
    parts |= {"num_training_steps": 2, "optimizer": SGD([zeros(1)], args.learning_rate)}
    parts["scheduler_specific_kwargs"] = args.lr_scheduler_kwargs
    build(get_scheduler, "training_config", parts)
    if (warm := args.get_warmup_steps(args.max_steps)) and args.lr_scheduler_type in (
        "constant",
        "reduce_lr_on_plateau",
    ):
        what = f"{args.lr_scheduler_type.value} leaves out the warm-up ({warm} updates)"
        say(f"{what}: constant_with_warmup has it")


def check_optimizer(args, model) -> None:
    """Raises RunError for an optimizer that the Trainer could not make."""
    from transformers import Trainer

    parts = {"args": args, "model": model}
    build(Trainer.get_optimizer_cls_and_kwargs, "training_config", parts)


def check_head(model) -> None:
    """Raises RunError for an output head that the loss of TRL 1.16 cannot read."""
    if not hasattr(model.get_output_embeddings(), "bias"):
        what = "peft_config: trainable_token_indices wraps a head that is the embedding"
        raise RunError(
            f"{what}, which TRL's loss cannot read: train its whole rows "
            "with modules_to_save: [embed_tokens]"
        )
