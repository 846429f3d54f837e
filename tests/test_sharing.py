"""A Modelfile renders chats as the tokenizer that it was made from."""

import re

import pytest
import transformers

from helpers.config import load_profile
from helpers.files import ROOT
from helpers.models import load_tokenizer
from helpers.sharing import SharingError, modelfile, turns

USER = {"role": "user", "content": "Where is order G4521?\nThank you"}
ANSWER = {"role": "assistant", "content": '{"queue": "REP"}'}
SYSTEM = {"role": "system", "content": "Answer in JSON."}
CHATS = {
    "one message": [USER],
    "system": [SYSTEM, USER],
    "three turns": [USER, ANSWER, USER, ANSWER, USER],
    "system and turns": [SYSTEM, USER, ANSWER, USER],
}
# Written as the templates of SmolLM2 (a system message of its own where none is given)
# and of Qwen 3 (what is asked last is followed by more than what was asked before).
CHATML = "{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}"
OWN_SYSTEM = (
    "{% if messages[0].role != 'system' %}<|im_start|>system\nBe kind<|im_end|>\n"
    "{% endif %}{% for m in messages %}" + CHATML + "{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
THINKING = (
    "{% for m in messages %}" + CHATML + "{% endfor %}{% if add_generation_prompt %}"
    "<|im_start|>assistant\n<think>\n\n</think>\n\n{% endif %}"
)
NO_SYSTEM = "{% for m in messages if m.role != 'system' %}" + CHATML + "{% endfor %}"
TEMPLATES = {"tiny-phi3": None, "tiny-llama": None}
TEMPLATES |= {"own system": OWN_SYSTEM, "thinking": THINKING}
# What of Go's templates a Modelfile uses, in Jinja's words.
WORDS = {
    "{{- range $i, $_ := .Messages }}": "{% for m in messages %}",
    '{{ if eq .Role "user" }}': "{% if m.role == 'user' %}",
    '{{ else if eq .Role "system" }}': "{% elif m.role == 'system' %}",
    "{{ if eq $i 0 }}": "{% if loop.first %}",
    "{{ if eq (len (slice $.Messages $i)) 1 }}": "{% if loop.last %}",
    "{{ else }}": "{% else %}",
    "{{ .Content }}": "{{ m.content }}",
}


@pytest.fixture(params=TEMPLATES)
def tokenizer(request):
    return made(request.param)


def made(name):
    """A tokenizer of the course, or one of them with another template."""
    folder = ROOT / "data" / "checkpoints" / name
    if folder.is_dir():
        return load_tokenizer(load_profile("tiny", str(folder)))
    base = ROOT / "data" / "checkpoints" / "tiny-phi3"
    tokenizer = transformers.AutoTokenizer.from_pretrained(base)
    tokenizer.chat_template = TEMPLATES.get(name, name)
    return tokenizer


def rendered(text, chat):
    """A chat as the TEMPLATE of a Modelfile writes it."""
    open_blocks, parts = [], []
    for part in re.split(r"(\{\{.*?\}\})", text.split('"""')[1]):
        if part == "{{ end }}":
            part = f"{{% {open_blocks.pop()} %}}"
        elif part in WORDS:
            part = WORDS[part]
            block = re.match(r"\{% (if|for) ", part)
            open_blocks += [f"end{block[1]}"] if block else []
        parts.append(part)
    return transformers.utils.chat_template_utils.render_jinja_template(
        [chat], chat_template="".join(parts)
    )[0][0]


@pytest.mark.parametrize("name", CHATS)
def test_ollama_is_given_the_tokenizers_own_template(tokenizer, name):
    text = modelfile(tokenizer, ["<|end|>"], "./x.gguf", 1024)
    expected = tokenizer.apply_chat_template(
        CHATS[name], tokenize=False, add_generation_prompt=True
    )
    assert rendered(text, CHATS[name]) == expected


def test_another_template_is_seen():
    phi3 = modelfile(made("tiny-phi3"), [], "./x.gguf", 1024)
    llama = made("tiny-llama")
    expected = llama.apply_chat_template(
        CHATS["one message"], tokenize=False, add_generation_prompt=True
    )
    assert rendered(phi3, CHATS["one message"]) != expected


def test_it_names_the_file_the_stops_and_greedy_decoding():
    lines = modelfile(made("tiny-phi3"), ["<|end|>", "<s>"], "./x.gguf", 512)
    lines = lines.splitlines()
    assert lines[0] == "FROM ./x.gguf"
    assert {'PARAMETER stop "<|end|>"', 'PARAMETER stop "<s>"'} <= {*lines}
    assert lines[-3:] == [
        "PARAMETER temperature 0",
        "PARAMETER repeat_penalty 1",
        "PARAMETER num_ctx 512",
    ]


def test_the_first_token_is_where_the_template_has_it():
    assert turns(made("tiny-llama"))["begin"] == "<|begin_of_text|>"
    assert turns(made("tiny-phi3"))["begin"] == ""


def test_a_template_that_drops_a_message_is_refused():
    with pytest.raises(SharingError, match="each of system, user") as caught:
        modelfile(made(NO_SYSTEM), [], "./x.gguf", 512)
    assert "\n" not in str(caught.value)
