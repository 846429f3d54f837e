"""Every template that TRL keeps of a model that thinks: learnt right, or refused."""

import re
from importlib.resources import files

import pytest

from helpers.config import load_profile
from helpers.formatting.batches import IGNORED
from helpers.formatting.rendering import Encoder
from helpers.models import ModelError, answer_at_once, let_think, load_tokenizer
from helpers.models.tokens import make_ready

KEPT = files("trl") / "chat_templates"
TEXTS = {
    path.name.removesuffix(".jinja"): path.read_text(encoding="utf-8")
    for path in KEPT.iterdir()
    if path.name.endswith(".jinja")
}
THINK = [n for n, text in TEXTS.items() if "<think>" in text and "_training" not in n]
# They open a thought before an answer, and drop it, or all that ends the answer, once
# the answer is there: what is learnt would not follow what is asked.
REFUSED = {"deepseek_r1_distill", "deepseekv3", "glm4moe"}
QUESTION = {"role": "user", "content": "Which order?"}
ANSWER, THOUGHT = '{"order": "G4521"}', "It says G4521."


def bring(name):
    """The tiny tokenizer with a template, and with the tokens that it writes."""
    tokenizer = load_tokenizer(load_profile("tiny", "data/checkpoints/tiny-llama"))
    special = {*re.findall(r"<[|｜][^<>\s{}'\"]*[|｜]>", TEXTS[name])}
    tokenizer.add_special_tokens({"additional_special_tokens": sorted(special)})
    tokenizer.add_tokens(["<think>", "</think>"])
    tokenizer.chat_template = TEXTS[name]
    return tokenizer


def trained(tokenizer, **more):
    """(the prompt, what is trained after it) of a chat, as texts."""
    answer = {"role": "assistant", "content": ANSWER} | more
    ids, labels = Encoder(tokenizer)({"prompt": [QUESTION], "completion": [answer]})
    start = labels.count(IGNORED)
    return tokenizer.decode(ids[:start]), tokenizer.decode(ids[start:])


@pytest.mark.parametrize("name", sorted(THINK))
def test_what_is_trained_is_the_answer_alone_or_thought_and_answer(name):
    tokenizer = bring(name)
    if name in REFUSED:
        with pytest.raises(ModelError) as error:
            make_ready(tokenizer, len(tokenizer))
        assert "\n" not in str(error.value) and "the chat template of" in str(
            error.value
        )
        return
    make_ready(tokenizer, len(tokenizer))
    at_once = prompt, learnt = trained(tokenizer)
    assert learnt.startswith(ANSWER) and "think" not in learnt
    assert prompt.count("<think>") == prompt.count("</think>")  # the empty one is here
    let_think(tokenizer)
    prompt, learnt = trained(tokenizer, reasoning_content=THOUGHT, thinking=THOUGHT)
    assert THOUGHT in learnt and ANSWER in learnt and THOUGHT not in prompt
    assert (prompt + learnt).count("<think>") == 1
    kept = tokenizer.chat_template
    make_ready(tokenizer, len(tokenizer))  # saved, and loaded again
    assert tokenizer.chat_template == kept
    again = trained(tokenizer, reasoning_content=THOUGHT, thinking=THOUGHT)
    assert again == (prompt, learnt)
    answer_at_once(tokenizer)
    assert trained(tokenizer) == at_once


def test_there_are_such_templates():
    assert len(THINK) > 10 and {*THINK} >= REFUSED
