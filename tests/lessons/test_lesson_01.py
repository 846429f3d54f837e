"""Lesson 01: the class that it writes is LoRA, and its figures are what it claims."""

import json
import math
import re

import loralib
import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn
from torch.testing import assert_close

from helpers.course.ledger import RESULTS
from tests.benchmarks import rates
from tests.house import gates
from tests.lessons import cells

STEM = "01_build_lora_by_hand"
D_IN, D_OUT, RANK, ALPHA = 24, 40, 4, 12  # alpha / r = 3
DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
SEEDS = pytest.mark.parametrize("seed", [0, 1, 2])


@pytest.fixture(scope="module")
def LoRALinear():
    """The class as the notebook has it."""
    space = {"torch": torch, "nn": nn, "math": math}
    return cells.run(cells.sources(STEM), space, "lora-linear")["LoRALinear"]


class Case:
    """A plain layer, random A and B that are not zero, and an input."""

    def __init__(self, seed, dtype):
        torch.manual_seed(seed)
        self.plain = nn.Linear(D_IN, D_OUT, dtype=dtype)
        self.A = torch.randn(RANK, D_IN, dtype=dtype)
        self.B = torch.randn(D_OUT, RANK, dtype=dtype)
        self.x = torch.randn(5, 7, D_IN, dtype=dtype)
        self.dtype = dtype

    def copy_of_plain(self):
        layer = nn.Linear(D_IN, D_OUT, dtype=self.dtype)
        layer.load_state_dict(self.plain.state_dict())
        return layer

    def by_hand(self, LoRALinear, alpha=ALPHA):
        layer = LoRALinear(self.copy_of_plain(), RANK, alpha)
        return self.filled(layer, layer.lora_A, layer.lora_B)

    def in_loralib(self):
        layer = loralib.Linear(D_IN, D_OUT, r=RANK, lora_alpha=ALPHA, dtype=self.dtype)
        layer.load_state_dict(self.plain.state_dict(), strict=False)
        return self.filled(layer, layer.lora_A, layer.lora_B)

    def in_peft(self):
        config = LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules=["0"])
        model = get_peft_model(nn.Sequential(self.copy_of_plain()), config)
        inside = model.base_model.model[0]
        A, B = inside.lora_A["default"].weight, inside.lora_B["default"].weight
        assert A.dtype == self.dtype
        return self.filled(model, A, B)

    def filled(self, module, A, B):
        with torch.no_grad():
            A.copy_(self.A)
            B.copy_(self.B)
        return module


@DTYPES
@SEEDS
def test_the_class_equals_loralib_and_peft(LoRALinear, seed, dtype):
    case = Case(seed, dtype)
    output = case.by_hand(LoRALinear)(case.x)
    assert output.dtype == dtype and output.shape == (5, 7, D_OUT)
    assert_close(case.in_loralib()(case.x), output)
    assert_close(case.in_peft()(case.x), output)
    change = ALPHA / RANK * case.x @ (case.B @ case.A).T
    assert_close(case.plain(case.x) + change, output)


@DTYPES
def test_a_wrong_scale_is_seen_at_the_same_tolerance(LoRALinear, dtype):
    """The control: alpha 1 % off, which is also how far the outputs differ."""
    case = Case(0, dtype)
    wrong = case.by_hand(LoRALinear, alpha=1.01 * ALPHA)(case.x)
    for right in (case.in_loralib(), case.in_peft()):
        with pytest.raises(AssertionError, match="not close"):
            assert_close(right(case.x), wrong)


@DTYPES
def test_gradients_equal_those_of_loralib(LoRALinear, dtype):
    case = Case(0, dtype)
    hand, theirs = case.by_hand(LoRALinear), case.in_loralib()
    for layer in (hand, theirs):
        layer(case.x).square().mean().backward()
    assert_close(hand.lora_A.grad, theirs.lora_A.grad)
    assert_close(hand.lora_B.grad, theirs.lora_B.grad)
    assert hand.base.weight.grad is None and hand.base.bias.grad is None


@DTYPES
def test_it_starts_exactly_at_the_base(LoRALinear, dtype):
    case = Case(0, dtype)
    layer = LoRALinear(case.copy_of_plain(), RANK, ALPHA)
    assert torch.equal(layer(case.x), case.plain(case.x))
    assert layer.lora_A.abs().max() > 0 and layer.lora_A.dtype == dtype
    assert [n for n, w in layer.named_parameters() if w.requires_grad] == [
        "lora_A",
        "lora_B",
    ]


@DTYPES
def test_merging_is_idempotent_and_unmerging_restores(LoRALinear, dtype):
    case = Case(0, dtype)
    layer = case.by_hand(LoRALinear)
    unmerged, change = layer(case.x), ALPHA / RANK * case.B @ case.A
    layer.merge()
    merged = layer.base.weight.clone()
    assert_close(merged, case.plain.weight + change)
    assert_close(layer(case.x), unmerged)
    layer.merge()
    assert torch.equal(layer.base.weight, merged)
    layer.merge(on=False)
    assert_close(layer.base.weight, case.plain.weight)
    layer.merge(on=False)
    assert_close(layer.base.weight, case.plain.weight)
    assert_close(layer(case.x), unmerged)
    with pytest.raises(AssertionError, match="not close"):
        assert_close(merged, case.plain.weight)


@DTYPES
def test_a_step_moves_only_the_adapter(LoRALinear, dtype):
    case = Case(0, dtype)
    layer = LoRALinear(case.copy_of_plain(), RANK, ALPHA)
    trained = [w for w in layer.parameters() if w.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=0.1)
    layer(case.x).square().mean().backward()
    optimizer.step()
    assert torch.equal(layer.base.weight, case.plain.weight)
    assert torch.equal(layer.base.bias, case.plain.bias)
    assert layer.lora_B.abs().max() > 0


def test_with_a_fixed_alpha_the_first_step_is_the_same_at_every_rank(LoRALinear):
    """As the lesson shows for one layer; with a fixed alpha / r it grows with r."""

    def moved(rank, alpha):
        torch.manual_seed(0)
        layer = LoRALinear(nn.Linear(256, 64), rank, alpha)
        x, before = torch.randn(1, 256), layer.base
        layer(x).square().sum().backward()
        torch.optim.Adam([layer.lora_B], lr=1e-3).step()
        return (layer(x) - before(x)).norm().item()

    fixed, growing = ([moved(r, a) for r, a in pairs] for pairs in SCALES)
    assert max(fixed) < 1.6 * min(fixed) and growing[-1] > 8 * growing[0]


SCALES = [[(2, 16), (8, 16), (32, 16)], [(2, 4), (8, 16), (32, 64)]]


def ledger(name):
    return json.loads((RESULTS / name).read_text(encoding="utf-8"))


def test_the_lesson_takes_the_best_rates_of_those_that_were_tried():
    rows = ledger("rates.tiny.cpu-2-cores.json")["rows"]
    tried = {name: {} for name in rates.TRIED}
    for row in rows:
        tried[row["method"]][row["rate"]] = row["held_out_loss"]
    assert {name: tuple(found) for name, found in tried.items()} == rates.TRIED
    best = {name: min(found, key=found.get) for name, found in tried.items()}
    cells = {c.id: c.source for _, c in gates.cells(rates.LESSON, "code")}
    taken = [*re.findall(r"train\(full, rate=(.+?)\)", cells["full"])]
    taken += re.findall(r"train\(tuned, rate=(.+?)\)", cells["train-lora"])
    assert list(map(float, taken)) == [best["full"], best["LoRA"]]
    assert best["LoRA"] == 10 * best["full"]
    figures = ledger(f"{STEM}.tiny.cpu-2-cores.json")["figures"]
    for name, figure in {"full": "full_loss", "LoRA": "lora_loss"}.items():
        assert tried[name][best[name]] == pytest.approx(figures[figure], abs=0.01)


@pytest.mark.slow
def test_counts_are_those_of_the_real_models(figures):
    phi3 = {"LoRA, r=8": 12_582_912, "LoRA, r=16": 25_165_824}
    assert figures["phi3"] == phi3 | {"all parameters": 3_821_079_552}
    assert figures["llama"]["LoRA, r=16"] == 41_943_040


@pytest.mark.slow
def test_the_three_implementations_agree(figures):
    assert figures["loralib_gap"] < 1e-6 and figures["peft_gap"] < 1e-6
    assert figures["merge_gap"] < 1e-5 and figures["merged_difference"] < 1e-5


@pytest.mark.slow
def test_a_few_pieces_do_most_of_the_work(figures):
    assert figures["rank_8_recovers"] > 0.75 and 0.2 < figures["rank_8_error"] < 0.9


@pytest.mark.slow
def test_lora_wants_a_higher_rate(figures):
    assert figures["lora_loss"] < 0.5 * figures["slow_loss"]


@pytest.mark.slow
def test_the_four_claims_within_their_limits(figures):
    assert max(figures["full_loss"], figures["lora_loss"]) < 0.6 * figures["base_loss"]
    share = figures["claims"]
    assert share["2 loss gained"] > 0.9 and share["3 GFLOP, merged"] == 1
    assert figures["exact"][1] > max(0.5, figures["exact"][0] - 0.1)
    assert figures["unmerged_flops_share"] > 1
    assert share["4 MiB of gradients and AdamW"] < 0.06
    assert 0.5 < share["4 MiB of activations"] < share["4 MiB of weights"]
