"""An adapter is put on a model only where it is whole, trained, and the model's."""

import json
import re
import shutil

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file

from helpers.files import ROOT, write_json
from helpers.models import (
    ModelError,
    adapted_modules,
    changes_base,
    check_adapter,
    check_trained,
    fingerprint,
    load_adapter,
)
from tests.models.made_adapter import (
    SETTINGS,
    WEIGHTS,
    first,
    make_adapter,
    rewrite,
    wrapped,
    zeroed,
)
from tests.models.tiny_model import build_model

IDS = torch.tensor([[1, 40, 50, 60]])
CARD = """---
base_model: tiny
---
| rank, alpha | 4, 8 |
The adapter belongs to one base, whose weights in float32 have the fingerprint
`{}`
"""


def logits(model):
    with torch.no_grad():
        return model(input_ids=IDS).logits


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """The folder of a trained adapter with its metrics. Not to be changed: copy it."""
    folder = make_adapter(build_model(), tmp_path_factory.mktemp("adapter"))
    (folder / "README.md").write_text(CARD.format(fingerprint(build_model())))
    return folder


@pytest.fixture
def copy(saved, tmp_path):
    """A copy of that folder, to be damaged."""
    return shutil.copytree(saved, tmp_path / "adapter")


def reset(**values):
    """A damage: other values in adapter_config.json."""

    def damage(folder):
        config = json.loads((folder / SETTINGS).read_text())
        write_json(folder / SETTINGS, config | values)

    return damage


def not_a_number(weights):
    return weights | {(key := first(weights, "lora_A")): weights[key] / 0}


def shorter(weights):
    return {key: weights[key] for key in list(weights)[1:]}


def more(weights):
    return weights | {"base_model.model.extra.lora_A.weight": torch.ones(4, 4)}


DAMAGES = {
    "a wrapper's prefix": (rewrite(wrapped), "28 of its keys match no module, 28 are"),
    "a key too few": (rewrite(shorter), "0 of its keys match no module, 1 are missing"),
    "a key too many": (rewrite(more), "1 of its keys match no module, 0 are missing"),
    "a B of zero": (rewrite(zeroed), "1 of 14 matrices B are zero, such as"),
    "not a number": (rewrite(not_a_number), "values that are not finite"),
    "another alpha": (
        reset(lora_alpha=1),
        "lora_alpha 1, the adapter was trained with 8",
    ),
    "another rank": (reset(r=8), "r 8, the adapter was trained with 4"),
    "rslora": (
        reset(use_rslora=True),
        "use_rslora True, the adapter was trained with False",
    ),
    "an alpha of a layer": (
        reset(alpha_pattern={"q_proj": 99}),
        "alpha_pattern {'q_proj': 99}, the adapter was trained with {}",
    ),
    "a rank of a layer": (
        reset(rank_pattern={"none": 2}),
        "rank_pattern {'none': 2}, the adapter was trained with {}",
    ),
    "no LoRA": (
        reset(peft_type="IA3"),
        "must hold a LoRA adapter, its peft_type is IA3",
    ),
    "no weights": (lambda f: (f / WEIGHTS).unlink(), "is missing or damaged"),
    "no config": (lambda f: (f / SETTINGS).unlink(), "adapter_config.json cannot be"),
    "a pickle": (
        lambda f: (f / WEIGHTS).rename(f / "adapter_model.bin"),
        "holds its weights as a pickle, which may run code",
    ),
    "damaged metrics": (
        lambda f: (f / "metrics.json").write_text("["),
        "metrics.json cannot be read",
    ),
}


def test_a_whole_adapter_answers_as_peft_loads_it(saved):
    mine = load_adapter(build_model(), saved)
    peft = PeftModel.from_pretrained(build_model(), str(saved))
    assert torch.equal(logits(mine), logits(peft)) and not mine.training
    assert not torch.equal(logits(mine), logits(build_model()))
    assert not any(weight.requires_grad for weight in mine.parameters())
    assert check_adapter(saved, build_model().config)["r"] == 4
    load_adapter(mine, saved, "second")  # one more on the same base
    mine.set_adapter("second")
    assert torch.equal(logits(mine), logits(peft))
    trained = load_adapter(build_model(), saved, trainable=True)
    assert any(weight.requires_grad for weight in trained.parameters())


def test_a_second_adapter_takes_no_name_and_no_base_of_the_first(saved, copy):
    mine = load_adapter(build_model(), saved)
    before = logits(mine)
    with pytest.raises(ModelError, match="has an adapter 'default' already.*another"):
        load_adapter(mine, copy)
    rewrite_settings(copy, init_lora_weights="pissa")
    (copy / "metrics.json").unlink()
    with pytest.raises(ModelError, match="starts with pissa changes the base of all"):
        load_adapter(mine, copy, "second")
    assert torch.equal(logits(mine), before)
    alone = load_adapter(build_model(), copy)
    with pytest.raises(ModelError, match="starts with pissa changes the base of all"):
        load_adapter(alone, saved, "second")


@pytest.mark.parametrize(
    ("learnt", "idle", "good"),
    [
        ("language_model.layers.0.q_proj", "vision_tower.layers.0.q_proj", True),
        ("layers.0.mlp.experts.1.up_proj", "layers.0.mlp.experts.7.up_proj", True),
        ("layers.0.self_attn.q_proj", "layers.3.cross_attn.q_proj", True),
        ("vision_tower.layers.0.q_proj", "language_model.layers.0.q_proj", False),
        (None, "vision_tower.layers.0.q_proj", False),
    ],
)
def test_what_a_text_need_not_reach_may_be_idle(tmp_path, learnt, idle, good):
    """Adapters of multimodal models, tuned on text by others."""
    name = "base_model.model.model.{}.lora_B.weight".format
    weights = {name(idle): torch.zeros(4, 2)}
    weights |= {name(learnt): torch.ones(4, 2)} if learnt else {}
    save_file(weights, tmp_path / WEIGHTS)
    if good:
        assert check_trained(tmp_path) == [name(idle)]
    else:
        with pytest.raises(ModelError, match="1 of . matrices B are zero"):
            check_trained(tmp_path)


def test_a_start_that_is_drawn_anew_is_refused(copy):
    rewrite_settings(copy, init_lora_weights="pissa_niter_4")
    with pytest.raises(ModelError, match="pissa_niter_4, whose start is drawn anew"):
        check_adapter(copy)


def test_mica_trains_the_other_matrix(copy):
    rewrite_settings(copy, init_lora_weights="mica")
    assert changes_base(check_adapter(copy)) == ""
    weights = load_file(copy / WEIGHTS)
    zero = {k: w * 0 if "lora_A" in k else w for k, w in weights.items()}
    save_file(zero, copy / WEIGHTS)
    with pytest.raises(ModelError, match="matrices A are zero"):
        check_adapter(copy)


def rewrite_settings(folder, **changed):
    path = folder / SETTINGS
    write_json(path, json.loads(path.read_text(encoding="utf-8")) | changed)


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_adapter_is_refused_and_the_model_is_left_alone(copy, name):
    damage, says = DAMAGES[name]
    damage(copy)
    model = build_model()
    before = fingerprint(model)
    with pytest.raises(ModelError, match=says) as error:
        load_adapter(model, copy)
    assert "\n" not in str(error.value)
    assert adapted_modules(model) == {} and fingerprint(model) == before


def test_peft_itself_takes_the_wrapped_one_for_healthy(copy):
    """The negative control: what the strict loader is for."""
    rewrite(wrapped)(copy)
    reset(lora_alpha=1)(copy)
    with pytest.warns(UserWarning, match="missing adapter keys"):
        model = PeftModel.from_pretrained(build_model(), str(copy))
    assert adapted_modules(model)["q_proj"] == 2  # there, and does nothing
    assert torch.equal(logits(model), logits(build_model()))


@pytest.mark.parametrize("name", ["a wrapper's prefix", "a key too few", "a B of zero"])
def test_the_configuration_alone_is_enough_for_its_keys(copy, name):
    for file in ("metrics.json", "README.md"):
        (copy / file).unlink()
    load_adapter(build_model(seed=1), copy)  # nothing names the base
    damage, says = DAMAGES[name]
    damage(copy)
    with pytest.raises(ModelError, match=says):
        load_adapter(build_model(), copy)
    with pytest.raises(ModelError, match=says):
        check_adapter(copy, build_model().config)
    reset(r=8)(copy)
    with pytest.raises(ModelError):
        load_adapter(build_model(), copy)


def test_without_metrics_the_card_is_asked(copy):
    (copy / "metrics.json").unlink()
    load_adapter(build_model(), copy)
    with pytest.raises(ModelError, match="needs tiny in float32 with the fingerprint"):
        load_adapter(build_model(seed=1), copy)
    for name in ("another alpha", "rslora", "an alpha of a layer"):
        damage, says = DAMAGES[name]
        before = (copy / SETTINGS).read_text()
        damage(copy)
        with pytest.raises(ModelError, match=says):
            load_adapter(build_model(), copy)
        (copy / SETTINGS).write_text(before)


def test_what_the_card_says_of_the_scale_counts(copy):
    (copy / "metrics.json").unlink()
    card = (copy / "README.md").read_text()
    row = "| rank, alpha | 4, 8 |\n"
    (copy / "README.md").write_text(card.replace(row, f"{row}| use_rslora | true |\n"))
    with pytest.raises(ModelError, match="use_rslora False, .* trained with True"):
        load_adapter(build_model(), copy)
    reset(use_rslora=True)(copy)
    load_adapter(build_model(), copy)
    (copy / "README.md").write_text(card.replace(row, f"{row}| use_rslora | yes |\n"))
    with pytest.raises(ModelError, match="README.md: .*use_rslora.* must be JSON"):
        load_adapter(build_model(), copy)


def test_a_key_that_nobody_names_is_pefts_default(copy):
    """An adapter_config.json of an older PEFT lacks some."""
    config = json.loads((copy / SETTINGS).read_text())
    del config["use_rslora"], config["alpha_pattern"]
    write_json(copy / SETTINGS, config)
    load_adapter(build_model(), copy)


def test_another_base_or_precision_is_refused(saved, tmp_path):
    needs = "needs tiny in float32 with the fingerprint"
    with pytest.raises(ModelError, match=f"{needs} .*, got torch.float32 and"):
        load_adapter(build_model(seed=1), saved)
    with pytest.raises(ModelError, match=f"{needs} .*, got torch.bfloat16 and"):
        load_adapter(build_model().bfloat16(), saved)
    metrics = json.loads((saved / "metrics.json").read_text())
    metrics["settings"]["qlora"] = True
    shutil.copytree(saved, tmp_path / "qlora")
    write_json(tmp_path / "qlora" / "metrics.json", metrics)
    with pytest.raises(ModelError, match="needs tiny in 4 bit with the fingerprint"):
        load_adapter(build_model(seed=1), tmp_path / "qlora")
    merged = load_adapter(build_model(), saved).merge_and_unload()
    with pytest.raises(ModelError, match="unmerged, in that precision"):
        load_adapter(merged, saved)
    other = build_model(num_key_value_heads=2)
    with pytest.raises(ModelError, match="does not fit the model .*size mismatch"):
        check_adapter(saved, other.config)


@pytest.mark.parametrize("name", ["tickets-lora", "tickets-lora-half", "items-lora"])
def test_the_shipped_adapters_pass(name):
    folder = ROOT / "data" / "checkpoints" / name
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert check_adapter(folder)["lora_alpha"] == 32
    assert re.search(r"^\| rank, alpha \| 16, 32 \|$", card, re.MULTILINE)
