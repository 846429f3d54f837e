"""Lesson 08: its yardstick is right, its claims can fail, its recipe has evidence."""

import contextlib
import json
import re
from functools import partial

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from peft import LoraConfig
from trl import SFTConfig

from helpers import plotting
from helpers.files import ROOT
from tests.benchmarks import small
from tests.lessons import cells

STEM = "08_choose_hyperparameters"
SOURCES = cells.sources(STEM)
run = partial(cells.run, SOURCES)
LEDGER = ROOT / "data" / "results" / "sweep.tiny.cpu-2-cores.json"
RATES = [1e-3, 1e-2, 1e-1]


def space(seeds, **others):
    """What the cells with functions need, and those functions."""
    known = {"np": np, "pd": pd, "plt": plt, "plotting": plotting}
    imports = "from itertools import combinations"
    exec(imports, known)
    known |= {"seeds": np.array(seeds)} | others
    return run(known, "luck", "compare", "rank-figure")


def rows(**scores):
    """Rows with the three seeds' scores of each setting."""
    return pd.DataFrame(
        [
            {"setting": name, "seed": seed, "exact_match": score}
            for name, found in scores.items()
            for seed, score in enumerate(found)
        ]
    )


def swept(*losses, right=0.8, r=16):
    """Rows of three rates with these losses, three seeds each."""
    made = [
        {"learning_rate": rate, "validation_loss": loss, "exact_match": right + s / 100}
        | {"seed": s, "r": r, "trainable": 1000 * r}
        for rate, loss in zip(RATES, losses, strict=True)
        for s in range(3)
    ]
    return pd.DataFrame(made)


SCATTER = [0.80, 0.82, 0.84, 0.86, 0.88, 0.90, 0.82, 0.84, 0.86, 0.88]


def test_luck_is_what_equal_settings_differ_by():
    lucky = space(SCATTER)["luck"]
    assert lucky(1, np.array([0.5, 0.5, 0.5, 0.5])) == 0
    assert lucky(1, np.array([0.0, 0.0, 0.0, 1.0])) == 1
    assert lucky(2, np.array([0.0, 0.0, 0.0, 1.0])) == 0.5
    assert lucky(1) > lucky(2) > lucky(3) > lucky(5) > 0


def test_only_what_luck_does_not_reach_is_apart():
    found = rows(usual=[0.84, 0.85, 0.86], near=[0.85, 0.86, 0.87], far=[0.6, 0.6, 0.7])
    known = space(SCATTER)
    assert list(known["apart"](found, "setting", "usual").index) == ["far"]
    ax = known["compare"](found, "setting", "usual").axes[0]
    assert ax.get_title() == "Told apart: 1 of 2"
    assert [label.get_text() for label in ax.get_yticklabels()] == [
        *("usual", "near", "far")
    ]


def rank_rows(**changed):
    """Rows of three ranks, best at the second rate but for what is changed."""
    usual = {f"r{r}": swept(0.3, 0.1, 2.0, r=r) for r in (4, 16, 64)}
    return {"rate-rank": pd.concat((usual | changed).values())}


@pytest.mark.parametrize(("right", "fails"), [(0.8, False), (0.99, True)])
def test_a_rank_that_brings_something_would_be_seen(right, fails):
    asked = rank_rows(r64=swept(0.3, 0.1, 2.0, right=right, r=64))
    expected = pytest.raises(AssertionError) if fails else contextlib.nullcontext()
    with expected:
        run(space(SCATTER, asked=asked), "rank-plot", "rank-claims")


def test_a_best_rate_that_follows_the_rank_would_be_seen():
    asked = rank_rows(r4=swept(2.0, 2.0, 0.1, r=4))
    with pytest.raises(AssertionError):
        run(space(SCATTER, asked=asked), "rank-plot", "rank-claims")


@pytest.mark.parametrize(
    ("losses", "fails"), [((0.1, 0.3, 2.0), False), ((0.3, 0.1, 2.0), True)]
)
def test_all_weights_with_the_rate_of_lora_would_be_seen(losses, fails):
    known = space(SCATTER, asked=rank_rows() | {"rate-full": swept(*losses)})
    run(known, "rank-plot")
    expected = pytest.raises(AssertionError) if fails else contextlib.nullcontext()
    with expected:
        run(known, "full-figure")


def test_the_ledger_answers_what_the_lesson_asks():
    entry = json.loads(LEDGER.read_text(encoding="utf-8"))
    found = pd.DataFrame(r for r in entry["rows"] if "error" not in r)
    names = re.findall(r'asked\["([\w-]+)"\]', "\n".join(SOURCES.values()))
    runs = found.groupby("question")["seed"].nunique()
    assert {name for name in names if runs.get(name, 0) < 3} == set()
    assert runs["seeds"] >= 8  # `luck` deals four and four


READ = "ledger seeds-figure luck compare rank-figure rank-plot rank-claims full-figure"
READ += " targets alpha batch epochs-figure dropout quantisation methods"
READ += " small-ranks small"


@pytest.fixture(scope="module")
def read():
    """What the cells that read the ledger bind."""
    known = {"np": np, "pd": pd, "plt": plt, "plotting": plotting, "json": json}
    exec("from itertools import combinations\nfrom pathlib import Path", known)
    with contextlib.chdir(ROOT):
        return run(known, *READ.split())


def test_the_ledger_shows_what_the_prose_says(read):
    """What is said below figures whose cells assert nothing."""
    asked, apart, luck = read["asked"], read["apart"], read["luck"]
    assert apart(asked["dropout"], "lora_dropout", 0).empty
    assert apart(asked["quantisation"], "method", "lora").empty
    found = apart(read["methods"], "method", read["default"])
    signs = {name.split(",")[0]: gap > 0 for name, gap in found.items()}
    won, lost = "pissa|rslora|lora 0.005|dora 0.005", "dora|qlora|loftq"
    assert {name for name, more in signs.items() if more} == {*won.split("|")}
    assert {name for name, more in signs.items() if not more} == {*lost.split("|")}
    longer = read["longer"]["exact_match"].mean()
    assert longer.max() - longer[32, 0.0025] < luck(3)
    losses = read["longer"]["validation_loss"].agg(["min", "max"])
    assert (losses["max"].drop((32, 0.0025)) < losses["min"][32, 0.0025]).all()
    of_one = read["longer"]["exact_match"].get_group((32, 0.0025))
    assert len(of_one) == 3 and np.ptp(of_one) < luck(1) / 2  # they lie closer
    ratios = asked["methods"].query("method == 'lora+'")["loraplus_lr_ratio"]
    assert {*ratios} == {4}
    assert "B has four times the rate of A" in SOURCES["methods-predict"]
    mlp = apart(read["targets"], "layers", "all-linear, rate 0.0025")
    assert mlp["MLP, rate 0.0025"] < 0 < mlp["MLP, rate 0.01"]


def test_steps_batches_and_lengths_are_as_the_prose_says(read):
    asked, by_alpha, full = read["asked"], read["by_alpha"], read["asked"]["rate-full"]
    ranks = asked["rate-rank"].groupby(["r", "learning_rate"])
    right, loss = (ranks[n].mean() for n in ("exact_match", "validation_loss"))
    assert loss[4, 1e-2] > max(loss[16, 1e-2], loss[64, 1e-2])
    assert loss[64, 1e-2] / loss[64, 5e-3] < 1.02  # as good
    highest = asked["rate-rank"].query("learning_rate == 0.01")
    assert 4 not in read["apart"](highest, "r", 16)
    assert by_alpha[16].idxmin() == 128 and by_alpha[16][128] < by_alpha[16][32] / 2
    full_loss = full.groupby("learning_rate")["validation_loss"].mean()
    assert full_loss.min() < by_alpha[16][128]
    assert abs(by_alpha.loc[32, 16] / by_alpha.loc[32, 64] - 1) < 0.05
    usual = asked["batch"].query("learning_rate == 0.0025")
    rows = usual.groupby("rows_per_update")["exact_match"].mean()
    assert min(rows[1], rows[2]) > rows[4] > rows[8] > rows[16]
    # What the higher rate gains in 80 updates is gone after 160.
    assert 0.08 < right[16, 5e-3] - right[16, 2.5e-3] < 0.12
    longer = read["longer"]["exact_match"].mean()
    assert longer[32, 0.005] <= longer[32, 0.0025]


def test_a_find_on_the_larger_model_was_luck(read):
    runs = read["grid"].groupby(["r", "learning_rate"])
    assert (runs["seed"].nunique() == 3).all() and len(runs) == 9
    lowest = {"r = 4": 2e-3, "r = 16": 1e-3, "r = 64": 1e-3}
    assert read["lowest_at"] == lowest and read["tops"]["r = 16"] == 5e-3
    least, most = runs["exact_match"].min(), runs["exact_match"].max()
    assert most.idxmax() == (4, 2e-3) and (least < least[4, 2e-3]).sum() == 1
    assert (least[4, 2e-3], most[4, 2e-3]) == (0.2, 0.735)
    assert runs["exact_match"].mean().idxmax() == (4, 2e-3)
    assert ((least <= most[4, 2e-3]) & (most >= least[4, 2e-3])).all()  # all overlap
    pairs = [(one, two) for one in least.index for two in least.index if one != two]
    assert len(pairs) == 2 * 36
    parted = {(one, two) for one, two in pairs if most[one] < least[two]}
    assert {one for one, _ in parted} == {(64, 2e-3)} and len(parted) == 5
    assert ((64, 2e-3), (16, 1e-3)) in parted
    tops = {"rank 4": 8, "rank 64": 128}  # alpha / r is kept
    for name, alpha in tops.items():
        assert small.SETTINGS[name]["peft_config"]["lora_alpha"] == alpha


def test_seeds_of_the_larger_model_lie_far_apart(read):
    table, three = read["table"], read["usual"]
    assert three.runs == 3 and three.max - three.min > 100 * np.ptp(read["seeds"])
    several = table[table["runs"] == 3].drop("as the profile")
    words = "one two three four five six seven eight nine ten eleven twelve".split()
    said = SOURCES["evidence-intro"]
    assert f"of {words[len(several) - 1]}, luck" in said
    parted = {name for name in read["below"] if name in several.index}
    assert parted == {"PiSSA", "8 rows an update"} and read["above"] == []
    assert f"the other {words[len(several) - 3]} are not told apart" in said
    assert (
        f"three seeds of the profile and of {words[len(several) - 1]} settings"
        in (SOURCES["small-ranks-after"])
    )
    assert table["runs"].max() == 3
    four = read["small"].query("setting == '4 rows an update'")["exact_match"] * 100
    first, second, third = four
    assert third < first < three.min < second < three.max
    assert "got {:.0f}, {:.0f} and {:.0f} %".format(*four) in said
    file = ROOT / "data/results/small_settings.cpu-2-cores.json"
    rows = json.loads(file.read_text(encoding="utf-8"))["rows"]
    whole = [100 * r["exact_match"] for r in rows if r["rows_read"] == 2800]
    assert f"three seeds get {min(whole):g} to {max(whole):g} % of 200" in said
    stock = table["mean"][small.DEFAULTS]
    assert f"default arguments get {stock:.0f} %" in said and len(whole) == 3
    [defaults] = [r for r in rows if r["setting"] == small.DEFAULTS]
    assert f"rank 8 on two kinds of layers, {defaults['updates']} updates of ei" in said
    assert LoraConfig().r == 8 and SFTConfig(use_cpu=True).learning_rate == 2e-5
    more = ("", ", rate 2e-3", ", rate 4e-3")
    falling = table["mean"][["beta2 0.999" + rate for rate in more]]
    assert falling.is_monotonic_decreasing


def test_more_passes_cost_loss_and_no_answers(read):
    lowest, curves = read["lowest"], read["curves"]
    assert lowest.equals(read["most"])
    assert 4 * lowest[20] / 20 == 16  # passes
    later = curves[curves["updates"] >= 80]
    for _, runs in later.groupby("rows"):
        by_look = runs.groupby("updates")["exact_match"].agg(["mean", "min", "max"])
        assert np.ptp(by_look["mean"]) < (by_look["max"] - by_look["min"]).min()
    rise = read["mean"]["validation_loss"][20]
    assert rise.loc[80:].is_monotonic_increasing


def test_lesson_05_quotes_the_seeds(read):
    seeds = 100 * read["seeds"]
    said = "the eight of lesson [08](08_choose_hyperparameters.ipynb) score "
    said += f"{seeds.min():.0f} to {seeds.max():.0f} %"
    assert len(seeds) == 8
    assert said in cells.sources("05_evaluate_the_result")["control-intro"]


def test_the_recipe_has_ten_lines_and_evidence_for_each():
    lines = re.findall(r"(?m)^(\d+)\. \*\*", SOURCES["recipe"])
    assert lines == [str(n) for n in range(1, 11)]
    assert len(re.findall(r'(?m)^    f"', SOURCES["evidence"])) == 10


@pytest.mark.slow
def test_the_live_sweep_has_a_valley_and_seeds_differ(figures):
    losses = figures["live_loss"]
    lora = [loss for name, loss in losses.items() if name.startswith("LoRA")]
    assert lora[-1] > 3 * min(lora) and lora[0] > min(lora)
    assert figures["live_flips"] > 0
    assert figures["seeds_highest"] > figures["seeds_lowest"]


@pytest.mark.slow
def test_the_rates_and_the_rank_are_as_claimed(figures):
    assert figures["rate_ratio"] >= 2
    rates = figures["best_rates"].values()
    assert max(rates) <= 4 * min(rates)
    assert figures["overtrain_turn"] < 12.5  # passes; the run's last one
