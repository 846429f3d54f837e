"""An adapter's folder, its base, and what a merge kept: each fault has its name."""

import copy
import json
import shutil

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import BitsAndBytesConfig, LlamaForCausalLM

from helpers.files import ROOT, write_json
from helpers.models import fingerprint
from helpers.preflight import check
from tests.models.made_adapter import make_adapter, rewrite, wrapped, zeroed
from tests.models.tiny_model import build_model, build_phi3
from tests.preflight.made import levels

CODES = {
    *("damaged-adapter", "zero-b", "wrong-alpha", "lost-keys", "wrong-base"),
    "merge-drift",
}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """The folder of a trained adapter with its metrics. Not to be changed: copy it."""
    return make_adapter(build_model(), tmp_path_factory.mktemp("adapter"))


@pytest.fixture
def copied(saved, tmp_path):
    return shutil.copytree(saved, tmp_path / "adapter")


def codes(**inputs):
    """What is found, all of which ruins what the adapter is for."""
    found = levels(check(**inputs))
    assert {found[code] for code in found.keys() & CODES} <= {"ruins"}
    return found.keys() & CODES


def merged(base, folder):
    return PeftModel.from_pretrained(base, folder).merge_and_unload()


def test_a_whole_adapter_on_its_base_has_no_finding(saved):
    base = build_model()
    report = check(adapter=saved, base=base)
    assert report.findings == [] and CODES - {"merge-drift"} == {*report.checked}
    assert report.checked["wrong-base"].endswith(fingerprint(base)[:8])
    tuned = PeftModel.from_pretrained(build_model(), saved)
    assert codes(adapter=saved, base=tuned, model=tuned) == set()


def test_a_shipped_adapter_is_held_against_the_folder_of_its_base():
    checkpoints = ROOT / "data" / "checkpoints"
    given = {"adapter": checkpoints / "tickets-lora"}
    report = check(base=str(checkpoints / "tiny-phi3"), **given)
    assert report.findings == [] and len(report.checked) == 5
    assert codes(base=str(checkpoints / "tiny-llama"), **given) == {"wrong-base"}


@pytest.mark.parametrize(
    ("change", "code"), [(zeroed, "zero-b"), (wrapped, "lost-keys")]
)
def test_weights_that_do_nothing_are_found(copied, change, code):
    rewrite(change)(copied)
    assert codes(adapter=copied, base=build_model()) == {code}


def test_idle_towers_are_no_fault_and_are_counted(copied):
    """As others leave them, who tuned a multimodal model on text."""

    def with_tower(weights):
        name = "base_model.model.model.vision_tower.layers.{}.q_proj.lora_B.weight"
        return weights | {name.format(n): torch.zeros(4, 2) for n in range(3)}

    rewrite(with_tower)(copied)
    report = check(adapter=copied)
    assert "zero-b" not in report.codes
    assert report.checked["zero-b"] == "3 of towers or experts are zero"


def test_another_alpha_is_found(copied):
    config = json.loads((copied / "adapter_config.json").read_text())
    write_json(copied / "adapter_config.json", config | {"lora_alpha": 1})
    assert codes(adapter=copied) == {"wrong-alpha"}


def test_files_that_cannot_be_read_are_one_finding(copied):
    (copied / "adapter_model.safetensors").write_bytes(b"half")
    given = {"adapter": copied, "base": build_model()}
    assert codes(**given) == {"damaged-adapter"}
    (copied / "adapter_config.json").unlink()
    assert codes(**given) == {"damaged-adapter"}
    assert codes(**given | {"adapter": copied / "nowhere"}) == {"damaged-adapter"}


def test_another_base_is_found(saved):
    assert codes(adapter=saved, base=build_model(seed=1)) == {"wrong-base"}
    assert codes(adapter=saved, base=build_model().half()) == {"wrong-base"}
    assert codes(adapter=saved, base=build_phi3()) == {"wrong-base"}  # lost keys, too
    assert codes(adapter=saved, base=merged(build_model(), saved)) == {"wrong-base"}


def test_without_a_fingerprint_the_names_are_compared(tmp_path):
    base = build_model()
    base.config._name_or_path = base.name_or_path = "models/one"
    folder = make_adapter(base, tmp_path / "adapter", known=False)
    assert codes(adapter=folder, base=base) == set()
    other = build_model(seed=1)
    other.config._name_or_path = other.name_or_path = "models/two"
    report = check(adapter=folder, base=other)
    assert levels(report) == {"wrong-base": "warns"}
    assert report.checked["wrong-base"] == "the name one"
    assert report.checked["wrong-alpha"] == "nothing to compare with"
    other.config._name_or_path = other.name_or_path = ""
    assert codes(adapter=folder, base=other) == set()


def test_a_merge_in_float32_or_bfloat16_keeps_the_adapter(saved):
    base = build_model()
    whole = merged(build_model(), saved)
    assert codes(model=whole, adapter=saved, base=base) == set()
    report = check(model=whole.bfloat16(), adapter=saved, base=base)
    assert "merge-drift" not in report.codes
    assert 0.1 < float(report.checked["merge-drift"].partition("%")[0]) < 25
    assert codes(model=base, adapter=saved, base=build_model()) == set()


def test_what_dora_rescales_is_not_taken_for_drift(tmp_path):
    config = LoraConfig(task_type="CAUSAL_LM", r=4, target_modules="all-linear")
    config.use_dora = True
    get_peft_model(build_model(), config).save_pretrained(tmp_path)
    whole, base = merged(build_model(), tmp_path), build_model()
    report = check(model=whole, adapter=tmp_path, base=base)
    assert "merge-drift" not in report.codes
    assert report.checked["merge-drift"].startswith("not judged: DoRA")


def test_a_merge_of_something_else_is_found(saved):
    whole = merged(build_model(), saved)
    with torch.no_grad():
        whole.model.layers[0].mlp.up_proj.weight += 0.05
    assert codes(model=whole, adapter=saved, base=build_model()) == {"merge-drift"}
    whole = merged(build_model(), saved)
    with torch.no_grad():  # as if a quarter of what was added had been lost, and more
        for (_, now), (_, before) in zip(
            whole.named_parameters(), build_model().named_parameters(), strict=True
        ):
            now += 0.3 * (before - now)
    assert codes(model=whole, adapter=saved, base=build_model()) == {"merge-drift"}


@pytest.mark.filterwarnings("ignore:Merge lora module to 4-bit")
def test_a_merge_into_4_bit_is_found(tmp_path):
    build_model().save_pretrained(tmp_path / "base")

    def four_bit():
        settings = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4")
        return LlamaForCausalLM.from_pretrained(
            tmp_path / "base", quantization_config=settings
        )

    folder = make_adapter(four_bit(), tmp_path / "adapter", qlora=True)
    base, tuned = four_bit(), PeftModel.from_pretrained(four_bit(), folder)
    assert codes(model=tuned, adapter=folder, base=base) == set()
    tuned.merge_adapter()
    assert codes(model=tuned, adapter=folder) == {"merge-drift"}
    tuned.unmerge_adapter()
    whole = merged(four_bit(), folder)
    assert codes(model=whole, adapter=folder, base=base) == {"merge-drift"}
    assert codes(model=whole, adapter=folder) == {"merge-drift"}
    assert codes(model=base, adapter=folder) == set()  # its base, not merged
    unpacked = merged(copy.deepcopy(base).dequantize(dtype=torch.float32), folder)
    assert codes(model=unpacked, adapter=folder, base=base) == set()
