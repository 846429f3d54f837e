"""The tickets: reproducible, right by construction, and no phrase in two splits."""

import copy
import hashlib
import itertools
import json
import random
import re
from collections import Counter
from functools import cache

import pytest

from data import make_tickets
from data.recipes import corpus, customer_messages
from data.recipes.checkpoint_export import make_tokenizer
from data.recipes.customer_messages import make_message, read_phrases
from data.recipes.loose_messages import make_loose_message
from data.recipes.pretraining import Recipe, build_tokenizer, make_batch, stage_at
from helpers import run_command
from helpers.files import ROOT

TICKETS = ROOT / "data" / "tickets"
CARD = (ROOT / "data" / "README.md").read_text(encoding="utf-8")
QUEUES = {"QWZ", "JXW", "DQK", "TVK", "BTX", "KFZ", "GZH", "XHN"}
PRIORITIES = {"VM", "HS", "ZC", "NR"}
ORDER_LIKE = re.compile(r"\b[A-Za-z]{1,2}\d{3,}\b")
ITEMS = sorted(read_phrases("world")["items"], key=len, reverse=True)
PRODUCT = re.compile(rf"\b(an?|{'|'.join(map(re.escape, ITEMS))})\b")
SPLITS = tuple(make_tickets.SIZES)
SMALL = Recipe(vocab_size=300, tokenizer_documents=100)  # a tokenizer at once
PAIRS = list(itertools.combinations(SPLITS, 2))


def read_split(split):
    """Return [(message, answer)] of a committed file."""
    lines = (TICKETS / f"{split}.jsonl").read_text(encoding="utf-8").splitlines()
    turns = [json.loads(line)["messages"] for line in lines]
    return [(user["content"], json.loads(reply["content"])) for user, reply in turns]


ROWS = {split: read_split(split) for split in SPLITS}
PHRASES = {split: make_tickets.load_phrases(split) for split in SPLITS}


def normalise(phrase):
    """Return the words of a phrase: no slots, no punctuation, lower case."""
    text = re.sub(r"\{\w+\}", " ", phrase).replace("'", "")
    return " ".join(re.sub(r"[^\w\s]", " ", text).lower().split())


def flatten(node):
    """Yield every string of nested dictionaries and lists."""
    if isinstance(node, str):
        yield node
    else:
        for child in node.values() if isinstance(node, dict) else node:
            yield from flatten(child)


def own_phrases(phrases):
    """Return what no other split may have, normalised: all but the products."""
    own = {kind: phrases[kind] for kind in phrases if kind != "items"}
    return {normalise(phrase) for phrase in flatten(own)}


def shared(one, other):
    """Return the phrases that two splits have in common."""
    return own_phrases(one) & own_phrases(other)


# Reproducible


def test_regenerating_gives_the_committed_bytes(tmp_path, capsys):
    make_tickets.main(["--output", str(tmp_path)])
    assert "train: 2,000 rows" in capsys.readouterr().out
    made = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    assert made == {file.name: file.read_bytes() for file in TICKETS.iterdir()}


def test_the_seed_decides():
    assert make_tickets.make_split("test", seed=0) == make_tickets.make_split("test")
    assert make_tickets.make_split("test", seed=1) != make_tickets.make_split("test")


def test_a_shuffled_phrase_list_gives_other_bytes(monkeypatch):
    before = make_tickets.make_split("validation")
    phrases = copy.deepcopy(PHRASES["validation"])
    random.Random(0).shuffle(phrases["greeting"])
    monkeypatch.setattr(make_tickets, "load_phrases", lambda split: phrases)
    assert make_tickets.make_split("validation") != before


def test_an_unusable_folder_is_one_line(tmp_path, capsys):
    file = tmp_path / "a-file"
    file.touch()
    assert run_command("tickets", make_tickets.main, ["--output", str(file)]) == 2
    line = capsys.readouterr().err
    assert str(file) in line and line.count("\n") == 1


# Rich enough


def test_sizes():
    assert {split: len(rows) for split, rows in ROWS.items()} == {
        "train": 2000,
        "validation": 200,
        "test": 400,
    }


@pytest.mark.parametrize("split", SPLITS)
def test_every_code_occurs(split):
    answers = [answer for _, answer in ROWS[split]]
    assert {answer["queue"] for answer in answers} == QUEUES
    assert {answer["priority"] for answer in answers} == PRIORITIES


def test_at_least_sixty_wordings_a_queue():
    for queue in QUEUES:
        wordings = [p["wordings"][queue] for p in PHRASES.values()]
        assert len({normalise(text) for text in flatten(wordings)}) >= 60, queue


def test_no_message_twice():
    messages = Counter(message for rows in ROWS.values() for message, _ in rows)
    assert messages.most_common(1)[0][1] == 1


@cache
def filled_wordings(split, item):
    """Return [(queue, wording)] about a product, as a message has them."""
    fill = make_tickets.fill
    wordings = PHRASES[split]["wordings"].items()
    return [
        (queue, fill(text, item=item)) for queue, texts in wordings for text in texts
    ]


def find_queues(split, message, item):
    """Return the queues whose wordings, about this product, stand in the message."""
    return {queue for queue, text in filled_wordings(split, item) if text in message}


def has_second_product(split, message, item):
    """Return whether a sentence of the message is about a product that is not meant."""
    phrases = PHRASES[split]["context"] + PHRASES[split]["aside"]
    others = [i for i in PHRASES[split]["items"] if i in message and i != item]
    sentences = [
        make_tickets.fill(p, item=item, other=o) for p in phrases for o in others
    ]
    return any(sentence in message for sentence in sentences)


def noise(split):
    """Return the shares, in %, of rows with a typo, without an order, two products."""
    rows = ROWS[split]
    typos = sum(not find_queues(split, m, a["item"]) for m, a in rows)
    missing = sum(a["order"] is None for _, a in rows)
    second = sum(has_second_product(split, m, a["item"]) for m, a in rows)
    return [100 * count / len(rows) for count in (typos, missing, second)]


@pytest.mark.parametrize("split", SPLITS)
def test_noise_is_there_and_as_the_card_says(split):
    typos, missing, second = noise(split)
    assert 3 <= typos <= 12
    assert 7 <= missing <= 18
    assert 13 <= second <= 27
    row = f"| {split} | {typos:.1f} % | {missing:.1f} % | {second:.1f} % |"
    assert row in CARD


# Right by construction


@pytest.mark.parametrize("split", SPLITS)
def test_what_is_copied_stands_in_the_message(split):
    for message, answer in ROWS[split]:
        assert list(answer) == ["queue", "priority", "order", "item", "from"]
        assert re.search(rf"\b{re.escape(answer['item'])}\b", message), message
        assert re.search(rf"(?<!\w){answer['from']}(?!\w)", message), message
        assert answer["item"] in PHRASES[split]["items"]
        assert answer["from"] in PHRASES[split]["names"]
        # One code or none: the answer repeats it, or null says that there is none.
        assert ORDER_LIKE.findall(message) == [answer["order"]] * bool(answer["order"])


@pytest.mark.parametrize("split", SPLITS)
def test_queue_and_meant_product_follow_from_the_wording(split):
    """Read back from the text; a typo hides the wording, so nothing is found there."""
    for message, answer in ROWS[split]:
        assert find_queues(split, message, answer["item"]) <= {answer["queue"]}


@pytest.mark.parametrize("split", SPLITS)
def test_priority_follows_from_the_words(split):
    """A priority is the one whose phrase stands there; ZC if none does."""
    urgency = PHRASES[split]["urgency"]
    for message, answer in ROWS[split]:
        said = {code for code in urgency for p in urgency[code] if p in message}
        assert said <= {answer["priority"]}, message
        assert said or answer["priority"] == "ZC", message


# Nothing shared


@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_no_phrase_or_name_in_two_splits(one, other):
    assert shared(PHRASES[one], PHRASES[other]) == set()


@pytest.mark.parametrize("kind", ["wordings", "urgency", "greeting", "names", "aside"])
def test_a_planted_overlap_is_found(kind):
    planted = copy.deepcopy(PHRASES["test"])
    theirs = list(flatten(PHRASES["train"][kind]))[0]
    disguised = theirs.upper().replace("{ITEM}", "{other}").rstrip(".,") + "!"
    where = planted[kind]
    (where if isinstance(where, list) else next(iter(where.values()))).append(disguised)
    assert shared(PHRASES["train"], planted) == {normalise(theirs)}


@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_no_sentence_is_read_in_two_splits(one, other):
    """The same on the files: products, names and orders masked."""
    assert not sentences_of(one) & sentences_of(other)


def test_a_planted_sentence_is_found():
    message = "Hi Dear team! the SCREEN of the ice maker is cracked Q1234. Vera"
    assert sentences(message, "Vera") & sentences_of("train") == {
        "the screen of the is cracked"
    }


@cache
def sentences_of(split):
    """Return the sentences of all messages of a split."""
    return set().union(*(sentences(m, a["from"]) for m, a in ROWS[split]))


def sentences(text, name=None, mask=" "):
    """Return the normalised sentences of two words or more.

    Products and orders are masked with nothing, the name with `mask`.
    """
    if name:
        text = re.sub(rf"(?<!\w){name}(?!\w)", mask, text)
    text = PRODUCT.sub(" ", ORDER_LIKE.sub(" ", text).lower())
    return {s for s in map(normalise, re.split(r"[.!?\n]", text)) if " " in s}


# Nothing seen in pretraining


@pytest.fixture(scope="module")
def documents():
    """The first 40 documents of every fiftieth step of the pretraining: 3,600."""
    recipe, found = Recipe(), []
    for step in range(0, recipe.steps, 50):
        rng, stage = random.Random(f"{recipe.seed}/{step}"), stage_at(recipe, step)
        found += [corpus.make_document(rng, stage) for _ in range(40)]
    return found


def test_the_sample_is_the_pretraining_text(documents):
    tokenizer = build_tokenizer(SMALL)
    ids = make_batch(tokenizer, Recipe(), step=50)
    text = tokenizer.decode(ids[:500], skip_special_tokens=False)
    assert "".join(documents[40:80]).startswith(
        text.removesuffix("\N{REPLACEMENT CHARACTER}")
    )


def ticket_sentences():
    """Return the sentences of every phrase of every split."""
    kinds = [
        {k: p[k] for k in p if k not in ("items", "names")} for p in PHRASES.values()
    ]
    plain = (re.sub(r"\{\w+\}", " ", phrase) for phrase in flatten(kinds))
    return set().union(*map(sentences, plain))


def corpus_sentences(message, name):
    """Return the sentences; a greeting or a name may end one."""
    greetings = "|".join(read_phrases("corpus")["greeting"])
    message = re.sub(f"^({greetings})[,:!]", "", message)
    return sentences(message, name) | sentences(message, name, mask=".")


@pytest.mark.parametrize("make", [make_message, make_loose_message])
def test_pretraining_has_no_sentence_of_the_tickets(make):
    rng, theirs = random.Random("a sample for the tests"), ticket_sentences()
    for _ in range(3000):
        message, facts = make(rng)
        assert not corpus_sentences(message, facts["name"]) & theirs, message


def test_a_ticket_in_the_pretraining_text_would_be_found():
    message, answer = ROWS["test"][0]
    assert corpus_sentences(message, answer["from"]) & ticket_sentences()


def test_phrases_of_tickets_are_refused():
    """make_sentence draws again until it has a phrase of its own."""
    ours, theirs = "my own words", PHRASES["test"]["urgency"]["VM"][0]
    rng = random.Random(0)
    patterns = [theirs.lower().rstrip("."), ours]
    drawn = {customer_messages.make_sentence(rng, patterns, {}) for _ in range(50)}
    assert drawn == {ours}


@pytest.mark.parametrize(
    "house",
    [
        *(f'"{code}"' for code in sorted(QUEUES | PRIORITIES)),
        r'\{"queue": .*"priority": .*"order": .*"item": .*"from": .*\}',
    ],
)
def test_pretraining_has_no_house_format(documents, house):
    assert not [text for text in documents if re.search(house, text)]
    assert [row for row in ROWS["test"] if re.search(house, json.dumps(row[1]))]


@pytest.mark.parametrize("name", ["tiny-llama", "tiny-phi3"])
def test_pretraining_has_no_chat(documents, name):
    """The text between the words of a rendered chat never occurs, whatever the role."""
    tokenizer = make_tokenizer(build_tokenizer(SMALL), name)
    turns = [{"role": r, "content": "WORDS"} for r in ("user", "assistant", "user")]
    chat = tokenizer.apply_chat_template(turns, tokenize=False)
    between = chat.split("WORDS")[1:-1]
    assert len(between) == 2 and all("assistant" in b or "user" in b for b in between)
    assert not [text for text in documents if any(b in text for b in between)]


def test_pretraining_knows_other_names(documents):
    known = set(read_phrases("world")["names"]["pretraining"])
    unseen = {name for phrases in PHRASES.values() for name in phrases["names"]}
    words = set(re.findall(r"[\w-]+", " ".join(documents)))
    assert known <= words
    assert not unseen & (known | words)


# The card


@pytest.mark.parametrize("split", SPLITS)
def test_the_card_gives_sums_and_counts(split):
    digest = hashlib.sha256((TICKETS / f"{split}.jsonl").read_bytes()).hexdigest()
    assert f"{digest}  {split}.jsonl" in CARD
    phrases = PHRASES[split]
    counts = [len(ROWS[split]), sum(map(len, phrases["wordings"].values()))]
    counts += [len(phrases["greeting"]), len(phrases["sign_off"])]
    counts += [sum(map(len, phrases["urgency"].values())), len(phrases["names"])]
    assert f"| {split} | " + " | ".join(f"{n:,}" for n in counts) + " |" in CARD


def test_the_card_names_every_code():
    assert set(re.findall(r"^\| `([A-Z]{3})` \|", CARD, re.M)) == QUEUES
    assert set(re.findall(r"^\| `([A-Z]{2})` \|", CARD, re.M)) == PRIORITIES


def test_the_card_is_about_these_products():
    assert f"{len(PHRASES['test']['items'])} products" in CARD
