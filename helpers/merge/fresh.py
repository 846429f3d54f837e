"""Run by its path, in a process of its own: a folder's logits and answers.

    python fresh.py FOLDER REQUEST RESULT DEVICE

It knows transformers alone: chat template and stop tokens must come from the folder.
request: JSON, {"new_tokens": n, "rows": [{"prompt": messages, "answer": token ids}]}.
result: safetensors; a tensor a row, the logits that predict its answer, and in the
metadata what the model itself answers.
"""

# ruff: noqa: E402
import gc

gc.disable()  # a quarter of the time of the imports; this process is soon over

import json
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig


def main(folder: str, request: str, result: str, device: str) -> None:
    """Writes the result of a request."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    options = {"dtype": "auto", "device_map": device}  # not by way of main memory
    model = AutoModelForCausalLM.from_pretrained(folder, **options).eval()
    stop = model.generation_config.eos_token_id
    model.generation_config = GenerationConfig()  # its sampling would not be greedy
    asked = json.loads(Path(request).read_text(encoding="utf-8"))
    settings = GenerationConfig(
        max_new_tokens=asked["new_tokens"],
        do_sample=False,
        eos_token_id=stop,
        pad_token_id=tokenizer.pad_token_id,
    )
    logits, answers = {}, []
    for number, row in enumerate(asked["rows"]):
        prompt = tokenizer.apply_chat_template(
            row["prompt"], add_generation_prompt=True, return_dict=False
        )
        ids = torch.tensor([prompt + row["answer"]], device=device)
        with torch.inference_mode():
            found = model(ids).logits[0, len(prompt) - 1 :]  # (answer + 1, vocabulary)
            written = model.generate(ids[:, : len(prompt)], generation_config=settings)
        logits[str(number)] = found.float().cpu()
        new = written[0, len(prompt) :]
        answers.append(tokenizer.decode(new, skip_special_tokens=True))
    save_file(logits, result, {"answers": json.dumps(answers)})


if __name__ == "__main__":
    main(*sys.argv[1:])
