"""A short training run that can be killed and started again; see test_resume.py.

Usage: python -m tests.finetune.resumable_run FOLDER. Resumes from the newest whole
checkpoint there is, and at the end saves the adapter to FOLDER/final, which appears
whole or not at all.
"""

import os
import sys
from pathlib import Path

from helpers.config import load_profile
from helpers.finetune import last_checkpoint
from helpers.formatting.splits import load_splits
from helpers.models.loading import load_model, load_tokenizer, quiet
from tests.finetune import small_run


def main(folder):
    quiet()
    from peft import LoraConfig
    from trl import SFTConfig, SFTTrainer

    folder.mkdir(exist_ok=True)
    rows = load_splits(small_run.write_tickets(folder, 80))["train"]
    assert len(rows) == 64
    profile = load_profile("tiny")
    config = profile.training_config | {
        "output_dir": str(folder / "run"),
        "per_device_train_batch_size": 4,
        "max_steps": 12,
        "save_steps": 2,
        "eval_strategy": "no",
        "report_to": "none",
    }
    trainer = SFTTrainer(
        model=load_model(profile),
        args=SFTConfig(**config),
        train_dataset=rows,
        processing_class=load_tokenizer(profile),
        peft_config=LoraConfig(**profile.peft_config | {"lora_dropout": 0.1}),
    )
    trainer.train(resume_from_checkpoint=last_checkpoint(folder / "run"))
    trainer.model.save_pretrained(folder / "final.part")
    os.replace(folder / "final.part", folder / "final")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
