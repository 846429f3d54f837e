"""Which rows a run trains on: no row and no token is lost without a word."""

import json
from importlib.resources import files
from pathlib import Path

import pytest

from helpers.finetune import Settings
from helpers.finetune.metrics import data_name
from helpers.finetune.rows import plain, read_rows, ready_tokenizer
from helpers.finetune.settings import complete, parse
from helpers.formatting import DataError, load_splits
from helpers.models import let_think, load_tokenizer, thinks
from tests.models.tiny_model import build_model, build_tokenizer

LONG = "0 1 " * 200  # 400 tokens or so, which no limit below 400 lets through


def rows(*pairs):
    return [{"prompt": p, "completion": c} for p, c in pairs]


def write(folder, **splits):
    """A folder of splits; a split that is not given has two short rows."""
    folder.mkdir(exist_ok=True)
    for name in ("train", "validation", "test"):
        short = rows((f"{name} a", "b"), (f"{name} c", "d"))
        text = "".join(json.dumps(row) + "\n" for row in splits.get(name, short))
        (folder / f"{name}.jsonl").write_text(text, encoding="utf-8")
    return folder


def read(data, max_length=128, **more):
    """The splits of a run on the tiny profile."""
    overrides = {"training_config": {"max_length": max_length} | more}
    settings = Settings(data, "out", profile="tiny", overrides=overrides)
    return read_rows(settings, complete(settings))


def refused(data, **more):
    with pytest.raises(DataError) as error:
        read(data, **more)
    return str(error.value)


def test_rows_that_trl_would_drop_are_named_and_not_counted(tmp_path, capsys):
    pairs = [(f"p{i}", "x") for i in range(5)] + [("q " + LONG, "x"), ("r", LONG)]
    splits = read(write(tmp_path / "d", train=rows(*pairs)))
    assert len(splits["train"]) == 6
    assert plain(splits)["train"].column_names == ["prompt", "completion"]
    said = capsys.readouterr().err
    file = tmp_path / "d" / "train.jsonl"
    assert "1 dropped (no token of the answer is left" in said and f"{file}:6\n" in said
    assert f"1 words lost (the answer breaks off): {file}:7" in said
    assert "the smallest that cuts no answer: " in said
    assert "nothing is cut" not in said


def test_rows_beyond_the_most_that_are_used_are_counted(tmp_path, capsys):
    data = write(tmp_path / "d", validation=rows(*[(f"v{i}", "x") for i in range(7)]))
    remarks = [
        "validation: the first 3 of 7 rows are used (--validation-rows)",
        "test: the first 1 of 2 rows are used (--test-rows)",
    ]
    for most, test, says in ((3, True, remarks), (3, False, remarks[:1]), (7, 0, [])):
        few = {"validation_rows": most, "test_rows": 1, "test": bool(test)}
        settings = Settings(data, "out", profile="tiny", **few)
        splits = read_rows(settings, complete(settings))
        assert len(splits["validation"]) == most and len(splits["test"]) == 1
        said = capsys.readouterr().err.splitlines()
        assert [x for x in said if "are used" in x] == [f"finetune: {x}" for x in says]


def test_a_run_without_a_loss_says_so_too(tmp_path, capsys):
    read(write(tmp_path / "d"))
    assert "train: max_length 128 of 2 rows: nothing is cut" in capsys.readouterr().err


@pytest.mark.parametrize(
    "split, pairs, what",
    [
        ("train", [("a", LONG), ("b", LONG), ("c", "x")], "2 of 3 train rows (2 words"),
        ("train", [("a " + LONG, "x")], "1 of 1 train rows (1 dropped"),
        ("validation", [("a " + LONG, "x")], "1 of 1 validation rows (1 dropped"),
    ],
)
def test_a_limit_that_spoils_the_run_is_refused(tmp_path, split, pairs, what):
    data = write(tmp_path / "d", **{split: rows(*pairs)})
    line = refused(data)
    assert line.startswith(f"{data / split}.jsonl:1: max_length 128 spoils {what}")
    needed = int(line.rpartition("max_length: ")[2].partition("}")[0])
    kept = read(data, max_length=needed)
    assert len(kept[split]) == len(pairs)
    assert "spoils" in refused(data, max_length=needed // 2)


def test_a_limit_that_cuts_the_beginning_is_refused(tmp_path):
    data = write(tmp_path / "d", train=rows(("a " + LONG, "x"), ("b", "x"), ("c", "x")))
    assert "keep_end would cut" in refused(data, truncation_mode="keep_end")
    assert len(read(data)["train"]) == 2


def test_a_name_on_the_hub_is_the_cards_name(tmp_path):
    assert data_name(Path("hub:shop/tickets@v1#train")) == "hub:shop/tickets@v1#train"
    assert data_name(tmp_path) == tmp_path.name


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_more_than_the_models_window_is_refused(tmp_path, split):
    data = write(tmp_path / "d", **{split: rows(("a " + LONG * 4, "x"))})
    line = refused(data, max_length=4096)
    assert line.startswith(f"{data / split}.jsonl:1: ")
    assert "more than the model's window of 1,024" in line


def test_columns_and_groups_by_flag(tmp_path):
    table = tmp_path / "a.csv"
    lines = [f"{i % 5};question {i};answer" for i in range(20)]
    table.write_text("\n".join(["customer;q;a", *lines]), encoding="utf-8")
    flags = ["--map", "q=prompt,a=completion", "--group", "customer"]
    base = ["--data", str(table), "--output", "o", "--profile", "tiny"]
    settings = parse([*base, *flags], "")
    splits = read_rows(settings, complete(settings))
    found = [
        {int(row["prompt"][0]["content"].split()[1]) % 5 for row in part}
        for part in splits.values()
    ]
    assert sum(map(len, found)) == 5
    with pytest.raises(DataError, match='"customer", "q", "a", expected .*--map'):
        settings = parse(base, "")
        read_rows(settings, complete(settings))


def test_what_the_template_leaves_out_is_refused_before_the_model_loads(tmp_path):
    call = {"name": "shelf", "arguments": {}}
    turns = [{"role": "user", "content": "a"}]
    turns.append({"role": "assistant", "content": "", "tool_calls": [call]})
    data = write(tmp_path / "d", test=[{"messages": turns}])
    assert "test.jsonl:1: the chat template of " in (line := refused(data))
    assert "leaves out the call of 'shelf' in message 2" in line


def test_answers_that_think_let_the_template_think(tmp_path, monkeypatch):
    from helpers import models

    asked = []
    monkeypatch.setattr(models, "let_think", asked.append)
    turns = [{"role": "user", "content": "a"}]
    turns.append({"role": "assistant", "content": "b", "thinking": "c"})
    thinking = [{"prompt": turns[:1], "completion": turns[1:]}]
    settings = Settings(tmp_path, "o", profile="tiny")
    for train, times in ((None, 0), (thinking, 1)):
        splits = load_splits(write(tmp_path, **({"train": train} if train else {})))
        ready_tokenizer(settings, complete(settings), splits)
        assert len(asked) == times


@pytest.fixture
def qwen(tmp_path):
    """The folder of a small model with the chat template of Qwen 3, which may think."""
    tokenizer = build_tokenizer()
    ends = {"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]}
    tokenizer.add_special_tokens(ends)
    text = files("trl") / "chat_templates" / "qwen3.jinja"
    tokenizer.chat_template = text.read_text(encoding="utf-8")
    tokenizer.save_pretrained(tmp_path / "qwen")
    build_model().save_pretrained(tmp_path / "qwen")
    return str(tmp_path / "qwen")


def test_a_base_that_was_trained_to_think_answers_at_once_where_the_data_do(
    tmp_path, qwen
):
    settings = Settings(tmp_path, "o", profile="tiny", model=qwen)
    profile = complete(settings)
    tokenizer = load_tokenizer(profile)
    let_think(tokenizer)
    tokenizer.save_pretrained(qwen)
    assert thinks(load_tokenizer(profile))  # as it was saved
    splits = load_splits(write(tmp_path / "d"))
    assert thinks(ready_tokenizer(settings, profile, splits)) is False


@pytest.mark.parametrize("thought", [None, "it is red"])
def test_where_thoughts_belong_is_said(tmp_path, capsys, qwen, thought):
    answer = {"role": "assistant", "content": "b"}
    answer |= {"reasoning_content": thought} if thought else {}
    names = ("train", "validation", "test")
    chats = {n: [{"messages": [{"role": "user", "content": n}, answer]}] for n in names}
    data, limit = write(tmp_path / "d", **chats), {"max_length": 100}
    known = {"overrides": {"training_config": limit}, "profile": "tiny", "model": qwen}
    settings = Settings(data, "out", **known)
    read_rows(settings, complete(settings))
    said = capsys.readouterr().err
    assert ("answers hold their thoughts, which are trained" in said) == bool(thought)
    assert ("empty thought is part of every prompt" in said) == (not thought)
    if not thought:
        read(data)  # for tiny-phi3, which cannot think
        assert "thought" not in capsys.readouterr().err
