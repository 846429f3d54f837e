"""Padding, chat templates and vocabularies that people bring, taken or refused."""

import shutil
from pathlib import Path

import pytest
from transformers import DataCollatorForLanguageModeling

from helpers import models
from helpers.formatting.batches import collate, encode
from helpers.models.tokens import PAD_TOKENS, answer_end, check_template
from tests.models.test_models import profile_of, refused
from tests.models.tiny_model import TEMPLATE, build_model, build_tokenizer, chat

ROW = chat("hello", "there")["messages"]
ROW = {"prompt": ROW[:-1], "completion": ROW[-1:]}


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A folder with a model of 320 rows, without a tokenizer."""
    folder = tmp_path_factory.mktemp("weights")
    build_model().save_pretrained(folder)
    return folder


@pytest.fixture
def bring(weights, tmp_path):
    """bring(tokenizer) -> profile of a model that comes with it."""

    def save(tokenizer):
        folder = shutil.copytree(weights, tmp_path / "model", dirs_exist_ok=True)
        tokenizer.save_pretrained(folder)
        return profile_of(folder)

    return save


def with_tokens(*special):
    """The tiny tokenizer without a pad token of its own, with other special tokens."""
    tokenizer = build_tokenizer()
    tokenizer.add_special_tokens({"additional_special_tokens": list(special)})
    return tokenizer


@pytest.mark.parametrize("pad", [None, "<|endoftext|>"])
def test_padding_has_a_token_of_its_own_where_there_is_one(bring, pad):
    tokenizer = build_tokenizer()
    tokenizer.pad_token = pad
    loaded = models.load_tokenizer(bring(tokenizer))
    assert loaded.pad_token == "<|pad|>" != loaded.eos_token


def test_what_parts_documents_pads_before_what_ends_an_answer(bring, monkeypatch):
    """SmolLM2 as its tokenizer_config.json says: pad = eos = the end of a turn."""
    tokenizer = build_tokenizer()
    tokenizer.eos_token = tokenizer.pad_token = "<|end|>"
    monkeypatch.setattr("helpers.models.tokens.PAD_TOKENS", PAD_TOKENS[4:])
    assert models.load_tokenizer(bring(tokenizer)).pad_token == "<|endoftext|>"


def test_without_another_token_eos_pads_and_is_learnt_all_the_same(bring, monkeypatch):
    tokenizer = build_tokenizer()
    tokenizer.eos_token = tokenizer.pad_token = "<|end|>"
    monkeypatch.setattr("helpers.models.tokens.PAD_TOKENS", ("<none>",))
    loaded = models.load_tokenizer(bring(tokenizer))
    end = loaded.eos_token_id
    assert loaded.pad_token_id == end
    short, long = (
        encode(loaded, ROW),
        encode(loaded, ROW | {"prompt": ROW["prompt"] * 2}),
    )
    ours = collate(loaded, [short, long])
    assert ours["input_ids"][0, -1] == end and ours["labels"][0, -1] == -100
    assert (ours["labels"] == end).sum() == 2  # that of each answer
    by_token = DataCollatorForLanguageModeling(loaded, mlm=False)
    theirs = by_token([{"input_ids": ids} for ids, _ in (short, long)])
    assert (theirs["labels"] == end).sum() == 0  # what trl#1623 is about


def test_a_pad_token_without_a_row_is_not_used(bring):
    """As of models whose users added [PAD] and resized nothing."""
    tokenizer = with_tokens(*(f"<{i}>" for i in range(20)), "[PAD]")
    tokenizer.pad_token = "[PAD]"
    assert tokenizer.pad_token_id == 320
    assert models.load_tokenizer(bring(tokenizer)).pad_token == "<|pad|>"


def test_special_tokens_without_a_row_are_idle_or_refused(bring):
    tokenizer = with_tokens(*(f"<{i}>" for i in range(30)))
    assert len(tokenizer) == 330
    models.load_tokenizer(bring(tokenizer))  # nothing writes them
    tokenizer.chat_template = TEMPLATE.replace("<|begin|>", "<29>")
    line = refused(models.load_tokenizer, bring(tokenizer))
    assert "has 330 tokens, and 320 rows in its embedding, none for 1 of the" in line
    assert "'<29>'" in line and "resize_token_embeddings" in line


def test_words_without_a_row_are_refused(bring):
    tokenizer = build_tokenizer()
    tokenizer.add_tokens([f"word{i}" for i in range(25)])
    line = refused(models.load_tokenizer, bring(tokenizer))
    assert "has 325 tokens, and 320 rows in its embedding, none for 5 of the" in line
    assert "tokens, such as 'word20'" in line


def test_rows_without_a_token_do_no_harm(bring):
    """As Qwen's, whose embedding is larger: an answer may even hold such an id."""
    loaded = models.load_tokenizer(bring(build_tokenizer()))
    assert len(loaded) == 300
    assert loaded.decode([310, *loaded.encode("yes"), 319]) == "yes"


def test_no_template_is_an_error_that_says_how_to_set_one(bring):
    tokenizer = build_tokenizer()
    tokenizer.chat_template = None
    profile = bring(tokenizer)
    line = refused(models.load_tokenizer, profile)
    assert "has no chat template, as most base models: use its instruct version" in line
    Path(profile.model, "chat_template.jinja").write_text(TEMPLATE, encoding="utf-8")
    assert models.load_tokenizer(profile).chat_template == TEMPLATE


def test_of_several_templates_the_default_is_taken(bring):
    tokenizer = build_tokenizer()
    tokenizer.chat_template = {"tool_use": "{{ 1 }}", "default": TEMPLATE}
    assert models.load_tokenizer(bring(tokenizer)).chat_template == TEMPLATE


WRONG = {  # what of the tiny template is replaced, by what, and what is said of it
    "no end": ("<|end|>", "", "ends an answer with '', no token that could stop"),
    "an end in letters": ("<|end|>", "</s>", "ends an answer with '</s>', no token"),
    "another text": ("m['content']", "m['content'] | upper", 'writes \'{"ORDER": '),
    "a prompt that goes on": (
        "<|assistant|>",
        "<|assistant|>Sure: ",
        "writes 'Sure: ' before an answer, and once it is there '{\"order\": ",
    ),
    "a preface": (
        "'|>' + m",
        "'|>final ' + m",
        'writes \'final {"order": "G4521"}\' for the answer',
    ),
    "an error": ("'<|begin|>'", "x.y", "refuses ('x' is undefined)"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_template_that_teaches_the_wrong_thing_is_refused(bring, name):
    old, new, says = WRONG[name]
    tokenizer = build_tokenizer()
    assert TEMPLATE.count(old) == 1
    tokenizer.chat_template = TEMPLATE.replace(old, new)
    line = refused(models.load_tokenizer, bring(tokenizer))
    assert says in line and line.endswith("chat_template.jinja into the model's folder")


def test_a_template_is_tried_on_the_chats_that_there_are():
    tokenizer = build_tokenizer()
    check_template(tokenizer, ("system", "user", "assistant"))
    no_system = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no') }}"
    tokenizer.chat_template = no_system + "{% endif %}" + TEMPLATE
    check_template(tokenizer, ("user", "assistant"))
    line = refused(check_template, tokenizer, ("system", "user", "assistant"))
    assert "refuses (no) in a chat of system, user, assistant: put the system's" in line


def test_decoding_changes_no_text(bring):
    tokenizer = build_tokenizer()
    tokenizer.clean_up_tokenization_spaces = True  # as Llama 3.1's configuration says
    loaded = models.load_tokenizer(bring(tokenizer))
    assert loaded.decode(loaded.encode("a . b , it 's")) == "a . b , it 's"


def test_the_end_of_an_answer_is_the_templates():
    tokenizer = build_tokenizer()
    assert answer_end(tokenizer) == tokenizer.convert_tokens_to_ids("<|end|>")
    assert tokenizer.eos_token == "<|endoftext|>"
    tokenizer.chat_template = None
    assert answer_end(tokenizer) is None
