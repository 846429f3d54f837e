"""What a lesson has trained, kept for the lessons that start from an adapter."""

import re
from pathlib import Path

from filelock import FileLock

from helpers.config import Profile, load_profile
from helpers.files import CHECKPOINTS, shown, write_json
from helpers.finetune import starting_point
from helpers.finetune.run_folder import RunFolder
from helpers.finetune.starting_point import CONFIG, fits, planned
from helpers.models import bypassed, fingerprint, four_bit, unadapted_modules

# Settings of a training that its adapter does not depend on.
WATCHES = re.compile(
    "do_|output_dir|run_name|report_to|disable_tqdm|(eval|save|logging)_|.*_eval_"
)
# What PEFT itself writes into the settings of an adapter.
WRITTEN = {"base_model_name_or_path", "inference_mode", "target_modules"}


def keep_adapter(trainer, profile: Profile, splits) -> Path | None:
    """Keeps what a lesson trained on the tickets for those that start from an adapter.

    Only what `adapter_folder` would train for them, which on as many threads of a CPU
    is the same to the last bit: the profile's recipe from the start to the end. Prints
    what became of it, and returns the folder, None where nothing was kept. trainer:
    after training. splits: what it was trained on.
    """
    if profile.name == "tiny" and fits(CHECKPOINTS / "tickets-lora", profile):
        print("other lessons start from the adapter that ships with the course")
        return None
    from helpers.finetune.metrics import describe_training, digest
    from helpers.finetune.recipe import tidy_config
    from helpers.formatting import load_splits

    tickets = load_splits(data := starting_point.TICKETS)
    _, identity, path = planned(profile, "tickets-lora", data, {}, tickets)
    other = "data" if digest(splits) != digest(tickets) else None
    if other := other or _other(trainer, profile, len(tickets["train"])):
        print(f"not kept for other lessons: its {other} is not the profile's")
        return None
    folder = RunFolder(path)
    with FileLock(f"{path}.lock"):
        if not folder.complete():
            base = fingerprint(trainer.model)  # of its weights without the adapter
            folder.begin(identity := identity | {"base": base})
            metrics = describe_training(trainer, identity, shown(data))

            def save(part: Path) -> None:
                trainer.model.save_pretrained(part)
                trainer.processing_class.save_pretrained(part)
                tidy_config(part / CONFIG, identity["model"])
                (part / "README.md").unlink(missing_ok=True)  # PEFT's, an empty form
                write_json(part / folder.metrics.name, metrics)

            folder.publish(save)
    print(f"kept for the lessons that start from an adapter: {shown(path)}")
    return path


def _other(trainer, profile: Profile, rows: int) -> str | None:
    """What of a training is not as the profile's recipe has it.

    rows: how many examples that one trains on.
    """
    from peft import LoraConfig
    from trl import SFTConfig

    # As it was before a cell changed its settings.
    asked = load_profile(profile.name, profile.model)
    # For these `helpers.finetune` has other settings than the profile.
    if four_bit(profile) or bypassed(trainer.model) or trainer.aux_loss_enabled:
        return "kind of model"
    did, config = trainer.args.to_dict(), SFTConfig(**asked.training_config).to_dict()
    found = [k for k in config if not WATCHES.match(k) and did[k] != config[k]]
    did = trainer.model.peft_config["default"].to_dict()
    lora = LoraConfig(**asked.peft_config).to_dict()
    found += [k for k in lora.keys() - WRITTEN if did[k] != lora[k]]
    if unadapted_modules(trainer.model):  # PEFT lists what "all-linear" stood for
        found.append("target_modules")
    if len(trainer.train_dataset) != rows:
        found.append("number of rows")
    # The optimiser of a training that was stopped counts on when it begins anew.
    states = trainer.optimizer.state.values() if trainer.optimizer else []
    updates = max((int(state["step"]) for state in states), default=0)
    if not 0 < updates <= trainer.state.global_step == trainer.state.max_steps:
        found.append("number of updates")
    return found[0] if found else None
