"""Checks on what stands in the texts. Every secret and person here is made up."""

from functools import partial

import pytest

from helpers.preflight import check
from tests.preflight.made import found, pairs, splits

NAMES = ("secrets", "personal-data", "foreign-template-tokens")
look = partial(check, only=NAMES)
KEY = "AKIA" + "Q7K2" * 4  # in two parts: a scanner of this repository would find it
SECRETS = {
    "AWS Access Key": f"Your key is {KEY}.",
    "Private Key": "-----BEGIN RSA " + "PRIVATE KEY-----\nMIIE",
    "GitHub Token": "use ghp_" + "a1B2c3D4e5" * 3 + "a1B2c3",
    "Basic Auth Credentials": "git clone https://"
    + "vera:pa55word@code.shop.net/a.git",
}


def said(answer, times=1):
    """Good rows, some of whose answers hold more."""
    rows = pairs(60)
    for place in range(times):
        rows[place] = (rows[place][0], f"{rows[place][1]} {answer}")
    return splits(rows)


def test_nothing_is_found_in_good_rows():
    report = look(splits=splits())
    assert report.findings == [] and set(report.checked) == set(NAMES)


@pytest.mark.parametrize("kind", SECRETS)
def test_secrets_in_answers(kind):
    report = look(splits=said(SECRETS[kind], times=2))
    one = found(report, "secrets")
    assert (one.level, one.where) == ("warns", "train.jsonl:1")
    assert f"2 answers hold what looks like: {kind}: train.jsonl:1, " in one.what
    assert SECRETS[kind].split()[-1] not in str(report)  # a report is passed on


@pytest.mark.parametrize(
    "harmless",
    [
        "The password is wrong.",
        "order 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "see https://code.shop.net/a.git",
        '{"queue": "QWZ", "order": "G4521"}',
    ],
)
def test_what_only_looks_random_is_no_secret(harmless):
    assert look(splits=said(harmless)).findings == []


PEOPLE = {
    "an e-mail address": "Write to vera.popescu@posta-mea.ro today.",
    "a phone number": "Call +40 721 555 017.",
    "an IBAN": "Pay to DE89 3704 0044 0532 0130 00, please.",
    "a card number": "The card 4111-1111-1111-1111 was charged.",
}


@pytest.mark.parametrize("kind", PEOPLE)
def test_what_leads_to_a_person(kind):
    report = look(splits=said(PEOPLE[kind]))
    one = found(report, "personal-data")
    assert report.codes == {"personal-data"} and one.level == "warns"
    assert one.what == f"1 answers hold {kind}: train.jsonl:1"


@pytest.mark.parametrize(
    "harmless",
    [
        "Write to help@example.com.",
        "It costs +40 euros, order 4111111111111112.",  # no valid check digit
        "Pay to DE88 3704 0044 0532 0130 00.",
        "On 2026-11-29 12:30, v1.2.3 of article 4006381333931.",
    ],
)
def test_what_leads_to_nobody(harmless):
    assert look(splits=said(harmless)).findings == []


def test_an_address_in_many_answers_is_that_of_the_house():
    assert look(splits=said(PEOPLE["an e-mail address"], times=4)).findings
    assert look(splits=said(PEOPLE["an e-mail address"], times=5)).findings == []


def test_an_address_counts_once_an_answer():
    one = "vera.popescu@posta-mea.ro"
    report = look(splits=said(f"{one}, {one}, {one}, {one}, {one}", times=4))
    lines = ", ".join(f"train.jsonl:{n}" for n in (1, 2, 3, 4))
    what = f"4 answers hold an e-mail address: {lines}"
    assert found(report, "personal-data").what == what
    report = look(splits=said(f"{one} or ion.popescu@posta-mea.ro"))
    assert found(report, "personal-data").what.startswith("1 answers hold")
    given = said(one, times=3)
    chat = given["train"].remove_columns("line").add_column("line", ["a.jsonl:7"] * 60)
    what = found(look(splits=given | {"train": chat}), "personal-data").what
    assert what == "3 answers hold an e-mail address: a.jsonl:7"


@pytest.mark.parametrize("token", ["<|im_start|>", "[/INST]", "<end_of_turn>"])
def test_tokens_of_a_template(token):
    report = look(splits=said(f"{token} user"))
    one = found(report, "foreign-template-tokens")
    assert one.where == "train.jsonl:1" and one.what.startswith(repr(token))
    rows = [(f"{token}{q}", a) for q, a in pairs(60)]
    assert "in 60 rows" in found(look(splits=splits(rows)), one.code).what
    assert look(splits=said("a <b> [c] d|e|")).findings == []
