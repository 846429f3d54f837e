"""Answers held to a JSON schema, by models that would never write one."""

import json

import pytest
import torch
from peft import PeftModel
from tokenizers import Tokenizer, decoders, models, normalizers, trainers
from transformers import PreTrainedTokenizerFast

from helpers.config import load_profile
from helpers.evaluation import evaluate, generate_with_stops, json_processor
from helpers.files import ROOT
from helpers.formatting import encode, load_splits
from helpers.models import load_model, load_tokenizer
from tests.evaluation.test_evaluation import questions, saying
from tests.models.tiny_model import SPECIAL, TEMPLATE, WORDS, build_tokenizer, chat

WORD = {"type": "string", "pattern": "^[a-z]{1,6}$"}
FIELDS = {
    "queue": {"enum": ["QWZ", "JXW"]},
    "order": {"type": ["string", "null"], "pattern": "^[A-Z][0-9]{4}$"},
    "item": WORD,
}


def object_of(fields):
    """The schema of an object with all of these keys, and no other."""
    return {
        "type": "object",
        "properties": fields,
        "required": list(fields),
        "additionalProperties": False,
    }


SCHEMA = object_of(FIELDS)


def answers(model, prompts, processor=None, new=80, **options):
    """(answer, stopped) of each prompt."""
    options["logits_processor"] = processor
    return generate_with_stops(model, build_tokenizer(), prompts, new, **options)


def is_legal(text):
    """Whether a text is one line as json.dumps writes it, with a SCHEMA's values."""
    try:
        got = json.loads(text)
    except ValueError:
        return False
    right = list(got) == list(FIELDS) and got["queue"] in FIELDS["queue"]["enum"]
    return right and text == json.dumps(got) and got["item"].islower()


@pytest.fixture(scope="module")
def processor(model):
    return json_processor(model, build_tokenizer(), SCHEMA)


def test_an_untrained_model_writes_the_schema_and_stops(model, processor):
    free = answers(model, questions(9))
    assert not any(is_legal(text) for text, _ in free)
    held = answers(model, questions(9), processor)
    assert all(is_legal(text) and stopped for text, stopped in held)
    assert len(set(held)) > 4  # what the schema leaves open, the prompts decide
    cut = answers(model, questions(9), processor, new=9)
    assert not any(stopped for _, stopped in cut)


def test_a_batch_answers_as_its_rows_one_by_one(model, processor):
    """One processor serves them all, whatever it has seen before."""
    prompts = questions(9)
    singly = [answers(model, [prompt], processor)[0] for prompt in prompts]
    assert len(set(singly)) > 4
    for size in (1, 4, 100):
        assert answers(model, prompts, processor, batch_size=size) == singly


def test_a_new_batch_is_known_by_its_prompts(model):
    """Also where its prompts have just the length that the old rows would have now."""
    [follow] = json_processor(model, build_tokenizer(), SCHEMA)
    scores = torch.zeros(1, 320)
    begin = follow(torch.tensor([[4, 40]]), scores)
    brace = int(begin.argmax())
    assert build_tokenizer().decode([brace]).startswith("{")
    after = follow(torch.tensor([[4, 40, brace]]), scores)
    assert not torch.equal(after, begin)
    assert torch.equal(follow(torch.tensor([[4, 41, brace, 50]]), scores), begin)


def spaced_tokenizer():
    """As Phi-3's: a text gets a space before it, which decoding takes away."""
    bpe = Tokenizer(models.BPE())
    space = [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    bpe.normalizer = normalizers.Sequence(space)
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    bpe.decoder = decoders.Sequence([*steps, decoders.Strip(" ", 1, 0)])
    letters = [chr(code) for code in range(33, 127)]
    trainer = trainers.BpeTrainer(
        vocab_size=200, special_tokens=SPECIAL, initial_alphabet=letters
    )
    bpe.train_from_iterator(WORDS * 10, trainer)
    names = {"eos_token": "<|endoftext|>", "pad_token": "<|pad|>"}
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe, chat_template=TEMPLATE, **names
    )


def test_a_vocabulary_that_begins_with_a_space_may_answer_as_it_was_tuned(model):
    tokenizer = spaced_tokenizer()
    line = '{"queue": "QWZ", "order": null, "item": "lamp"}'
    turns = chat("my lamp", line)["messages"]
    row, labels = encode(tokenizer, {"prompt": turns[:1], "completion": turns[1:]})
    given = labels.count(-100)
    assert tokenizer.convert_ids_to_tokens(row[given]).startswith("▁")
    [follow] = json_processor(model, tokenizer, SCHEMA)
    for end in range(given, len(row)):
        ids = torch.tensor([row[: end + 1]])
        assert follow(ids[:, :-1], torch.zeros(1, 320))[0, ids[0, -1]] == 0
    assert tokenizer.decode(ids[0, given:-1]) == line
    options = {"logits_processor": json_processor(model, tokenizer, SCHEMA)}
    held = generate_with_stops(model, tokenizer, questions(4), **options)
    assert all(is_legal(text) and stopped for text, stopped in held)


def test_beams_are_followed(model, processor):
    tokenizer = build_tokenizer()
    ids = torch.tensor([[1, 4, 40, 41, 2, 5]])
    settings = {"num_beams": 3, "max_new_tokens": 80, "do_sample": False}
    settings |= {"eos_token_id": [2, 3], "pad_token_id": 0}
    found = model.generate(ids, logits_processor=processor, **settings)
    assert is_legal(tokenizer.decode(found[0, 6:], skip_special_tokens=True))
    free = model.generate(ids, **settings)
    assert not is_legal(tokenizer.decode(free[0, 6:], skip_special_tokens=True))


@pytest.mark.parametrize("token", [5, 310])
def test_neither_special_tokens_nor_logits_without_a_token_pass(token, processor):
    """The tokenizer has 300 tokens, the model 320 logits."""
    stubborn = saying(token)
    assert not any(stopped for _, stopped in answers(stubborn, questions(2), new=8))
    held = answers(stubborn, questions(2), processor)
    assert all(is_legal(text) and stopped for text, stopped in held)


def test_a_model_may_have_fewer_logits_than_its_tokenizer_has_tokens(processor):
    masked = processor[0](torch.tensor([[4, 40]]), torch.zeros(1, 299))
    assert masked.shape == (1, 299) and 0 in masked


def test_a_token_that_another_processor_forced_is_refused(model):
    [follow] = json_processor(model, build_tokenizer(), SCHEMA)
    follow(torch.tensor([[4, 40]]), torch.zeros(1, 320))
    with pytest.raises(ValueError, match="that the schema allows: got 5, so no other"):
        follow(torch.tensor([[4, 40, 5]]), torch.zeros(1, 320))


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        ({"type": "anything"}, "Invalid type: anything"),
        (object_of({"a": {"not": {"type": "string"}}}), "Unimplemented keys"),
        (object_of({"a": {"type": "string", "pattern": "(?=b)"}}), "look-around"),
        (object_of({"queue": {"enum": []}}), "Unsatisfiable"),
    ],
)
def test_a_schema_that_cannot_be_followed_is_one_clear_error(model, schema, message):
    with pytest.raises(
        ValueError, match=f"llguidance can follow: .*{message}"
    ) as error:
        json_processor(model, build_tokenizer(), schema)
    assert "\n" not in str(error.value)


def test_a_schema_may_want_other_separators(model):
    schema = SCHEMA | {"x-guidance": {"key_separator": ":", "item_separator": ","}}
    compact = json_processor(model, build_tokenizer(), schema)
    for text, _ in answers(model, questions(3), compact):
        assert text == json.dumps(json.loads(text), separators=(",", ":"))


def test_evaluate_takes_it(model, processor):
    rows = [chat("where is it", "x"), chat("send it back", "y")]
    options = {"max_new_tokens": 80, "logits_processor": processor}
    report = evaluate(model, build_tokenizer(), rows, **options)
    assert (report.valid_json, report.stopped, report.exact_match) == (1, 1, 0)


def test_the_tuned_model_answers_as_before_and_the_base_in_json():
    profile = load_profile("tiny")
    tokenizer, base = load_tokenizer(profile), load_model(profile)
    folder = ROOT / "data" / "checkpoints" / "tickets-lora"
    tuned = PeftModel.from_pretrained(base, folder)
    splits = load_splits(ROOT / "data" / "tickets")
    rows = splits["validation"].select(range(20))
    lines = [row["completion"][-1]["content"] for row in splits["train"]]
    seen = [json.loads(line) for line in lines]
    codes = {k: {"enum": sorted({a[k] for a in seen})} for k in ("queue", "priority")}
    text = {"type": "string", "maxLength": 20}
    fields = codes | {"order": FIELDS["order"], "item": text, "from": text}
    options = {"max_new_tokens": 56}
    free = evaluate(tuned, tokenizer, rows, **options)
    options["logits_processor"] = json_processor(tuned, tokenizer, object_of(fields))
    held = evaluate(tuned, tokenizer, rows, **options)
    assert free.valid_json == 1 and held.rows == free.rows
    with tuned.disable_adapter():
        untuned = evaluate(tuned, tokenizer, rows, **options)
    assert (untuned.valid_json, untuned.stopped, untuned.exact_match) == (1, 1, 0)
