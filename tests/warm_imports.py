"""What trainings and lessons import by and by, and nothing of the course; see warm.py.

Nor matplotlib: what it draws on, it takes from the environment as it is imported.
"""

# ruff: noqa: E402, F401
import logging

said = logging.getLogger("bitsandbytes")
said.setLevel(logging.ERROR)  # on import it misses kernels that no CPU run needs

import accelerate
import bitsandbytes
import datasets
import detect_secrets.core.plugins.util
import ipykernel.kernelapp
import papermill
import peft.tuners.lora
import rensa
import stdnum.iban
import stdnum.luhn
import tensorboard
import torch.utils.tensorboard
import transformers.models.llama.modeling_llama
import transformers.models.phi3.modeling_phi3
import trl.trainer.sft_trainer

said.setLevel(logging.NOTSET)
