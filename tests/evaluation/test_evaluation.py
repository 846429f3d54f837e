"""Generation, scores and perplexity against independent answers."""

import json
import logging
import math
import unicodedata
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tokenizers import normalizers

from helpers import evaluation
from helpers.config import GIB
from helpers.evaluation import generation, scoring
from helpers.evaluation.generation import generate
from helpers.evaluation.intervals import bootstrap_interval
from helpers.evaluation.scoring import before_after, score
from helpers.files import ROOT
from helpers.formatting import read_chat
from helpers.models import ModelError, meta_model
from tests.models.tiny_model import WORDS, build_model, build_tokenizer, chat

END, TEXT_END = 2, 3


def questions(count):
    """That many prompts of different lengths, the longest in the middle."""
    texts = [
        WORDS[i % 3][: 3 + 7 * i % 20] + WORDS[i % 2] * (i % 4) for i in range(count)
    ]
    return [[{"role": "user", "content": text}] for text in texts]


class Fixed(torch.nn.Module):
    """An output head that always says one token."""

    def __init__(self, token):
        super().__init__()
        self.token = token

    def forward(self, hidden):
        logits = torch.zeros(*hidden.shape[:-1], 320)
        logits[..., self.token] = 1
        return logits


def saying(token):
    """A model that always says one token."""
    model = build_model()
    model.lm_head = Fixed(token)
    return model


def test_a_batch_answers_as_its_rows_one_by_one(model, tokenizer):
    prompts = questions(9)
    singly = [generate(model, tokenizer, [prompt], 12)[0] for prompt in prompts]
    assert len(set(singly)) == 9  # the answers depend on the prompts
    assert generate(model, tokenizer, prompts, 12, batch_size=4) == singly
    assert generate(model, tokenizer, prompts, 12, batch_size=100) == singly


def test_in_16_bit_a_cpu_reads_prompts_in_parts_and_answers_the_same(tokenizer):
    model, prompts, read = build_model(), questions(9), []
    whole = generate(model, tokenizer, prompts, 12)
    assert len(set(whole)) == 9
    model.set_attn_implementation("grouped")  # that of the profile `small` there
    embedding = model.get_input_embeddings()
    embedding.register_forward_pre_hook(lambda _, given: read.append(given[0].shape[1]))
    assert generate(model, tokenizer, prompts, 12) == whole
    assert max(read) == generation.CPU_CHUNK and read.count(max(read)) > 1


def test_padding_on_the_wrong_side_answers_otherwise(model, tokenizer, monkeypatch):
    prompts = questions(9)
    left = generate(model, tokenizer, prompts, 12)
    pad = tokenizer.pad

    def pad_right(*arguments, **options):
        return pad(*arguments, **options | {"padding_side": "right"})

    monkeypatch.setattr(tokenizer, "pad", pad_right)
    assert generate(model, tokenizer, prompts, 12) != left


def test_generation_is_greedy_and_silent_on_a_model_that_samples(tokenizer, caplog):
    prompts, plain, sampling = questions(4), build_model(), build_model()
    its_own = {"do_sample": True, "temperature": 0.6, "top_p": 0.9, "top_k": 20}
    its_own |= {"min_p": 0.1, "repetition_penalty": 5.0, "num_beams": 4}
    its_own |= {"min_new_tokens": 40, "max_length": 20, "num_return_sequences": 2}
    its_own |= {"suppress_tokens": [40], "forced_eos_token_id": END}
    its_own |= {"no_repeat_ngram_size": 1, "bad_words_ids": [[41]]}
    its_own |= {
        "exponential_decay_length_penalty": (1, 9.0),
        "renormalize_logits": True,
    }
    sampling.generation_config.update(**its_own)
    with warnings.catch_warnings(), caplog.at_level(logging.WARNING):
        warnings.simplefilter("error")
        answers = generate(sampling, tokenizer, prompts, 12)
    assert answers == generate(plain, tokenizer, prompts, 12)
    assert not caplog.records
    kept = sampling.generation_config.to_dict()
    assert {name: kept[name] for name in its_own} == its_own


def test_an_adapter_of_transformers_own_loading_answers(tokenizer, tmp_path):
    from peft import LoraConfig, get_peft_model

    adapted = get_peft_model(build_model(), LoraConfig(target_modules=["o_proj"]))
    adapted.save_pretrained(tmp_path)
    model, prompts = build_model(), questions(2)
    model.load_adapter(str(tmp_path))
    assert generate(model, tokenizer, prompts, 12) == generate(
        adapted, tokenizer, prompts, 12
    )


def test_generation_is_the_argmax_of_the_logits(model, tokenizer):
    (prompt,) = questions(1)
    ids = evaluation.prompt_ids(tokenizer, prompt)
    for _ in range(6):
        logits = model(torch.tensor([ids])).logits
        ids.append(int(logits[0, -1].argmax()))
    new = ids[-6:]
    assert not {END, TEXT_END} & set(new)
    expected = tokenizer.decode(new, skip_special_tokens=True)
    assert generate(model, tokenizer, [prompt], 6) == [expected]


@pytest.mark.parametrize("token", [END, TEXT_END])
def test_both_end_tokens_stop_an_answer(tokenizer, token):
    pairs = evaluation.generate_with_stops(saying(token), tokenizer, questions(3), 10)
    assert pairs == [("", True)] * 3


def test_an_answer_that_is_cut_off_is_known(tokenizer):
    pairs = evaluation.generate_with_stops(saying(40), tokenizer, questions(3), 10)
    assert pairs == [(tokenizer.decode([40] * 10), False)] * 3
    report = evaluation.evaluate(saying(40), tokenizer, [chat("a", "b")], 10)
    assert report.stopped == 0.0


def test_stop_ids_come_from_tokenizer_model_and_template(tokenizer):
    model = build_model()
    assert evaluation.stop_ids(model, tokenizer) == [END, TEXT_END]
    model.generation_config.eos_token_id = [3, 7]
    assert evaluation.stop_ids(model, tokenizer) == [END, TEXT_END, 7]
    model.generation_config.eos_token_id = None
    assert evaluation.stop_ids(model, tokenizer) == [END, TEXT_END]


@pytest.mark.parametrize("training", [True, False])
def test_the_mode_of_the_model_is_restored(tokenizer, training):
    model = build_model().train(training)
    generate(model, tokenizer, questions(1), 2)
    evaluation.perplexity(model, tokenizer, [chat("a", "b")])
    assert model.training is training
    broken = build_model().train(training)
    broken.lm_head = None
    with pytest.raises(TypeError):
        generate(broken, tokenizer, questions(1), 2)
    assert broken.training is training


def test_the_cache_of_a_token_is_counted_as_it_is():
    for keys in (1, 4):
        model = build_model(num_key_value_heads=keys).to(torch.bfloat16)
        ids = torch.arange(4, 14).reshape(2, 5)
        layers = model(input_ids=ids, use_cache=True).past_key_values.layers
        tensors = [t for layer in layers for t in (layer.keys, layer.values)]
        size = sum(t.numel() * t.element_size() for t in tensors)
        assert evaluation.cache_bytes(model) == size / ids.numel()


@pytest.mark.parametrize(
    ("name", "free_gib", "rows"),
    [
        ("Phi-3-mini", 7.2, 65),  # beside its fp16 weights on a T4: no grouped queries
        ("Phi-3-mini", 12, 109),  # beside its 4-bit ones
        ("Phi-3-mini", 0.1, 1),
        ("Phi-3-mini", 0.0, 1),
        ("Llama-3.1-8B", 7.2, 128),  # a quarter of the key and value heads
        ("Qwen3-8B", 70, 128),
    ],
)
def test_a_batch_is_what_fits_half_of_the_free_memory(
    monkeypatch, name, free_gib, rows
):
    model = meta_model(name).to(torch.float16)
    free = int(free_gib * GIB)
    assert evaluation.batch_that_fits(model, 150, free) == rows
    monkeypatch.setattr(generation, "available_bytes", lambda: free)
    assert evaluation.batch_that_fits(model, 150) == rows  # asks the GPU
    assert rows in (1, 128) or rows * 150 * evaluation.cache_bytes(model) <= free / 2


def test_a_cpu_takes_100_rows_at_once_where_its_memory_allows(model, monkeypatch):
    assert evaluation.batch_that_fits(model, 150) == 100
    seven = 14 * 150 * evaluation.cache_bytes(model)
    memory = SimpleNamespace(available=seven)
    monkeypatch.setattr(generation.psutil, "virtual_memory", lambda: memory)
    assert evaluation.batch_that_fits(model, 150) == 7
    assert evaluation.batch_that_fits(model, 10**6) == 1


def test_generation_asks_what_fits(model, tokenizer, monkeypatch):
    asked, prompts = [], questions(9)
    expected = generate(model, tokenizer, prompts, 12)
    monkeypatch.setattr(
        generation, "batch_that_fits", lambda _, tokens: asked.append(tokens) or 4
    )
    assert generate(model, tokenizer, prompts, 12) == expected
    longest = max(len(evaluation.prompt_ids(tokenizer, p)) for p in prompts)
    assert asked == [longest + 12]
    generate(model, tokenizer, prompts, 12, batch_size=9)
    assert len(asked) == 1


def test_no_answer_goes_beyond_the_models_window(tokenizer, monkeypatch):
    """A long prompt's neighbour may be allowed a long answer; positions end there."""
    model, asked = build_model(), []
    [short] = questions(1)
    long = [{"role": "user", "content": "x " * 100}]
    window = len(evaluation.prompt_ids(tokenizer, long)) + 5
    model.config.max_position_embeddings = window
    own = type(model).generate

    def watched(self, **given):
        asked.append(given["generation_config"].max_new_tokens)
        return own(self, **given)

    monkeypatch.setattr(type(model), "generate", watched)
    found = generation.generate_with_stops(model, tokenizer, [short, long], 12, 1)
    assert asked == [12, 5] and len(found) == 2


def test_no_prompts_no_answers(model, tokenizer):
    assert generate(model, tokenizer, []) == []


GOOD = {"queue": "QWZ", "priority": "VM", "order": None}
GOOD_TEXT = json.dumps(GOOD)


def one(answer, expected=GOOD_TEXT):
    """(exact match, valid JSON, the fields that hit) of one answer."""
    (row,) = score([expected], [answer]).rows
    hits = {name for name, hit in row["fields"].items() if hit}
    return row["exact_match"], row["valid_json"], hits


@pytest.mark.parametrize(
    ("answer", "result"),
    [
        (GOOD_TEXT, (True, True, {"queue", "priority", "order"})),
        (f" {GOOD_TEXT}\n", (True, True, {"queue", "priority", "order"})),
        # the same object in other words is right field by field, but not the format
        (json.dumps(GOOD, indent=1), (False, True, {"queue", "priority", "order"})),
        (
            '{"queue": "QWZ", "priority": "HS", "order": null}',
            (False, True, {"queue", "order"}),
        ),
        ('{"queue": "QWZ", "priority": "VM"}', (False, True, {"queue", "priority"})),
        ('{"queue": "rep", "order": "null"}', (False, True, set())),
        (GOOD_TEXT + GOOD_TEXT, (False, False, set())),
        (f"Sure! {GOOD_TEXT}", (False, False, set())),
        (GOOD_TEXT[:-1], (False, False, set())),
        (str(GOOD), (False, False, set())),  # Python is not JSON
        ('["queue", "QWZ"]', (False, False, set())),
        ('"queue"', (False, False, set())),
        ("null", (False, False, set())),
        ('{"queue": NaN}', (False, False, set())),
        ('{"queue": -Infinity}', (False, False, set())),
        ('{"queue": ' + "9" * 5000 + "}", (False, False, set())),
        ("[" * 100_000, (False, False, set())),
        ("__import__('os').getcwd()", (False, False, set())),
        ("", (False, False, set())),
    ],
)
def test_what_counts_as_right(answer, result):
    assert one(answer) == result


@pytest.mark.parametrize(
    ("expected", "answer", "hit"),
    [
        ("1", "1", True),
        ("1", "true", False),
        ("1", "1.0", False),
        ("0", "false", False),
    ],
)
def test_json_types_are_not_mixed_up(expected, answer, hit):
    assert one(f'{{"a": {answer}}}', f'{{"a": {expected}}}')[2] == (
        {"a"} if hit else set()
    )


def test_a_report_adds_up():
    wrong = '{"queue": "RET", "priority": "VM", "order": null}'
    answers = [GOOD_TEXT, wrong, "no idea", GOOD_TEXT]
    stops = [True, True, False, True]
    report = score([GOOD_TEXT] * 4, answers, stopped=stops, seconds=2.0)
    assert (report.n, report.exact_match, report.valid_json) == (4, 0.5, 0.75)
    assert report.field_accuracy == {"queue": 0.5, "priority": 0.75, "order": 0.75}
    assert (report.stopped, report.seconds) == (0.75, 2.0)
    shares = ["exact_match", "queue", "priority", "order", "valid_json", "stopped"]
    assert list(report.metrics()) == shares
    table = report.table()
    assert list(table.columns) == ["share", "low", "high"]
    assert tuple(table.loc["queue"]) == (0.5, *report.intervals["queue"])
    assert math.isnan(table.loc["stopped", "low"])
    assert "stopped" not in score([GOOD_TEXT], [GOOD_TEXT]).table().index


def test_a_field_counts_in_the_rows_that_are_to_have_it():
    lines = ['{"a": 1}', '{"a": 1, "b": 2}']
    assert score(lines, lines).field_accuracy == {"a": 1, "b": 1}
    assert score(lines, [lines[0], "?"]).field_accuracy == {"a": 0.5, "b": 0}


def test_a_field_of_a_figures_name_does_not_take_its_place():
    expected = ['{"stopped": true, "exact_match": 1}'] * 2
    answers = [expected[0], '{"stopped": false, "exact_match": 2}']
    report = score(expected, answers, stopped=[True, True])
    assert report.stopped == 1 and report.exact_match == 0.5
    assert report.field_accuracy == {"field stopped": 0.5, "field exact_match": 0.5}
    assert report.metrics().keys() == {
        *("exact_match", "field exact_match", "field stopped"),
        *("stopped", "valid_json"),
    }


@pytest.mark.parametrize("form", ["NFC", "NFD"])
@pytest.mark.parametrize("text", ["Zoë", '{"from": "Zoë"}'])
def test_an_answer_is_expected_as_the_tokenizer_writes_it(tokenizer, text, form):
    """Qwen's is NFC: what looks the same and is another text, no model could say."""
    written = unicodedata.normalize(form, text)
    row = chat("Where?", written)
    assert scoring._expected(tokenizer, read_chat(row)) == written
    composed = build_tokenizer()
    composed.backend_tokenizer.normalizer = normalizers.NFC()
    assert scoring._expected(composed, read_chat(row)) == text
    composed.backend_tokenizer.normalizer = normalizers.Lowercase()
    upper = chat("Where?", "ZOË")  # another text: kept
    assert scoring._expected(composed, read_chat(upper)) == "ZOË"


def test_the_first_rows_are_a_report_of_their_own():
    expected, answers = ['{"a": 1}'] * 3, ['{"a": 1}', '{"a": 2}', '{"a": 1}']
    whole = score(expected, answers, ["p", "q", "r"], [True, False, True])
    assert whole.first(2) == score(expected[:2], answers[:2], ["p", "q"], [True, False])
    assert whole.first(2).exact_match == 0.5 and whole.first(9) == whole
    assert score(expected, answers).first(1).stopped is None


def test_text_that_is_no_json_is_scored_by_exact_match():
    report = score(["yes", "no"], ["yes ", "yes"])
    assert (report.exact_match, report.valid_json) == (0.5, 0)
    assert report.field_accuracy == {}


@pytest.mark.parametrize(
    ("expected", "answers"), [([], []), (["a"], []), (["a"], "ab")]
)
def test_lists_that_do_not_fit_are_refused(expected, answers):
    with pytest.raises(ValueError, match="as many answers as expected ones, 1 or more"):
        score(expected, list(answers))


def test_the_interval_is_that_of_the_binomial():
    hits = [1] * 320 + [0] * 80
    low, high = bootstrap_interval(hits)
    half = 1.96 * math.sqrt(0.8 * 0.2 / 400)  # 0.039
    assert low == pytest.approx(0.8 - half, abs=0.008)
    assert high == pytest.approx(0.8 + half, abs=0.008)
    assert bootstrap_interval(hits) == (low, high)
    assert bootstrap_interval(hits, seed=1) != (low, high)
    assert bootstrap_interval([1] * 10) == (1.0, 1.0)
    wide = np.subtract(*bootstrap_interval([1] * 16 + [0] * 4))
    assert abs(wide) > 3 * (high - low)


def test_before_after_stands_side_by_side():
    table = before_after(
        base=score([GOOD_TEXT], ["?"]), tuned=score([GOOD_TEXT], [GOOD_TEXT])
    )
    assert list(table.columns) == ["base", "tuned"]
    assert tuple(table.loc["exact_match"]) == (0.0, 1.0)
    assert tuple(table.loc["queue"]) == (0.0, 1.0)


def test_evaluate_takes_every_format_and_keeps_the_rows(model, tokenizer):
    chats = [chat("where is it", GOOD_TEXT), chat("send it back", GOOD_TEXT)]
    pairs = [{"prompt": "where is it", "completion": GOOD_TEXT}]
    pairs += [
        {"prompt": chats[1]["messages"][:1], "completion": chats[1]["messages"][1:]}
    ]
    report = evaluation.evaluate(model, tokenizer, chats, 8)
    assert report.rows == evaluation.evaluate(model, tokenizer, pairs, 8).rows
    losses = [evaluation.perplexity(model, tokenizer, rows) for rows in (chats, pairs)]
    assert losses[0] == losses[1] > 1
    assert report.seconds > 0
    prompts = [c["messages"][:1] for c in chats]
    assert [row["prompt"] for row in report.rows] == prompts
    assert [row["answer"] for row in report.rows] == generate(
        model, tokenizer, prompts, 8
    )


def test_evaluate_finds_the_right_answer_right(model, tokenizer):
    prompts = questions(9)
    answers = generate(model, tokenizer, prompts, 8)
    pairs = zip(prompts, answers, strict=True)
    examples = [chat(prompt[0]["content"], text) for prompt, text in pairs if text]
    assert evaluation.evaluate(model, tokenizer, examples, 8).exact_match == 1
    examples[2]["messages"][1]["content"] += "x"
    expected = 1 - 1 / len(examples)
    assert evaluation.evaluate(model, tokenizer, examples, 8).exact_match == expected


EXAMPLES = [chat(WORDS[0] * i, WORDS[1][: 8 + i]) for i in (3, 1, 2, 5)]


def test_perplexity_is_that_of_the_completion_tokens(model, tokenizer):
    nll, count = 0.0, 0
    for example in EXAMPLES:
        question, answer = (message["content"] for message in example["messages"])
        prompt = f"<|begin|><|user|>{question}<|end|><|assistant|>"
        start = len(tokenizer(prompt, add_special_tokens=False)["input_ids"])
        text = f"{prompt}{answer}<|end|>"
        ids = torch.tensor(tokenizer(text, add_special_tokens=False)["input_ids"])
        log_p = model(ids[None]).logits[0].log_softmax(-1)
        for i in range(start, len(ids)):
            nll, count = nll - log_p[i - 1, ids[i]].item(), count + 1
    expected = math.exp(nll / count)
    for batch_size in (1, 3, 16):
        got = evaluation.perplexity(model, tokenizer, EXAMPLES, batch_size)
        assert got == pytest.approx(expected, rel=1e-4)


def test_perplexity_of_a_model_that_knows_nothing_is_its_vocabulary(tokenizer):
    model = build_model()
    torch.nn.init.zeros_(model.lm_head.weight)
    got = evaluation.perplexity(model, tokenizer, EXAMPLES)
    assert got == pytest.approx(320, rel=1e-5)


def test_a_template_that_changes_an_answered_prompt_is_refused(model):
    tokenizer = build_tokenizer()
    tokenizer.chat_template = "{{ messages | length }}" + tokenizer.chat_template
    with pytest.raises(ModelError, match="whose prompt stays the same once answered"):
        evaluation.perplexity(model, tokenizer, EXAMPLES)


@pytest.mark.parametrize("name", ["tiny-phi3", "tiny-llama"])
def test_the_shipped_checkpoints_answer_alike_in_a_batch(name):
    folder = ROOT / "data" / "checkpoints" / name
    from helpers.config import load_profile
    from helpers.formatting.examples import read_examples
    from helpers.models.loading import load_model, load_tokenizer

    profile = load_profile("tiny", model=str(folder))
    model, tokenizer = load_model(profile), load_tokenizer(profile)
    examples = read_examples(ROOT / "data" / "tickets" / "test.jsonl")[:6]
    report = evaluation.evaluate(model, tokenizer, examples, 40)
    assert report.exact_match == 0
    assert 1 < evaluation.perplexity(model, tokenizer, examples) < 10_000
    for row in report.rows:
        assert generate(model, tokenizer, [row["prompt"]], 40) == [row["answer"]]
