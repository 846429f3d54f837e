"""Measures how far llama.cpp's answers are from transformers', by cause.

    python -m tests.benchmarks.llamacpp [--profile small] [--rows 50] [--output FOLDER]

The tickets adapter merged into its base; that of `small` is trained where no lesson has
kept one. Greedy answers to validation messages, against transformers' in 32 bit on the
same token ids. Writes llamacpp.PROFILE.MACHINE.json to data/results/, a row a cause;
one that is there already is not measured again. Exit code 2 where llama.cpp is not set
up, and for a file of other messages.

Figures of a row, over all answers: same, exact_match: shares of answers; difference:
the largest between the log-probabilities of the ten likeliest tokens, as far as both
have written the same. The causes that are Ollama's are what its source does (commit
fb30760 of August 2026), done here to llama.cpp's server, which it runs.
"""

import json
import math
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path

from helpers import Parser, UserError, run_command, serving
from helpers.config import load_profile
from helpers.course.ledger import RESULTS
from helpers.evaluation import prompt_ids, stop_ids
from helpers.files import ROOT
from helpers.finetune import adapter_folder
from helpers.formatting import load_splits
from helpers.serving import llamacpp
from helpers.sweep import rows as ledger
from tests.benchmarks.serving import merge

KINDS = ("F32", "F16", "Q8_0", "Q4_0", "Q4_K_M")
TOP = 10
ADAPTER = "tickets-lora"
TICKETS = ROOT / "data" / "tickets"
ROUNDED = "only the weights rounded"
PRE, BOS = "tokenizer.ggml.pre", "tokenizer.ggml.add_bos_token"
OLLAMA = {"temperature": 0.8, "top_k": 40, "top_p": 0.9}
ANGLES = "position angles unread (Ollama's import of a folder)"
BREAK = "the last line break of the prompt is missing"
CONTEXT = 48
CUT = f"prompt cut to a context of {CONTEXT} tokens, as Ollama cuts"
# {cause: what is changed of the exported file}. None: the setting is left out.
FILES = {
    "first token added (the converter says nothing of it)": {BOS: None},
    "pieces of an unknown tokenizer (Ollama's import of a folder)": {PRE: "default"},
    ANGLES: {},  # as the architecture has it
}
# {cause: how the prompt is written}.
PROMPTS = {
    "no template": "{}",
    "Zephyr's template (Ollama's guess for Phi-3's)": "<|user|>\n{}</s>\n<|assistant|>",
    "ChatML without a system message (Ollama's guess for SmolLM2's)": (
        "<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n"
    ),
}
# {cause: settings of the request}.
SAMPLING = {f"Ollama's sampling, seed {n}": OLLAMA | {"seed": n} for n in range(3)}
SAMPLING["repetition punished (an older default of Ollama's)"] = {"repeat_penalty": 1.1}


class Model:
    """A folder, its answers by transformers, and its files for llama.cpp."""

    def __init__(self, folder: Path, work: Path, examples, new_tokens: int):
        self.folder, self.work, self.new_tokens = folder, work, new_tokens
        self.prompts = [row["prompt"] for row in examples]
        self.expected = [row["completion"][0]["content"] for row in examples]

    @cached_property
    def tokenizer(self):
        import transformers

        return transformers.AutoTokenizer.from_pretrained(self.folder)

    @cached_property
    def reference(self) -> list[dict]:
        """For each prompt: ids, new (the answer's ids), text, logprobs (new, vocab)."""
        import torch
        import transformers

        load = transformers.AutoModelForCausalLM.from_pretrained
        model = load(self.folder, dtype=torch.float32).eval()
        stops, rows = stop_ids(model, self.tokenizer), []
        options = {"max_new_tokens": self.new_tokens, "do_sample": False}
        options |= {"eos_token_id": stops, "pad_token_id": stops[0]}
        for prompt in self.prompts:
            ids = prompt_ids(self.tokenizer, prompt)
            with torch.inference_mode():
                whole = model.generate(torch.tensor([ids]), **options)
                logits = model(whole).logits[0, len(ids) - 1 : -1]
            new = whole[0, len(ids) :].tolist()
            text = self.tokenizer.decode(new, skip_special_tokens=True)
            row = {"ids": ids, "new": new, "text": text}
            rows.append(row | {"logprobs": logits.log_softmax(-1)})
        return rows

    def file(self, kind: str, changes: dict | None = None) -> Path:
        """A file of the model, made once."""
        name = "-".join([kind, *(changes or {})]).replace(".", "_")
        path = self.work / f"{name}.gguf"
        if not path.exists():
            serving.export_gguf(self.folder, path, kind, changes)
        return path

    def answers(self, server, prompts: list, **settings) -> list[dict]:
        """The server's answers to prompts, each a text or ids."""
        request = {"n_predict": self.new_tokens, "temperature": 0, "n_probs": TOP}
        request |= {"return_tokens": True, "cache_prompt": False} | settings
        bodies = [request | {"prompt": prompt} for prompt in prompts]
        return [serving.ask_llamacpp(server, "completion", body) for body in bodies]

    def scores(self, answers: list[dict]) -> dict:
        """same, exact_match and difference of some answers."""
        pairs = list(zip(self.reference, answers, strict=True))
        same = [row["text"] == answer["content"] for row, answer in pairs]
        pairs_right = zip(self.expected, answers, strict=True)
        right = [text == answer["content"] for text, answer in pairs_right]
        found = {"same": mean(same), "exact_match": mean(right)}
        return found | {"difference": max(apart(*pair) for pair in pairs)}


def apart(row: dict, answer: dict) -> float:
    """The largest difference of log-probabilities while both write the same."""
    largest, found = 0.0, answer["completion_probabilities"]
    for token, expected, step in zip(row["new"], row["logprobs"], found, strict=False):
        for near in step["top_logprobs"]:
            if near["logprob"] is None:  # no number: a broken model
                return math.inf
            largest = max(largest, abs(near["logprob"] - expected[near["id"]].item()))
        if step["id"] != token:
            break
    return largest


def mean(hits: list) -> float:
    return sum(hits) / len(hits)


@contextmanager
def serve(file: Path, **options):
    """A server for as long as a block lasts."""
    server = serving.start_llamacpp(file, work=file.parent, **options)
    try:
        yield server
    finally:
        server.stop()


def measure_weights(model: Model, rows: list[dict]) -> Iterator[dict]:
    """By type of weights; "exact": keys and values in 32 bit too."""
    for row in rows:
        kind, *how = row["cause"].split(", ")
        file = model.file(kind)
        found = {"mib": file.stat().st_size / 2**20}
        if ROUNDED in how:
            file = rounded(file)
        options = {"exact": "exact" in how, "repack": "not repacked" not in how}
        with serve(file, **options) as server:
            ids = [row["ids"] for row in model.reference]
            yield found | model.scores(model.answers(server, ids))


def rounded(file: Path) -> Path:
    """The weights of a quantised file, in 32 bit."""
    output = file.with_name(f"{file.stem}-F32.gguf")
    call = [serving.llamacpp_python(), llamacpp.TOOLS, "quantize", file, output, "F32"]
    subprocess.run([str(part) for part in call], check=True, capture_output=True)
    return output


def measure_causes(model: Model, rows: list[dict]) -> Iterator[dict]:
    """By what is done otherwise, in 16 bit."""
    for row in rows:
        cause, changes = row["cause"], FILES.get(row["cause"])
        if cause == ANGLES:
            changes = angles(model)
        with serve(model.file("F16", changes)) as server:
            prompts = written(model, cause, server)
            settings = SAMPLING.get(cause, {})
            found = model.scores(model.answers(server, prompts, **settings))
        found.pop("difference")  # of other prompts, or of other sampling
        yield found


def written(model: Model, cause: str, server) -> list:
    """The prompts as a cause writes them; else by the file's own template."""
    if cause in PROMPTS:
        return [PROMPTS[cause].format(p[-1]["content"]) for p in model.prompts]
    if cause == CUT:
        return [cut(row["ids"], CONTEXT) for row in model.reference]
    texts = [render(server, prompt) for prompt in model.prompts]
    return [text.removesuffix("\n") for text in texts] if cause == BREAK else texts


def render(server, prompt: list[dict]) -> str:
    """A chat as llama.cpp writes it by the template that is in the file."""
    return serving.ask_llamacpp(server, "apply-template", {"messages": prompt})[
        "prompt"
    ]


def cut(ids: list[int], context: int, keep: int = 4) -> list[int]:
    """What Ollama leaves of a prompt that is too long for its context."""
    if len(ids) < context:
        return ids
    room = context - max((context - keep) // 2, 1)
    return ids[:keep] + ids[-(room - keep) :]


def angles(model: Model) -> dict:
    """What Ollama makes of a config.json that has no rope_theta at its top."""
    text = (model.folder / "config.json").read_text(encoding="utf-8")
    kind = json.loads(text)["model_type"]
    return {f"{kind}.rope.freq_base": 0.0 if kind == "phi3" else None}


def measure_tokens(model: Model, rows: list[dict]) -> Iterator[dict]:
    """Of all messages of data/tickets: prompts and their ids as transformers' own."""
    prompts = [
        row["prompt"] for split in load_splits(TICKETS).values() for row in split
    ]
    begin = [model.tokenizer.bos_token_id] * 2
    for row in rows:
        found = {"messages": len(prompts), "same_text": 0, "same_ids": 0, "twice": 0}
        with serve(model.file("F16", FILES.get(row["cause"]))) as server:
            for prompt in prompts:
                text = render(server, prompt)
                body = {"content": text, "add_special": True, "parse_special": True}
                ids = serving.ask_llamacpp(server, "tokenize", body)["tokens"]
                expected = model.tokenizer.apply_chat_template(
                    prompt, tokenize=False, add_generation_prompt=True
                )
                found["same_text"] += text == expected
                found["same_ids"] += ids == prompt_ids(model.tokenizer, prompt)
                found["twice"] += ids[:2] == begin
        yield found


def parts(model: Model, name: str) -> list[ledger.Part]:
    """What is measured: weights, then causes, then tokens."""
    weights = ["F32, exact", *KINDS, "Q8_0, not repacked", "Q4_0, not repacked"]
    weights += [f"{kind}, {ROUNDED}" for kind in ("Q8_0", "Q4_0", "Q4_K_M")]
    causes = ["ours", *FILES, *PROMPTS, BREAK, *SAMPLING, CUT]
    tokens = ["ours", *[cause for cause in FILES if cause != ANGLES]]
    about = {"answers": len(model.prompts), "new_tokens": model.new_tokens}
    about |= {"model": model.folder.name, "packages": pins()}
    listed = (
        ("weights", weights, measure_weights),
        ("cause", causes, measure_causes),
        ("tokens", tokens, measure_tokens),
    )
    return [
        ledger.Part(name, rows(what, names), partial(measure, model), 1, 0, about)
        for what, names, measure in listed
    ]


def rows(what: str, names: list[str]) -> list[dict]:
    return [{"what": what, "cause": name} for name in names]


def pins() -> dict[str, str]:
    """{package of llama.cpp's environment: version}."""
    text = (ROOT / "helpers/serving/requirements-llamacpp.txt").read_text("utf-8")
    lines = [li.split("#")[0].split("==") for li in text.splitlines() if "==" in li]
    return {name: version.strip() for name, version in lines if " " not in name}


def main(argv=None) -> int:
    """Runs the command; 1 where rows are left. Raises UserError."""
    parser = Parser("python -m tests.benchmarks.llamacpp", description=__doc__)
    parser.add_argument("--profile", choices=("tiny", "small"), default="tiny")
    parser.add_argument("--rows", type=int, default=50)
    parser.add_argument("--new-tokens", type=int, default=56)
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = parser.parse_args(argv)
    if serving.llamacpp_python() is None:
        raise UserError("requires llama.cpp, not found here: `make llamacpp`")
    examples = load_splits(TICKETS)["validation"].select(range(options.rows))
    profile = load_profile(options.profile)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / f"{Path(profile.model).name} with {ADAPTER}"
        model = Model(folder, Path(place), examples, options.new_tokens)
        measured = parts(model, f"llamacpp.{options.profile}")
        check_file(measured[0], options.output)
        adapter = adapter_folder(profile, "auto", ADAPTER)
        merge(replace(profile, dtype="float32"), folder, [], adapter)
        left = ledger.measure(measured, options.output, ledger.Budget(10_000))
        return 1 if left else 0


def check_file(part: ledger.Part, output: Path) -> None:
    """Raises UserError for a file of another model, or other answers."""
    file = ledger.RowFile(part.name, output)
    for key in ("model", "answers", "new_tokens"):
        if (there := file.entry.get(key, part.about[key])) != part.about[key]:
            what = f"{file.path} has {key} {there}, and not {part.about[key]}"
            raise UserError(f"{what}: give another folder as --output")


if __name__ == "__main__":
    sys.exit(run_command("benchmarks.llamacpp", main))
