"""What trainings import by and by, and nothing of the course; see warm.py."""

# ruff: noqa: F401
import accelerate
import bitsandbytes
import datasets
import peft.tuners.lora
import tensorboard
import transformers.models.llama.modeling_llama
import transformers.models.phi3.modeling_phi3
import trl.trainer.sft_trainer
