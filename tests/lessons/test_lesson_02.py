"""Lesson 02's figures, and the masks and packed rows that TRL really makes."""

import re

import nbformat
import pytest

from helpers.files import ROOT

LESSON = "02_prepare_chat_data"
CHAT = [
    {"role": "user", "content": "Hi, the tablet broke."},
    {"role": "assistant", "content": "Which order?"},
    {"role": "user", "content": "G4521"},
    {"role": "assistant", "content": '{"queue": "QWZ"}'},
]


@pytest.fixture(scope="module")
def prepare(tmp_path_factory):
    """A function (name, rows, **settings) -> (trainer, tokenizer, model)."""
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    from helpers.config import load_profile
    from helpers.models.loading import load_model, load_tokenizer

    folder = str(tmp_path_factory.mktemp("trainer"))

    def make(name, rows, **settings):
        profile = load_profile("tiny", model=str(ROOT / "data" / "checkpoints" / name))
        settings = {"output_dir": folder, "eval_strategy": "no", **settings}
        tokenizer, model = load_tokenizer(profile), load_model(profile)
        trainer = SFTTrainer(
            model=model,
            args=SFTConfig(**profile.training_config | settings),
            train_dataset=Dataset.from_list(rows),
            processing_class=tokenizer,
        )
        return trainer, tokenizer, model

    return make


def pairs(count):
    """Prompt-completion rows of several lengths."""
    return [
        {
            "prompt": [{"role": "user", "content": "Where is it? " * (i + 1)}],
            "completion": [{"role": "assistant", "content": f'{{"queue": "{i}"}}'}],
        }
        for i in range(count)
    ]


@pytest.mark.parametrize(
    "name, end", [("tiny-phi3", "<|end|>\n<|endoftext|>"), ("tiny-llama", "<|eot_id|>")]
)
def test_what_is_trained_is_the_answer_and_its_end(prepare, name, end):
    from helpers.widgets.tokens import token_kinds

    rows = [{"prompt": CHAT[:-1], "completion": CHAT[-1:]}, *pairs(1)]
    trainer, tokenizer, _ = prepare(name, rows)
    batch = trainer.data_collator(list(trainer.train_dataset))
    for row, example in enumerate(trainer.train_dataset):
        parts = [batch[k][row] for k in ("input_ids", "labels", "attention_mask")]
        kinds = token_kinds(tokenizer, *(part.tolist() for part in parts))
        kept = [k.split()[0] for k in kinds]
        assert kept == sorted(kept, key=["prompt", "trained", "padding"].index)
        trained = [i for i, k in zip(parts[0], kept, strict=True) if k == "trained"]
        answer = example["completion"][-1]["content"]
        assert tokenizer.decode(trained) == answer + end
    assert kept[-1] == "padding" and kinds.count("trained special") == end.count("|>")


def test_packed_rows_are_apart_only_without_a_mask(prepare):
    import torch

    trainer, tokenizer, model = prepare(
        "tiny-phi3", pairs(6), packing=True, max_length=512
    )
    row = trainer.train_dataset[0]
    batch = trainer.data_collator([row])
    assert len(row["seq_lengths"]) > 2 and "attention_mask" not in batch
    ids, positions = batch["input_ids"], batch["position_ids"]
    changed = ids.clone()
    changed[0, : row["seq_lengths"][0]] = ids[0, : row["seq_lengths"][0]].flip(0)

    def effect(**inputs):
        """How far the logits of later examples move when the first is exchanged."""
        with torch.no_grad():
            one = model(input_ids=ids, use_cache=False, **inputs).logits
            two = model(input_ids=changed, use_cache=False, **inputs).logits
        return (one - two)[0, row["seq_lengths"][0] :].abs().max().item()

    assert effect(position_ids=positions) == 0
    assert effect(position_ids=positions, attention_mask=torch.ones_like(ids)) > 0.1


@pytest.mark.slow
def test_figures(course_run):
    figures = course_run.rows[LESSON]["figures"]
    assert figures["reading_peak_mib"] < 1
    assert 0.4 < figures["trained_share"] < 0.6
    assert figures["stopless_share"] > 0.5
    assert figures["padding_packed"] == 0
    assert 0 < figures["padding_sorted"] < 0.02 < 0.1 < figures["padding_padded"]
    assert figures["packed_gap"] < 1e-4
    # As the lesson says of the tiny model: "less than 0.1", "from 1.6 to 4 nats".
    assert 1e-3 < figures["run_on_gap"] < 0.1 and 2 < figures["leak_gap"] < 4


@pytest.mark.slow
def test_the_executed_lesson_shows_what_it_says(course_run):
    executed = nbformat.read(course_run.notebooks[LESSON], as_version=4)
    cells = {c.id: c for c in executed.cells if c.cell_type == "code"}
    printed = {
        i: "".join(o.get("text", "") for o in c.outputs) for i, c in cells.items()
    }
    errors = re.findall(r"big\.jsonl:(\d+): .*, expected ", printed["check"])
    assert errors == ["20001", "20002", "20003"]
    assert "leaky/test.jsonl:401" in printed["leak"]
    for view in ("view", "turns-proof"):
        shown = next(o for o in cells[view].outputs if "data" in o)  # behind bars
        html = shown["data"]["text/html"]
        assert set(re.findall(r"<\s*(\w+)", html)) == {"div", "span", "b", "br", "wbr"}
    assert "padding" in cells["view"].outputs[0]["data"]["text/html"]
    assert not any("Warning" in text for text in printed.values())
    assert "image/png" in cells["lengths-figure"].outputs[0]["data"]


@pytest.mark.slow
def test_prose_counts_what_the_tables_show(course_run):
    """The cuts that do no harm, and why positions that start again are a riddle."""
    executed = nbformat.read(course_run.notebooks[LESSON], as_version=4)
    cells = {c.id: c for c in executed.cells}
    after, gone = re.search(
        r"in (\d+) of ([\d,]+)", cells["lengths-after"].source
    ).groups()
    table = cells["truncated"].outputs[-1]["data"]["text/plain"]
    fates = [int(n) for n in re.findall(r"(\d+)$", table, re.MULTILINE)][-4:]
    assert int(after) == fates[2] and int(gone.replace(",", "")) == sum(fates[1:3])
    reset, run_on = cells["distances"].outputs[0]["text"].splitlines()
    assert run_on == "run on: 1 tokens one back, 0 ahead"
    back, ahead = map(int, re.findall(r"\d+", reset))
    assert back == 3 and ahead > 100  # the third example, behind two others
