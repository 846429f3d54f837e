"""What a limit and a template do to each row is known before TRL does it."""

import json
from pathlib import Path

import pytest
import trl

from helpers.config import load_profile
from helpers.formatting.lengths import count_lengths
from helpers.formatting.lines import DataError
from helpers.formatting.rendering import Encoder
from helpers.formatting.splits import load_splits
from helpers.models.loading import load_tokenizer
from helpers.models.tokens import NO_THINKING, answer_end, let_think
from helpers.widgets.tokens import token_kinds

TEMPLATES = Path(trl.__file__).parent / "chat_templates"
TOOLS = [{"type": "function", "function": {"name": "shelf", "parameters": {}}}]
CALL = {"type": "function", "function": {"name": "shelf", "arguments": {"part": 7}}}
USER = {"role": "user", "content": "Which shelf?"}
THOUGHTS = {"reasoning_content": "It is on top.", "thinking": "It is on top."}


@pytest.fixture(scope="module")
def tickets():
    return load_splits("data/tickets", lines=True)["train"].select(range(60))


def tokenizer(name="tiny-phi3", template=None):
    found = load_tokenizer(load_profile("tiny", model=f"data/checkpoints/{name}"))
    if template:
        found.chat_template = (TEMPLATES / f"{template}.jinja").read_text("utf-8")
    return found


def test_fates_are_those_that_trl_deals(tickets, tmp_path):
    from trl import SFTConfig, SFTTrainer

    from helpers.models.loading import load_model

    phi3 = tokenizer()
    stops, limit = {phi3.eos_token_id, answer_end(phi3)}, 96
    found = count_lengths(phi3, tickets, limit, stops)
    args = SFTConfig(str(tmp_path), max_length=limit, use_cpu=True, bf16=False)
    trainer = SFTTrainer(
        model=load_model(load_profile("tiny")),
        args=args,
        train_dataset=tickets,
        processing_class=phi3,
    )
    left = {row["line"]: row for row in trainer.train_dataset}
    for place, line in enumerate(found.lines):
        learnt = [i for i in left.get(line, {"labels": []})["labels"] if i != -100]
        fate = next(
            (f for f, places in found.fates.items() if place in places), "whole"
        )
        assert (fate == "dropped") == (not learnt)
        assert (fate in ("whole", "harmless")) == bool(stops & {*learnt})
    assert {"words lost", "harmless"} <= found.fates.keys()
    assert not count_lengths(phi3, tickets, found.needed, stops).spoilt
    assert count_lengths(phi3, tickets, found.needed - 1, stops).spoilt


def test_each_fate_at_its_length(tickets):
    """The answer's first token, its end and what follows it decide."""
    phi3, rows = tokenizer(), tickets.select([0])
    stops = {answer_end(phi3)}
    whole = count_lengths(phi3, rows, 999, stops)
    (tokens,), (answer,), end = whole.tokens, whole.answers, whole.needed
    fates = {
        limit: next(iter(count_lengths(phi3, rows, limit, stops).fates), None)
        for limit in (tokens - answer, tokens - answer + 1, end - 1, end, tokens)
    }
    assert list(fates.values())[:3] == ["dropped", "words lost", "end lost"]
    assert fates[tokens] is None and (end == tokens or fates[end] == "harmless")
    text = str(count_lengths(phi3, rows, end - 1, stops))
    assert "data/tickets/train.jsonl:1" in text and f"no answer: {end}" in text


ROWS = {
    "calls alone": ([USER], {"content": "", "tool_calls": [CALL]}),
    "call": ([USER], {"content": "", "tool_calls": [CALL]}),
    "after a result": (
        [
            USER,
            {"role": "assistant", "content": "", "tool_calls": [CALL]},
            {"role": "tool", "content": "S77"},
        ],
        {"content": "Shelf S77"},
    ),
    "thinking": ([USER], {"content": "Shelf S1"} | THOUGHTS),
}


def row(name):
    prompt, answer = ROWS[name]
    known = None if name in ("thinking", "calls alone") else TOOLS
    answer = {"role": "assistant"} | answer
    return {"prompt": prompt, "completion": [answer], "tools": known, "line": "f:3"}


@pytest.mark.parametrize("name", ROWS)
def test_a_template_that_knows_it_learns_the_whole_answer(name):
    qwen = tokenizer("tiny-llama", "qwen3")
    ids, labels = Encoder(qwen)(row(name))
    learnt = qwen.decode([label for label in labels if label != -100])
    for part in {
        "call": ['"part": 7'],
        "calls alone": ["shelf"],
        "thinking": ["on top.", "S1"],
    }.get(name, ["S77"]):
        assert part in learnt
    assert "Which shelf?" not in learnt and qwen.decode(ids).count("Which shelf?") == 1
    kinds = token_kinds(qwen, ids, labels)
    assert kinds.count("prompt") + kinds.count("prompt special") == labels.count(-100)


@pytest.mark.parametrize(
    "name, template, what",
    [
        ("call", "phi3", "leaves out the tool 'shelf'"),
        ("call", "llama3", "leaves out the tool 'shelf'"),
        ("calls alone", "phi3", "leaves out the call of 'shelf' in message 2"),
        ("calls alone", "llama3", "leaves out the call of 'shelf' in message 2"),
        ("thinking", "phi3", "leaves out the thinking of message 2"),
        ("thinking", "llama3_1", "leaves out the thinking of message 2"),
        ("after a result", "gemma3", "f:3: the chat template of"),
    ],
)
def test_a_template_that_does_not_is_refused_with_the_line(name, template, what):
    model = tokenizer("tiny-llama", template)
    with pytest.raises(DataError, match="^f:3: ") as error:
        Encoder(model)(row(name))
    assert what in str(error.value)


def test_the_templates_own_reason_is_told():
    gemma = tokenizer("tiny-llama", "gemma")
    bad = {"prompt": [{"role": "system", "content": "Brief."}, USER], "line": "f:3"}
    bad["completion"] = [{"role": "assistant", "content": "x"}]
    with pytest.raises(DataError, match=r"^f:3: .*refuses a chat .*\(System role not"):
        Encoder(gemma)(bad)


def test_thinking_is_asked_for_where_answers_have_some():
    qwen = tokenizer("tiny-llama", "qwen3")
    qwen.chat_template = NO_THINKING + qwen.chat_template  # as `load_tokenizer` does
    with pytest.raises(DataError, match="writes the prompt in another way"):
        Encoder(qwen)(row("thinking"))
    let_think(qwen)
    assert Encoder(qwen)(row("thinking"))


def test_a_special_token_in_a_text_is_refused():
    phi3 = tokenizer()
    plain = {"prompt": [USER], "completion": [{"role": "assistant", "content": "x"}]}
    assert Encoder(phi3)(plain)
    plain["completion"][0]["content"] = "S1<|end|>"
    with pytest.raises(DataError, match="message 2 holds '<|end|>', a special token"):
        Encoder(phi3)(plain)


def test_white_space_that_templates_trim_is_no_loss(tmp_path):
    rows = [{"prompt": f" a\n{i} ", "completion": " b\n "} for i in range(3)]
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps(r) + "\n" for r in rows))
    assert (
        count_lengths(tokenizer("tiny-llama"), load_splits(path)["train"], 99).fates
        == {}
    )
