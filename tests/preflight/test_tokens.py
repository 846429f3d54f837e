"""Tokenizer, template and trained rows: each fault is named, the healthy run is not."""

import copy

import pytest
import torch
from datasets import Dataset
from trl import SFTConfig
from trl.chat_template_utils import get_training_chat_template

from helpers.config import load_profile
from helpers.files import ROOT
from helpers.formatting import collate, encode, load_splits
from helpers.models import load_tokenizer
from helpers.preflight import check
from tests.models.tiny_model import TEMPLATE, build_model, build_tokenizer, chat
from tests.preflight.made import levels

# TRL's settings still have it by the old name.
CHECKS = [
    *("nothing-trained", "pad-is-end", "no-end-token", "prompt-trained", "double-bos"),
    *("no-generation-marks", "unusable-template", "tokens-without-rows", "cut-rows"),
]
QUESTIONS = ["Which order?", "Where is the tablet of order G4521? It is broken.", "So?"]


@pytest.fixture(scope="module")
def tokenizer():
    return build_tokenizer()


def rows(tokenizer, change=lambda ids, labels: (ids, labels), questions=QUESTIONS):
    """Rows as the course encodes them, each of them changed."""
    found = []
    for number, question in enumerate(questions):
        answer = '{"queue": null}' * (number + 1)
        row = {"prompt": [{"role": "user", "content": question}]}
        row["completion"] = [{"role": "assistant", "content": answer}]
        ids, labels = change(*encode(tokenizer, row))
        found.append({"input_ids": ids, "labels": labels})
    return found


def codes(**inputs):
    return check(only=CHECKS, **inputs).codes


def altered(tokenizer, **values):
    """A copy with other settings."""
    found = copy.deepcopy(tokenizer)
    for name, value in values.items():
        setattr(found, name, value)
    return found


def padding_masked(tokenizer):
    """A change: no label on pad tokens, as transformers' collator for text has it."""
    pad = tokenizer.pad_token_id
    return lambda ids, labels: (ids, [-100 if i == pad else i for i in labels])


def everything(ids, labels):
    return ids, ids


def begun_twice(ids, labels):
    return ids[:1] + ids, [-100] + labels


def test_a_healthy_run_has_no_finding_and_shows_what_it_trains(tokenizer):
    report = check(tokenizer=tokenizer, encoded=rows(tokenizer), model=build_model())
    assert report.codes == {"end-stops-nothing"}  # its eos is the end of text
    assert """'{"queue": null}<|end|>'""" in report.checked["nothing-trained"]


@pytest.mark.parametrize("profile", ["tiny"])
def test_the_courses_own_rows_have_no_finding(profile):
    known = load_profile(profile)
    splits = load_splits(ROOT / "data" / "tickets")
    given = {"tokenizer": load_tokenizer(known), "splits": splits}
    report = check(only=CHECKS, arguments=SFTConfig(**known.training_config), **given)
    assert report.findings == []
    assert [*report.not_run] == ["tokens-without-rows"]


def test_padding_that_is_the_end_is_found_where_it_hides_the_end(tokenizer):
    bad = altered(tokenizer, pad_token="<|end|>")
    assert codes(tokenizer=bad, encoded=rows(bad, padding_masked(bad))) == {
        "pad-is-end"
    }
    assert codes(tokenizer=bad) == {"pad-is-end"}  # as far as one can see
    assert codes(tokenizer=bad, encoded=rows(bad)) == set()  # masked by place
    assert codes(tokenizer=tokenizer, encoded=rows(tokenizer)) == set()


def test_padding_that_is_another_stop_token_hides_nothing(tokenizer):
    other = altered(tokenizer, pad_token="<|endoftext|>")
    assert codes(tokenizer=other, encoded=rows(other, padding_masked(other))) == set()


def test_a_batch_of_tensors_is_read_as_its_rows_are(tokenizer):
    bad = altered(tokenizer, pad_token="<|end|>")
    pairs = [(r["input_ids"], r["labels"]) for r in rows(bad, padding_masked(bad))]
    batch = collate(bad, pairs)
    assert isinstance(batch["labels"], torch.Tensor)
    for form in (batch, [batch, batch], pairs, Dataset.from_list(rows(bad))):
        expected = set() if isinstance(form, Dataset) else {"pad-is-end"}
        assert codes(tokenizer=bad, encoded=form) == expected


def test_a_template_without_an_end_is_found(tokenizer):
    bad = altered(tokenizer, chat_template=TEMPLATE.replace("<|end|>", ""))
    assert codes(tokenizer=bad) == {"no-end-token"}
    assert codes(tokenizer=bad, encoded=rows(bad)) == {"no-end-token"}


def test_rows_that_train_no_end_are_found_unless_they_are_cut(tokenizer):
    def endless(ids, labels):
        return ids[:-1], labels[:-1]

    def cut(ids, labels):
        return ids[:16], labels[:16]

    encoded = rows(tokenizer, endless)
    assert codes(tokenizer=tokenizer, encoded=encoded) == {"no-end-token"}
    some = rows(tokenizer)[:2] + encoded[2:]
    [finding] = check(tokenizer=tokenizer, encoded=some, only=CHECKS).findings
    assert (finding.level, finding.what[:9]) == ("warns", "1 of 3 ro")
    assert codes(tokenizer=tokenizer, encoded=rows(tokenizer, cut)) == set()


def test_rows_that_a_limit_has_cut_are_found_where_no_texts_are_given(tokenizer):
    def cut(ids, labels):
        return ids[:40], labels[:40]

    given = {"tokenizer": tokenizer, "encoded": rows(tokenizer, cut)}
    config = {"use_cpu": True, "bf16": False}
    [finding] = check(
        arguments=SFTConfig(max_length=40, **config), only=CHECKS, **given
    ).findings
    assert (finding.code, finding.level) == ("cut-rows", "warns")
    assert finding.what.startswith("1 of 3 rows break off at max_length 40")
    for more in ({"max_length": 64}, {"max_length": None}, {"packing": True}):
        arguments = SFTConfig(**{"max_length": 40} | config | more)
        assert "cut-rows" not in codes(arguments=arguments, **given)
    told = SFTConfig(max_length=40, **config)
    assert codes(arguments=told, lengths={}, **given) == set()


def test_a_prompt_with_labels_is_found(tokenizer):
    encoded = rows(tokenizer, everything)
    assert codes(tokenizer=tokenizer, encoded=encoded) == {"prompt-trained"}
    assert codes(encoded=encoded) == {"prompt-trained"}

    def all_but_the_first(ids, labels):
        return ids, [-100, *ids[1:]]

    encoded = rows(tokenizer, all_but_the_first)
    assert codes(tokenizer=tokenizer, encoded=encoded) == {"prompt-trained"}


def test_a_prompt_with_labels_is_found_in_the_arguments(tokenizer):
    asked, answer = chat("Which?", "one")["messages"]
    row = {"prompt": [asked], "completion": [answer]}
    given = {"tokenizer": tokenizer, "splits": {"train": Dataset.from_list([row])}}
    config = {"use_cpu": True, "bf16": False}
    for only, expected in ((False, {"prompt-trained"}), (None, set()), (True, set())):
        arguments = SFTConfig(completion_only_loss=only, **config)
        report = check(arguments=arguments, only=CHECKS, **given)
        assert report.codes == expected and report.ruins == []  # one may mean it


def test_trls_masks_count_as_labels(tokenizer):
    row = rows(tokenizer)[0]
    marks = [int(label >= 0) for label in row["labels"]]
    for mask, expected in ((marks, set()), ([1] * len(marks), {"prompt-trained"})):
        encoded = [{"input_ids": row["input_ids"], "completion_mask": mask}]
        assert codes(tokenizer=tokenizer, encoded=encoded) == expected


def test_two_begin_tokens_are_found(tokenizer):
    encoded = rows(tokenizer, begun_twice)
    report = check(tokenizer=tokenizer, encoded=encoded, only=CHECKS)
    assert levels(report) == {"double-bos": "warns"}
    assert report.checked["double-bos"] == "3 rows"


def test_rows_without_a_label_are_found_unless_they_are_cut(tokenizer):
    def unlabelled(ids, labels):
        return ids, [-100] * len(ids)

    encoded = rows(tokenizer, unlabelled)
    assert codes(tokenizer=tokenizer, encoded=encoded) == {"nothing-trained"}
    arguments = SFTConfig(max_length=8, use_cpu=True, bf16=False)
    short = [{key: values[:8] for key, values in row.items()} for row in encoded]
    given = {"tokenizer": tokenizer, "arguments": arguments}
    assert codes(encoded=short, **given) == set()


def test_marks_of_what_is_generated_are_asked_for_where_they_are_needed(tokenizer):
    config = {"use_cpu": True, "bf16": False, "assistant_only_loss": True}
    arguments = SFTConfig(**config)
    assert codes(tokenizer=tokenizer, arguments=arguments) == {"no-generation-marks"}
    known = load_tokenizer(load_profile("tiny"))
    assert codes(tokenizer=known, arguments=arguments) == set()  # TRL has a form of it
    marked = altered(known, chat_template=get_training_chat_template(known))
    assert codes(tokenizer=marked, arguments=arguments) == set()
    arguments = SFTConfig(**config | {"assistant_only_loss": False})
    assert codes(tokenizer=tokenizer, arguments=arguments) == set()


def test_a_template_that_rewrites_a_prompt_is_found(tokenizer):
    asks = TEMPLATE.replace("'<|assistant|>'", "'<|assistant|>Well: '")
    bad = altered(tokenizer, chat_template=asks)
    assert codes(tokenizer=bad) == {"unusable-template"}


def test_tokens_that_the_embedding_lacks_are_found(tokenizer):
    model = build_model()
    assert codes(tokenizer=tokenizer, model=model) == set()
    model.resize_token_embeddings(len(tokenizer) - 2)
    assert codes(tokenizer=tokenizer, model=model) == {"tokens-without-rows"}


def test_a_template_that_refuses_a_chat_is_one_finding(tokenizer):
    refuses = "{{ raise_exception('only images') }}"
    bad = altered(tokenizer, chat_template=refuses)
    report = check(tokenizer=bad, encoded=rows(tokenizer), only=CHECKS)
    assert report.codes == {"unusable-template"}
    assert {"pad-is-end", "no-end-token"} <= report.not_run.keys()


def test_without_a_template_the_end_is_the_tokenizers(tokenizer):
    plain = altered(tokenizer, chat_template=None)
    assert codes(tokenizer=plain) == set()
    assert codes(tokenizer=altered(plain, pad_token="<|endoftext|>")) == {"pad-is-end"}
