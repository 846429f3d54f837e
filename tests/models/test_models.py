"""Loading, its errors, and what can be said of a model's weights."""

import dataclasses
import logging
import shutil
import subprocess
import sys
from importlib import resources

import pytest
import torch
import transformers
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file

from helpers import models
from helpers.config import load_profile
from helpers.files import ROOT
from helpers.models import ModelError, check_checkpoint, loading
from helpers.models.tokens import NO_THINKING
from tests.models.tiny_model import build_model, build_phi3, build_tokenizer, chat

SPLIT_NAMES = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj"]
SPLIT_NAMES += ["down_proj"]
LLAMA = "meta-llama/Llama-3.1-8B-Instruct"
RESTORE = "restore it with `git checkout -- data/checkpoints`"


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A folder with a whole checkpoint. Not to be changed: copy it."""
    folder = tmp_path_factory.mktemp("saved")
    build_model().save_pretrained(folder)
    build_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture
def copy(saved, tmp_path):
    """A copy of that folder, to be damaged."""
    return shutil.copytree(saved, tmp_path / "model")


def profile_of(folder):
    """The tiny profile with that model, on the CPU wherever the test runs."""
    profile = load_profile("tiny", model=str(folder))
    training = profile.training_config | {"use_cpu": True}
    return dataclasses.replace(profile, training_config=training)


def with_lora(model, targets="all-linear", r=4):
    """The model with LoRA whose B is not zero, as after some training."""
    torch.manual_seed(1)
    config = LoraConfig(
        r=r,
        lora_alpha=8,
        target_modules=targets,
        task_type="CAUSAL_LM",
        init_lora_weights=False,
    )
    return get_peft_model(model, config)


def refused(action, *arguments):
    """The one line that an action is refused with."""
    with pytest.raises(ModelError) as error:
        action(*arguments)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_model_and_tokenizer_load_as_they_were_saved(saved):
    profile = profile_of(saved)
    model, tokenizer = models.load_model(profile), models.load_tokenizer(profile)
    assert (model.dtype, model.training, model.device.type) == (
        torch.float32,
        False,
        "cpu",
    )
    assert model.config._attn_implementation == "sdpa"
    assert model.config.use_cache
    for name, tensor in build_model().state_dict().items():
        assert torch.equal(model.state_dict()[name], tensor)
    assert (tokenizer.padding_side, tokenizer.pad_token) == ("right", "<|pad|>")
    example = chat("hello", "there")["messages"]
    rendered = tokenizer.apply_chat_template(example, tokenize=False)
    assert rendered == "<|begin|><|user|>hello<|end|><|assistant|>there<|end|>"


def test_a_template_that_may_think_does_not_unless_told_to(copy):
    """Qwen 3's, as TRL ships it: prompts ask for thoughts, answers come without."""
    asking, told = chat("hello", "there")["messages"], {"enable_thinking": True}
    original = (resources.files("trl") / "chat_templates/qwen3.jinja").read_text()
    tokenizer = build_tokenizer()
    ends = {"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]}
    tokenizer.add_special_tokens(ends)
    tokenizer.chat_template = original
    tokenizer.save_pretrained(copy)

    def render(tokenizer, messages, **options):
        return tokenizer.apply_chat_template(messages, tokenize=False, **options)

    start = {"add_generation_prompt": True}
    thinking = render(tokenizer, asking[:1], **start)
    assert "think" not in thinking and "</think>" in render(tokenizer, asking)
    for _ in range(2):  # a tokenizer that was saved again is not changed twice
        loaded = models.load_tokenizer(profile_of(copy))
        loaded.save_pretrained(copy)
        prompt, whole = render(loaded, asking[:1], **start), render(loaded, asking)
        assert prompt.endswith("<think>\n\n</think>\n\n")
        assert whole == f"{prompt}there<|im_end|>\n" == render(tokenizer, asking)
        assert render(loaded, asking[:1], **start, **told) == thinking
        assert loaded.chat_template == NO_THINKING + original


def cut(file, share=0.5):
    """Leaves the first part of a file only."""
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * share)])


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json"])
def test_a_truncated_file_is_named(copy, name):
    cut(copy / name)
    message = refused(models.load_model, profile_of(copy))
    assert f"{name} is truncated or damaged" in message
    assert message.endswith("a saved model, or download it again")


def test_an_adapter_is_no_model(copy):
    """transformers would load its base with it, and training throw it away."""
    with_lora(build_model()).save_pretrained(copy)
    for load in (models.load_model, models.load_tokenizer):
        message = refused(load, profile_of(copy))
        assert "is an adapter, and a model is needed: give its base" in message


def test_a_header_alone_is_not_a_whole_file(copy):
    weights = copy / "model.safetensors"
    cut(weights, share=(weights.stat().st_size - 4) / weights.stat().st_size)
    assert "truncated" in refused(check_checkpoint, copy)


def test_missing_folder_and_missing_weights(copy):
    (copy / "model.safetensors").unlink()
    assert "no safetensors file in" in refused(models.load_model, profile_of(copy))
    nowhere = profile_of(copy.parent / "nowhere")
    assert "no model folder at" in refused(models.load_tokenizer, nowhere)


def test_the_remedy_for_the_shipped_checkpoints_is_git():
    message = refused(check_checkpoint, ROOT / "data" / "checkpoints" / "none")
    assert message == f"no model folder at data/checkpoints/none: {RESTORE}"


def test_a_missing_weight_is_an_error_not_a_random_weight(copy):
    weights = load_file(copy / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    message = refused(models.load_model, profile_of(copy))
    assert "lacks the weight 'model.layers.1.mlp.up_proj.weight'" in message


def test_every_part_of_the_weights_must_be_there(copy):
    build_model().save_pretrained(copy, max_shard_size="100KB")
    (copy / "model.safetensors").unlink()
    parts = sorted(copy.glob("model-*.safetensors"))
    assert len(parts) > 3
    model = models.load_model(profile_of(copy))
    assert models.fingerprint(model) == models.fingerprint(build_model())
    parts[1].unlink()
    message = refused(models.load_model, profile_of(copy))
    assert f"{parts[1].name} is missing, with it 1 of {len(parts)} parts" in message
    cut(parts[0])
    assert f"{parts[0].name} is truncated" in refused(check_checkpoint, copy)


def test_sums_must_agree_where_they_are_given(copy):
    run = subprocess.run(
        "sha256sum *.json *.safetensors > SHA256SUMS", shell=True, cwd=copy
    )
    if run.returncode:
        pytest.skip("no sha256sum on this machine")
    check_checkpoint(copy)
    weights = copy / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    message = refused(models.load_model, profile_of(copy))
    assert "model.safetensors is not the file that SHA256SUMS lists" in message
    (copy / "generation_config.json").unlink()
    assert "generation_config.json is missing" in refused(check_checkpoint, copy)


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (
            "You are trying to access a gated repo.\nMake sure to have access",
            "is gated and no token of yours has access: accept its licence on "
            f"https://huggingface.co/{LLAMA} and give a token, with `hf auth login` or "
            "in HF_TOKEN, or use the model 'Qwen/Qwen3-8B', which needs neither",
        ),
        (
            "We couldn't connect to 'https://huggingface.co' to load the files",
            "is not on this machine and the Hub cannot be reached: go online",
        ),
        ("Something\nelse", "cannot be loaded (Something else)"),
    ],
)
def test_what_the_hub_refuses_is_said_in_one_line(monkeypatch, error, says):
    asked = []

    def refuse(*_, **options):
        asked.append(options)
        raise OSError(error)

    monkeypatch.setattr(transformers.AutoModelForCausalLM, "from_pretrained", refuse)
    profile = load_profile("gpu-24gb", LLAMA)
    message = refused(models.load_model, profile, True)
    assert message.startswith(LLAMA) and says in message
    assert [options["use_safetensors"] for options in asked] == [True]


def test_offline_and_not_cached_for_real(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    message = refused(models.load_model, profile_of("no-one/no-such-model"))
    assert message == (
        "no-one/no-such-model is not on this machine and the Hub cannot be reached: "
        "go online once, or use the profile 'tiny'"
    )


def test_trainable_table_counts_by_type():
    model = with_lora(build_model(), ["q_proj", "down_proj"], r=4)
    table = models.trainable_table(model)
    # r * (d_in + d_out) a layer, in two layers
    assert table["trainable"].to_dict() == {
        "q_proj": 2 * 4 * (64 + 64),
        "down_proj": 2 * 4 * (128 + 64),
        "total": 2560,
    }
    assert table["layers"].to_dict() == {"q_proj": 2, "down_proj": 2, "total": 4}
    trainable, everything = model.get_nb_trainable_parameters()
    assert table.loc["total", "share"] == trainable / everything
    assert table.index.name == "module"


def test_trainable_table_of_full_finetuning_and_of_saved_modules():
    model = build_model()
    table = models.trainable_table(model)
    assert table.loc["total", "trainable"] == model.num_parameters()
    assert table.loc["total", "share"] == 1
    config = LoraConfig(target_modules=["q_proj"], modules_to_save=["lm_head"])
    table = models.trainable_table(get_peft_model(model, config))
    assert table.loc["lm_head", "trainable"] == 320 * 64


def test_a_list_of_split_names_misses_the_fused_layers_of_phi3():
    model = with_lora(build_phi3(), SPLIT_NAMES)
    assert models.adapted_modules(model) == {"down_proj": 2, "o_proj": 2}
    assert models.unadapted_modules(model) == {"gate_up_proj": 2, "qkv_proj": 2}
    whole = with_lora(build_phi3())
    assert models.adapted_modules(whole) == {
        "down_proj": 2,
        "gate_up_proj": 2,
        "o_proj": 2,
        "qkv_proj": 2,
    }
    assert models.unadapted_modules(whole) == {}
    assert models.unadapted_modules(build_phi3()) == models.adapted_modules(whole)


def train_one_step(model):
    """One step of plain gradient descent on what is trainable."""
    tokens = torch.arange(4, 24).reshape(2, 10)
    model.train()
    model(input_ids=tokens, labels=tokens).loss.backward()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.grad is not None:
                parameter -= 0.1 * parameter.grad


def test_fingerprint_survives_adapters_and_their_training(tmp_path):
    bare = models.fingerprint(build_model())
    model = with_lora(build_model())
    before = {n: p.clone() for n, p in model.named_parameters() if p.requires_grad}
    assert models.fingerprint(model) == bare
    train_one_step(model)
    assert all(
        not torch.equal(p, dict(model.named_parameters())[n]) for n, p in before.items()
    )
    assert models.fingerprint(model) == bare
    model.save_pretrained(tmp_path)
    reloaded = PeftModel.from_pretrained(build_model(), tmp_path)
    assert models.fingerprint(reloaded) == bare
    config = LoraConfig(target_modules=["q_proj"], modules_to_save=["lm_head"])
    saved_head = get_peft_model(build_model(), config)
    train_one_step(saved_head)
    assert models.fingerprint(saved_head) == bare


def test_fingerprint_changes_with_any_base_weight():
    model = build_model()
    bare = models.fingerprint(model)
    assert len(bare) == 64
    with torch.no_grad():
        weight = model.model.layers[1].mlp.up_proj.weight
        weight[3, 5] = torch.nextafter(weight[3, 5], torch.tensor(9.0))
    assert models.fingerprint(model) != bare
    merged = with_lora(build_model()).merge_and_unload()
    assert models.fingerprint(merged) != bare
    assert models.fingerprint(build_model().to(torch.bfloat16)) != bare
    assert models.fingerprint(build_model(seed=1)) != bare


def lora_gradient(model):
    """The gradient of every LoRA weight, in train mode, as one vector."""
    tokens = torch.arange(4, 52).reshape(4, 12)
    model.train().zero_grad()
    model(input_ids=tokens, labels=tokens).loss.backward()
    gradients = [p.grad.flatten() for p in model.parameters() if p.grad is not None]
    return torch.cat(gradients).float()


def cosine_after_an_evaluation(base):
    """How well the gradient after a forward without gradients agrees with before."""
    model = with_lora(base)
    before = lora_gradient(model)
    model.eval()
    with torch.no_grad():
        model(input_ids=torch.arange(4, 52).reshape(4, 12))
    return torch.cosine_similarity(before, lora_gradient(model), dim=0).item()


def test_4bit_gradients_on_a_cpu_survive_an_evaluation(saved):
    model = models.load_model(profile_of(saved), quantized=True)
    assert model.model.layers[0].self_attn.q_proj.weight.dtype == torch.uint8
    assert cosine_after_an_evaluation(model) > 0.999


@pytest.mark.filterwarnings("ignore:.*an autograd kernel was not registered")
def test_4bit_gradients_on_a_cpu_break_without_the_cure(saved, monkeypatch):
    from bitsandbytes.nn.modules import has_avx512bf16

    if not has_avx512bf16():
        pytest.skip("bitsandbytes repacks weights only where the CPU has AVX512-BF16")
    monkeypatch.setattr(loading, "keep_4bit_layout", lambda model: None)
    model = models.load_model(profile_of(saved), quantized=True)
    assert cosine_after_an_evaluation(model) < 0.9


def products_of_the_head(model, tokens) -> dict[str, int]:
    """How often a generation multiplies by the head's weight, by torch's function."""
    vocabulary = model.config.vocab_size
    with torch.profiler.profile(record_shapes=True) as profile:
        model.generate(tokens, max_new_tokens=2, do_sample=False, pad_token_id=0)
    found = {}
    for event in profile.events():
        if event.name in ("aten::mm", "aten::bmm"):
            if event.input_shapes[1][-1] == vocabulary:
                found[event.name] = found.get(event.name, 0) + 1
    return found


def test_an_adapted_model_in_16_bit_copies_no_head_for_every_row(saved, monkeypatch):
    profile = dataclasses.replace(profile_of(saved), dtype="bfloat16")
    tokens = torch.arange(4, 52).reshape(4, 12)
    model = with_lora(models.load_model(profile))
    assert products_of_the_head(model, tokens) == {"aten::mm": 2}
    monkeypatch.setattr(loading, "score_in_one_product", lambda model: None)
    model = with_lora(models.load_model(profile))
    assert products_of_the_head(model, tokens)["aten::bmm"] == 1


def test_4bit_table_and_fingerprint_count_the_unpacked_weights(saved):
    model = models.load_model(profile_of(saved), quantized=True)
    bare = models.fingerprint(model)
    model = with_lora(model, ["q_proj"])
    assert models.fingerprint(model) == bare
    plain = with_lora(build_model(), ["q_proj"])
    trainable = models.trainable_table(model)["trainable"]
    assert trainable["q_proj"] == models.trainable_table(plain)["trainable"]["q_proj"]


@pytest.mark.slow
def test_bitsandbytes_is_imported_for_4bit_only(saved):
    code = (
        "import gc, sys; gc.disable()\n"  # a second of the imports
        "from helpers.models import *; from helpers.config import *\n"
        f"profile = load_profile('tiny', model={str(saved)!r})\n"
        "load_tokenizer(profile), load_model(profile)\n"
        "assert 'bitsandbytes' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_config_and_formatting_import_nothing_heavy():
    code = (
        "import sys, helpers.config, helpers.formatting\n"
        "heavy = {'torch', 'transformers', 'datasets', 'pandas'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


@pytest.mark.parametrize("name", ["bitsandbytes", "torch.utils.cpp_extension"])
def test_quiet_silences(monkeypatch, name):
    monkeypatch.setenv("HF_DATASETS_DISABLE_PROGRESS_BARS", "0")
    models.quiet()
    assert logging.getLogger(name).level == logging.ERROR


@pytest.mark.parametrize("name", ["tiny-phi3", "tiny-llama"])
def test_the_shipped_checkpoints_load(name):
    folder = ROOT / "data" / "checkpoints" / name
    if not folder.is_dir():
        pytest.skip(f"{name} is not there yet")
    profile = profile_of(folder)
    model, tokenizer = models.load_model(profile), models.load_tokenizer(profile)
    assert len(tokenizer) <= model.config.vocab_size
    kinds = models.adapted_modules(with_lora(model))
    assert ("qkv_proj" in kinds) == (name == "tiny-phi3")
    assert ("q_proj" in kinds) == (name == "tiny-llama")


def test_pickles_and_a_missing_tokenizer_are_said(copy):
    (copy / "tokenizer.json").unlink()
    message = refused(models.load_tokenizer, profile_of(copy))
    assert "holds no tokenizer: save that of its base beside it" in message
    (copy / "model.safetensors").rename(copy / "pytorch_model.bin")
    message = refused(check_checkpoint, copy)
    assert "holds its weights as pickles, which may run code" in message
    assert message.endswith("then save_pretrained writes safetensors")
