"""What a generation is given, and what it stops at."""

import copy

import pytest
from transformers import GenerationConfig

from helpers.preflight import check
from tests.models.tiny_model import TEMPLATE, build_model, build_tokenizer
from tests.preflight.made import levels

TEXTS = ["Which order?", "Where is the tablet of order G4521? It is broken."]


@pytest.fixture(scope="module")
def tokenizer():
    return build_tokenizer()


def asked(tokenizer, side="left", template=True, **more):
    """What generate is given for two chats of different lengths."""
    texts = TEXTS
    if template:
        chats = [[{"role": "user", "content": text}] for text in TEXTS]
        options = {"tokenize": False, "add_generation_prompt": True}
        texts = [tokenizer.apply_chat_template(chat, **options) for chat in chats]
    options = {"padding": True, "padding_side": side, "return_tensors": "pt"}
    return {**tokenizer(texts, add_special_tokens=False, **options), **more}


LEVELS = {"padding-side": "ruins", "no-template": "ruins", "own-settings": "warns"}


def codes(**inputs):
    """What is found of LEVELS, each at its level."""
    found = levels(check(**inputs))
    found = {code: level for code, level in found.items() if code in LEVELS}
    assert found.items() <= LEVELS.items()
    return found.keys()


def test_prompts_padded_left_and_ended_by_the_template_have_no_finding(tokenizer):
    report = check(answers=asked(tokenizer), tokenizer=tokenizer)
    assert report.codes == set()
    assert "<|assistant|>" in report.checked["no-template"]


@pytest.mark.parametrize("masked", [True, False])
def test_padding_on_the_right_is_found(tokenizer, masked):
    answers = asked(tokenizer, "right")
    if not masked:
        del answers["attention_mask"]
    assert codes(answers=answers, tokenizer=tokenizer) == {"padding-side"}
    if masked:
        assert codes(answers=answers) == {"padding-side"}


def test_a_prompt_without_the_template_is_found(tokenizer):
    answers = asked(tokenizer, template=False)
    assert codes(answers=answers, tokenizer=tokenizer) == {"no-template"}
    lists = [ids.tolist() for ids in answers["input_ids"]]
    assert codes(answers=lists, tokenizer=tokenizer) == {"no-template"}


def test_a_prompt_without_its_last_part_is_found(tokenizer):
    chat = [{"role": "user", "content": TEXTS[0]}]
    ids = tokenizer.apply_chat_template(chat, return_dict=False)  # no generation prompt
    assert codes(answers=[ids], tokenizer=tokenizer) == {"no-template"}


def test_a_checkpoints_own_settings_are_found_where_they_reach_answers(tokenizer):
    model = build_model()
    assert codes(model=model, answers=asked(tokenizer)) == set()
    model.generation_config.no_repeat_ngram_size = 2
    assert codes(model=model, answers=asked(tokenizer)) == {"own-settings"}
    set_here = asked(tokenizer, no_repeat_ngram_size=0)
    assert codes(model=model, answers=set_here) == set()
    own = asked(tokenizer, generation_config=GenerationConfig(do_sample=False))
    assert codes(model=model, answers=own) == set()
    assert codes(model=model) == set()  # no answers are asked for


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(("repetition_penalty", 1.1), ("encoder_repetition_penalty", 1.1)),
        *(("num_beams", 4), ("min_new_tokens", 8), ("bad_words_ids", [[5]])),
        *(("suppress_tokens", [5]), ("do_sample", True)),
    ],
)
def test_each_setting_that_changes_greedy_answers_is_known(tokenizer, key, value):
    model = build_model()
    setattr(model.generation_config, key, value)
    assert codes(model=model, answers=asked(tokenizer)) == {"own-settings"}


def test_stop_tokens_without_the_templates_end_are_found(tokenizer):
    model = build_model()
    [finding] = check(model=model, tokenizer=tokenizer).findings
    assert finding.code == "end-stops-nothing" and "[2, 3]" in finding.mend
    assert finding.level == "warns"
    model.generation_config.eos_token_id = [2, 3]
    assert check(model=model, tokenizer=tokenizer).findings == []
    model.generation_config.eos_token_id = None  # it stops at nothing, as it says
    assert check(model=model, tokenizer=tokenizer).findings == []


def test_a_prompt_that_thinks_first_or_not_is_the_templates_own(tokenizer):
    ask = "'<|assistant|>' ~ ('<|user|>' if enable_thinking is false else '')"
    able = copy.deepcopy(tokenizer)
    able.chat_template = TEMPLATE.replace("'<|assistant|>'", ask)
    chat = [{"role": "user", "content": TEXTS[0]}]
    options = {"add_generation_prompt": True, "return_dict": False}
    for thinks in ({}, {"enable_thinking": False}):
        ids = able.apply_chat_template(chat, **options, **thinks)
        assert codes(answers=[ids], tokenizer=able) == set()
