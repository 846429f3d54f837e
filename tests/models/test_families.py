"""Today's families from tokenizer to merged model, each small and random.

What a family's checkpoint says stands in families.yaml, and what is expected of it.
"""

import json
import logging
import re
import warnings
from collections import Counter
from copy import deepcopy
from dataclasses import replace

import pytest
import torch
from peft import PeftModel
from torch import nn

from helpers.evaluation.generation import (
    generate,
    generate_with_stops,
    prompt_ids,
    stop_ids,
)
from helpers.evaluation.likelihood import perplexity
from helpers.files import ROOT, write_json
from helpers.finetune import Settings
from helpers.finetune.recipe import make_trainer
from helpers.finetune.rows import read_rows
from helpers.formatting import DataError
from helpers.formatting.batches import encode
from helpers.models import (
    ModelError,
    check_adapter,
    claims,
    load_adapter,
    load_tokenizer,
)
from helpers.models.inspection import (
    adapted_modules,
    fingerprint,
    left_out,
    unadapted_modules,
)
from helpers.models.tokens import check_template
from helpers.preflight import device
from tests.models.families import (
    ANSWER,
    CHATS,
    FAMILIES,
    QUESTION,
    SYSTEM,
    build,
    refuses_system,
)

pytestmark = [
    pytest.mark.slow,
    # It looks for modules by a pattern that it made for stacks of experts.
    pytest.mark.filterwarnings("ignore:.*_pattern keys did not match any targeted"),
]

WORKS = [name for name, facts in FAMILIES.items() if "refused" not in facts]
REFUSED = sorted(FAMILIES.keys() - WORKS)
MERGED = 1e-4  # logits; measured 3e-5 at most, of logits up to 12


@pytest.fixture(scope="module", params=WORKS)
def family(request, tmp_path_factory):
    return build(request.param, tmp_path_factory.mktemp("family"))


def test_the_tokenizer_is_ready(family):
    tokenizer, facts = family.tokenizer, family.facts
    assert tokenizer.pad_token == facts["pad"]
    assert tokenizer.padding_side == "right"
    assert tokenizer.decode(tokenizer.encode("a . b", add_special_tokens=False)) == (
        "a . b"
    )
    again = family.folder / "again"  # a saved tokenizer is not changed twice
    tokenizer.save_pretrained(again)
    assert type(tokenizer).from_pretrained(again).chat_template == (
        tokenizer.chat_template
    )


def test_the_prompt_starts_the_whole_and_what_is_trained_can_stop(family):
    tokenizer, facts = family.tokenizer, family.facts
    stops, end = stop_ids(family.plain, tokenizer), family.ids(facts["end"])
    assert {*family.ids(facts["stops"]), end, tokenizer.eos_token_id} == {*stops}
    for chat, row in zip(family.chats, family.trainer.train_dataset, strict=True):
        prompt = prompt_ids(tokenizer, chat[:-1])
        ids, given = row["input_ids"], len(prompt)
        assert ids[:given] == prompt
        assert row["labels"] == [-100] * given + ids[given:]
        trained = ids[given:]
        text = tokenizer.decode(trained, skip_special_tokens=True).strip()
        assert text == ANSWER["content"]
        assert next(i for i in trained if i in stops) == end
        assert (ids, row["labels"]) == encode(tokenizer, row)  # the plain loop's
        assert tokenizer.decode(prompt).endswith(facts.get("thought", ""))


def test_a_chat_has_one_beginning(family):
    tokenizer, facts = family.tokenizer, family.facts
    if "bos" not in facts:
        pytest.skip("its bos is its end, or starts every turn")
    for chat, row in zip(family.chats, family.trainer.train_dataset, strict=True):
        assert row["input_ids"].count(tokenizer.bos_token_id) == facts["bos"]
        rendered = tokenizer.apply_chat_template(chat, tokenize=False)
        twice = tokenizer(rendered)["input_ids"].count(tokenizer.bos_token_id)
        assert twice == facts["bos"] + facts["adds_bos"]  # what one must not do


def test_a_system_turn_is_kept_folded_in_or_refused(family):
    said, chat = family.facts["system"], [SYSTEM, *CHATS[0]]
    if refuses_system(family.facts):
        with pytest.raises(ModelError) as error:
            check_template(family.tokenizer, ("system", "user", "assistant"))
        assert said in str(error.value)
        return
    text = family.tokenizer.apply_chat_template(chat, tokenize=False)
    assert SYSTEM["content"] in text
    folded = f"{SYSTEM['content']}\n\n{CHATS[0][0]['content']}" in text
    assert folded == (said == "folded into the first question")


def test_lora_is_on_every_layer_that_the_facts_do_not_except(family):
    model, base = family.trainer.model, family.plain
    left_out = family.facts.get("left_out", {})
    assert unadapted_modules(model) == left_out
    head = base.get_output_embeddings()
    layers = [
        n for n, m in base.named_modules() if isinstance(m, nn.Linear) and m != head
    ]
    layers += [n for n, p in base.named_parameters() if ".experts." in n]
    reached = Counter(adapted_modules(model)) + Counter(left_out)
    reached.pop("gate", None)  # the router, which PEFT adapts along with the experts
    assert reached == Counter(name.rpartition(".")[2] for name in layers)
    moved = {n: p.abs().max() for n, p in model.named_parameters() if "lora_B" in n}
    assert moved and not [name for name, most in moved.items() if most == 0]


@torch.inference_mode()
def logits(model, family):
    """Those of a chat, (tokens, vocabulary)."""
    ids = torch.tensor([family.trainer.train_dataset[0]["input_ids"]])
    return model.eval()(input_ids=ids).logits[0]


def test_saves_reloads_merges_and_loads_again(family, tmp_path):
    trained = logits(family.trainer.model, family)
    assert (trained - logits(family.plain, family)).abs().max() > 1000 * MERGED
    folder = family.publish(tmp_path / "adapter")
    model = load_adapter(family.base(), folder)
    assert torch.equal(logits(model, family), trained)
    peft = PeftModel.from_pretrained(family.base(), folder).eval()
    assert torch.equal(logits(peft, family), trained)
    (folder / "metrics.json").unlink()
    check_adapter(folder, family.plain.config)  # the card says as much of the scale
    assert fingerprint(model) == fingerprint(family.plain)
    merged = model.merge_and_unload()
    torch.testing.assert_close(logits(merged, family), trained, atol=MERGED, rtol=0)
    merged.save_pretrained(tmp_path / "merged")
    loaded = type(merged).from_pretrained(tmp_path / "merged")
    assert torch.equal(logits(loaded, family), logits(merged, family))
    stops = loaded.generation_config.eos_token_id
    assert {*(stops if isinstance(stops, list) else [stops])} == {
        *family.ids(family.facts["stops"])
    }


def test_the_experts_of_a_mixture_have_a_scale_of_their_own(tmp_path):
    """PEFT fuses two layers of each expert, and doubles rank and alpha for that."""
    family = build("Qwen3-MoE", tmp_path / "base")
    folder = family.publish(tmp_path / "adapter")
    said = claims(folder)["settings"]["peft_config"]
    assert said["target_modules"] == "all-linear" and said["r"] == 16
    assert [*said["rank_pattern"].values()] == [32]
    assert [*said["alpha_pattern"].values()] == [64]
    file = folder / "adapter_config.json"
    config = json.loads(file.read_text(encoding="utf-8"))
    assert config["target_parameters"] == sorted(config["target_parameters"])
    write_json(file, config | {"alpha_pattern": {}})
    with pytest.raises(ModelError, match="alpha_pattern {}, the adapter was trained"):
        check_adapter(folder)


def test_peft_changes_no_settings(tmp_path):
    """It writes the scale of fused layers into the dictionary that it is given."""
    family = build("Qwen3-MoE", tmp_path)
    mine = {"rank_pattern": {"lm_head": 4}, "alpha_pattern": {"lm_head": 8}}
    profile = replace(family.profile, peft_config=family.profile.peft_config | mine)
    asked = deepcopy(profile.peft_config)
    assert device.model(profile) and profile.peft_config == asked
    trainer, _ = make_trainer(family.settings, profile, family.splits)
    assert profile.peft_config == asked
    assert len(trainer.model.peft_config["default"].rank_pattern) == 2


def test_answers_are_greedy_and_silent_whatever_the_checkpoint_says(family, caplog):
    model, tokenizer = family.trainer.model, family.tokenizer
    prompts = [chat[:-1] for chat in family.chats]
    own = model.generation_config.to_dict()
    with warnings.catch_warnings(), caplog.at_level(logging.WARNING):
        warnings.simplefilter("error")
        answers = generate(model, tokenizer, prompts, 4)
    slow = "falling back to its reference PyTorch implementation"  # of Mamba, on CPUs
    assert not [r for r in caplog.records if slow not in r.getMessage()]
    assert model.generation_config.to_dict() == own
    assert model.get_base_model().generation_config.to_dict() == own
    stops = stop_ids(model, tokenizer)
    for prompt, answer in zip(prompts, answers, strict=True):
        ids = prompt_ids(tokenizer, prompt)
        new = []
        while len(new) < 4 and not {*new} & {*stops}:
            with torch.inference_mode():
                output = model(torch.tensor([ids + new])).logits[0, -1]
            new.append(int(output.argmax()))
        assert tokenizer.decode(new, skip_special_tokens=True) == answer


def test_each_stop_token_ends_an_answer(family):
    model, tokenizer = family.trainer.model, family.tokenizer
    prompt = [CHATS[0][:-1]]
    ordinary = tokenizer.encode("q", add_special_tokens=False)[0]
    for token in [*stop_ids(model, tokenizer), ordinary]:
        head = model.get_base_model().get_output_embeddings()
        hook = head.register_forward_hook(lambda *_, t=token: saying(t, _[-1]))
        [(answer, stopped)] = generate_with_stops(model, tokenizer, prompt, 3)
        hook.remove()
        assert (answer, stopped) == (
            ("qqq", False) if token == ordinary else ("", True)
        )


def saying(token, logits):
    """The logits of a model that says one token."""
    return torch.zeros_like(logits).index_fill_(-1, torch.tensor([token]), 1.0)


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_learnt_from_is_refused(name, tmp_path):
    family = build(name, tmp_path)
    with pytest.raises(ModelError) as error:
        load_tokenizer(family.profile)
    assert family.facts["refused"] in str(error.value)
    assert "\n" not in str(error.value)


def test_finetune_says_what_lora_leaves_out(tmp_path, capsys):
    for name, said in {"Granite 4 hybrid": True, "Llama 3.2": False}.items():
        trainer = build(name, tmp_path / name).trainer
        line = f"finetune: LoRA leaves out {left_out(trainer.model)}\n"
        assert (
            (line in capsys.readouterr().err) == said == bool(left_out(trainer.model))
        )


def test_finetune_refuses_chats_that_a_template_cannot_render(tmp_path):
    family, data = build("Gemma 2", tmp_path), tmp_path / "chats.jsonl"
    asked = [QUESTION | {"content": f"order {number}"} for number in range(12)]
    chats = [*([one, ANSWER] for one in asked), [SYSTEM, *CHATS[0]]]
    data.write_text("".join(json.dumps({"messages": c}) + "\n" for c in chats))
    refused = rf"chats\.jsonl:{len(chats)}: .*System role not supported"
    with pytest.raises(DataError, match=refused):
        read_rows(Settings(data, tmp_path / "out"), family.profile)


def test_answers_that_begin_with_thoughts_are_refused_where_prompts_end_them(tmp_path):
    family = build("Qwen3", tmp_path)
    thought = {"role": "assistant", "content": "<think>\nHm.\n</think>\n\nYes."}
    row = {"messages": [CHATS[0][0], thought]}
    with pytest.raises(ModelError, match="whose prompt stays the same once answered"):
        perplexity(family.base(), family.tokenizer, [row])


def test_the_readme_names_every_family_and_what_becomes_of_it():
    page = (ROOT / "README.md").read_text(encoding="utf-8")
    table = page.partition("| family |")[2].partition("</details>")[0]
    told = dict(re.findall(r"^\| ([^|-][^|]*) \| .* \| (.*) \|$", table, re.MULTILINE))
    named = {
        max((k for k in FAMILIES if row.startswith(k)), key=len): row for row in told
    }
    assert named.keys() == FAMILIES.keys() and len(told) == len(FAMILIES)
    ours = [name for name, facts in FAMILIES.items() if "layout" in facts["template"]]
    assert len(ours) == 7 and "for seven our copy of its layout" in page
    for name, facts in FAMILIES.items():
        fate = told[named[name]]
        assert fate.startswith("refused" if "refused" in facts else "works")
        assert bool(re.search("left out and said|PEFT .* leaves out", fate)) == (
            "left_out" in facts
        )
