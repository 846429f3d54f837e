"""A run says what it has learnt: by field, on validation, and whether it is done."""

import re
from dataclasses import replace

import pytest
import torch
from datasets import Dataset, DatasetDict
from safetensors.torch import load_file

from helpers.config import load_profile
from helpers.evaluation import score
from helpers.finetune import RunError, Settings
from helpers.finetune import run as finetuned
from helpers.finetune.learning import chance, unfinished
from helpers.finetune.metrics import scores
from helpers.finetune.model_card import card, shares, summary
from helpers.finetune.rows import choose_rows
from helpers.finetune.settings import complete
from helpers.formatting import load_splits
from helpers.models import claims, load_tokenizer
from tests.finetune import small_run
from tests.finetune.small_run import finetune


def row(answer):
    return {"completion": [{"role": "assistant", "content": answer}]}


def called_with(order):
    """A row whose answer is a tool call and nothing else."""
    calls = [{"function": {"name": "look", "arguments": {"order": order}}}]
    answer = {"role": "assistant", "content": "", "tool_calls": calls}
    return {"completion": [answer]}


def metrics(losses, exact_match=0.5, best=None, **fields):
    """Those of a run that evaluated every 80 updates."""
    history = [{"step": 80 * n, "eval_loss": x} for n, x in enumerate(losses) if n]
    after = {"validation_loss": losses[-1], "exact_match": exact_match, **fields}
    before = {"validation_loss": losses[0], **dict.fromkeys(after, 0.0)}
    before["validation_loss"] = losses[0]
    steps = 80 * (len(losses) - 1)
    known = {"before": before, "after": after | {"intervals": {}}, "steps": steps}
    return known | {"best_step": best, "history": history}


def test_chance_is_what_the_commonest_value_gets():
    rows = [row('{"a": 1, "b": null}')] * 3 + [row('{"a": 2, "b": null}'), row("no")]
    assert chance(rows) == {"a": 0.6, "b": 0.8}
    assert chance([row("free text")]) == {}
    assert chance([row('{"stopped": true}')]) == {"field stopped": 1.0}
    labels = [row("yes ")] * 5 + [row("yes")] + [row("no")] * 2
    assert chance(labels) == {"exact_match": 0.75}
    assert chance(labels[1:]) == {}  # too few to be sure that they are labels
    called = [called_with(order) for order in [1] * 5 + [2] * 3]
    assert chance(called) == {"exact_match": 0.625}
    assert chance([called_with(order) for order in range(8)]) == {}


@pytest.mark.parametrize(
    ("losses", "options", "says"),
    [
        (
            [2.0, 0.5, 0.3],
            {},
            "still fell, from 0.5000 to 0.3000 in the last 80 updates",
        ),
        (
            [2.0, 0.5],
            {},
            "from 2.0000 to 0.5000 in the only look at it, after 80 updates",
        ),
        ([2.0, 0.5, 0.48], {}, None),  # it stands still
        ([2.0, 0.5, 0.6], {}, None),
        ([2.0, 0.5, 0.02], {"exact_match": 0.95}, None),  # it can, nearly always
        ([2.0, 0.5, 0.3, 0.3], {"best": 160}, None),  # stopped by validation
    ],
)
def test_a_loss_that_still_falls_is_said(losses, options, says):
    found = unfinished(metrics(losses, **options), {})
    assert (says in found[0]) if says else found == []
    assert not says or f"max_steps: {160 * (len(losses) - 1)} in a --config" in found[0]


@pytest.mark.parametrize(
    ("config", "alike"),
    [
        ({"loss_type": "nll", "label_smoothing_factor": 0.0}, True),
        ({"completion_only_loss": False}, False),  # of prompts too
        ({"loss_type": "dft"}, False),
        ({"label_smoothing_factor": 0.1}, False),
    ],
)
def test_losses_of_two_kinds_are_not_compared(config, alike):
    known = metrics([2.0, 0.5, 0.3]) | {"settings": {"training_config": config}}
    assert bool(unfinished(known, {})) == alike


def test_a_field_at_chance_is_named():
    known = metrics([2.0, 0.5, 0.5], order=0.25, queue=0.8, site=1.0)
    [line] = unfinished(known, {"order": 0.25, "queue": 0.3, "site": 1.0})
    assert "at order (25.0% right, its commonest value alone 25.0%): more" in line
    assert unfinished(known, {"order": 0.2, "queue": 0.3}) == []
    [line] = unfinished(metrics([2.0, 0.5, 0.5], 0.4), {"exact_match": 0.4})
    assert line.startswith("no better than chance at exact match (40.0% right")


def test_a_scorer_s_criteria_are_in_the_metrics_and_on_the_card():
    expected, answers = ["Dear Vera", "Dear Luc"], ["Dear Vera!", "no"]
    mark = lambda wanted, got: {"kind": got.startswith("Dear")}  # noqa: E731
    ended = {"stopped": [True, True], "scorer": mark}
    found = scores(0.5, score(expected, answers, **ended))
    assert found.keys() == {"validation_loss", "exact_match", "kind", "intervals"} | {
        "stopped"
    }
    assert found["kind"] == 0.5 and found["intervals"].keys() == {"exact_match", "kind"}
    rows = shares(found | {"kind": 0.0}, found)
    assert ("kind", "0.0%", "50.0%", "0.0% to 100.0%") in rows


def test_what_a_scorer_named_at_one_time_only_is_on_the_card():
    one, other = {"kind": 1.0, "intervals": {}}, {"short": 0.5, "intervals": {}}
    rows = [("short", "", "50.0%", ""), ("kind", "100.0%", "", "")]
    assert shares(one, other) == rows


class Marks:
    """A scorer; all that it is asked is in asked."""

    def __init__(self):
        self.asked = []

    def __call__(self, expected, answer):
        self.asked.append((expected, answer))
        return {"kind": True, "short": len(answer) < 9} if self.asked[1:] else {}


@pytest.mark.slow
def test_a_run_is_scored_by_a_scorer_of_the_reader_s_own(tmp_path):
    steps = {"max_steps": 2, "save_steps": 1, "eval_steps": 1}
    few = {"profile": "tiny", "validation_rows": 3, "train_rows": 9}
    few["overrides"] = {"training_config": steps}
    data, mark = small_run.write_prices(tmp_path), Marks()
    settings = Settings(data, tmp_path / "out", scorer=mark, **few)
    metrics = finetuned(settings)
    names = {"exact_match", "stopped", "kind", "short"}
    for when in ("before", "after"):
        assert metrics[when].keys() == {"validation_loss", "intervals"} | names
    assert metrics["before"]["kind"] == 2 / 3 and metrics["after"]["kind"] == 1
    watched = [entry["scores"] for entry in metrics["history"] if "scores" in entry]
    assert [scores.keys() for scores in watched] == [
        {"exact_match", "kind", "short"}
    ] * 2
    assert len(mark.asked) == 4 * 3  # before, after and at two evaluations
    read = [e for e, _ in mark.asked[:3]]
    validation = load_splits(data)["validation"].select(range(3))
    assert read == [row["completion"][0]["content"] for row in validation]
    other = replace(settings, resume=True, scorer=None)
    with pytest.raises(RunError, match='its scorer is "Marks", here it is null'):
        finetuned(other)


def test_so_many_training_rows_and_no_fewer_than_there_are():
    splits = DatasetDict({name: rows_of(9) for name in ("train", "validation", "test")})
    few = Settings("data", "out", train_rows=4, validation_rows=3)
    assert choose_rows(DatasetDict(splits), few).num_rows == {
        "train": 4,
        "validation": 3,
        "test": 9,
    }
    assert choose_rows(DatasetDict(splits), few)["train"]["n"] == [0, 1, 2, 3]
    assert choose_rows(splits, Settings("data", "out")).num_rows["train"] == 9
    with pytest.raises(RunError, match="--train-rows requires 1 or more: got 0"):
        complete(Settings("data", "out", "tiny", train_rows=0))


def rows_of(count):
    return Dataset.from_list([{"n": n} for n in range(count)])


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """(folder of a run without --test, its call, what it printed, what models read)."""
    import contextlib
    import io

    folder = tmp_path_factory.mktemp("learning")
    data = small_run.write_tickets(folder)
    config = small_run.write_config(folder, **small_run.OVERRIDES)
    call = small_run.arguments(data, folder / "out", config)
    call.remove("--test")
    said, read, embed = io.StringIO(), [], torch.nn.Embedding.forward

    def spy(self, ids):
        read.extend(ids.tolist())
        return embed(self, ids)

    with (
        contextlib.redirect_stdout(said),
        contextlib.redirect_stderr(said),
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setattr(torch.nn.Embedding, "forward", spy)
        assert finetune(call) == 0
    return folder / "out", call, said.getvalue(), read


@pytest.mark.slow
def test_no_model_reads_a_test_row_unless_asked(run):
    _, call, _, read = run
    text = "\n".join(load_tokenizer(load_profile("tiny")).batch_decode(read))
    seen = {
        name: [row["prompt"][-1]["content"] in text for row in rows]
        for name, rows in load_splits(call[3]).items()
    }
    assert len(seen["test"]) == 6 and not any(seen["test"])
    assert all(seen["validation"]) and any(seen["train"])


@pytest.mark.slow
def test_validation_is_scored_by_field_while_it_trains(run):
    folder, _, said, _ = run
    assert "finetune: 8 updates of 4 rows are 0.667 epochs of 48 rows" in said
    lines = re.findall(r"finetune: update (\d) of 8, epoch ([\d.]+): (.*)", said)
    assert [(step, epoch) for step, epoch, _ in lines] == [
        ("4", "0.333"),
        ("8", "0.667"),
    ]
    shown = r"validation loss \d\.\d{4}; of 6 rows exact match \d+%, queue \d+%, .*"
    assert all(re.fullmatch(shown, rest) for *_, rest in lines)
    history = [e for e in small_run.metrics(folder)["history"] if "eval_loss" in e]
    assert [e["step"] for e in history] == [4, 8]
    assert all({"exact_match", "queue", "order"} <= e["scores"].keys() for e in history)


@pytest.mark.slow
def test_the_test_split_is_left_alone_until_asked(run, monkeypatch, capsys):
    from helpers.evaluation import scoring

    folder, call, said, _ = run
    known = small_run.metrics(folder)
    assert known["scored"] == "validation" and known["after"]["exact_match"] == 0
    assert "answers to 6 validation rows, 8 updates, 0.667 epochs" in said
    assert "the test split was left alone: --resume --test scores it" in said
    assert "not finished: validation loss still fell" in said
    text = (folder / "README.md").read_text(encoding="utf-8")
    assert "Greedy answers to 6 validation examples" in text
    assert "**Not finished**: validation loss still fell" in text
    before = load_file(folder / "adapter_model.safetensors")
    away = (folder / "checkpoints").rename(folder.with_name("away"))
    assert finetune([*call, "--resume", "--test"]) == 2  # it would train another one
    assert "is gone or damaged" in capsys.readouterr().err
    assert not (folder / "checkpoints").exists()
    away.rename(folder / "checkpoints")
    asked, evaluate = [], scoring.evaluate

    def spy(model, tokenizer, examples, *args, **options):
        asked.append([row["prompt"] for row in examples])
        return evaluate(model, tokenizer, examples, *args, **options)

    monkeypatch.setattr(scoring, "evaluate", spy)
    monkeypatch.setattr("helpers.evaluation.evaluate", spy, raising=False)
    assert finetune([*call, "--resume", "--test"]) == 0
    assert "answers to 6 test rows" in capsys.readouterr().out
    test = [row["prompt"] for row in load_splits(call[3])["test"]]
    assert asked == [test, test]  # before and after, and no update was made
    now = small_run.metrics(folder)
    assert now["scored"] == "test" and now["steps"] == known["steps"]
    assert now["after"]["validation_loss"] == known["after"]["validation_loss"]
    weights = load_file(folder / "adapter_model.safetensors")
    assert all((weights[key] == before[key]).all() for key in before)
    assert finetune([*call, "--resume"]) == 0  # and that is the end of it
    assert "is complete: nothing to do" in capsys.readouterr().out


def test_a_card_names_all_that_scales_the_adapter(tmp_path):
    from tests.lessons.test_lesson_07 import METRICS

    plain = METRICS["settings"]["peft_config"]
    scaled = plain | {"use_rslora": True, "alpha_pattern": {"q_proj|k_proj": 3}}
    assert "use_rslora" not in card(METRICS) and "_pattern" not in card(METRICS)
    settings = METRICS["settings"] | {"peft_config": scaled}
    text = card(METRICS | {"settings": settings})
    (tmp_path / "README.md").write_text(text, encoding="utf-8")
    found = claims(tmp_path)["settings"]["peft_config"]
    assert found.keys() == {"r", "lora_alpha", "use_rslora", "alpha_pattern"}
    assert all(scaled[key] == value for key, value in found.items())
    assert "\n\n" not in text.partition("| rank, alpha")[2].partition("| versions")[0]


def test_a_card_of_earlier_metrics_speaks_of_the_test_split():
    from tests.lessons.test_lesson_07 import METRICS

    assert "test examples that training never saw" in card(METRICS)
    assert "Not finished" not in card(METRICS) and "left alone" not in card(METRICS)
    rows = METRICS["data"]["rows"]
    assert summary(METRICS).startswith(f"answers to {rows['test']:,} test rows")
