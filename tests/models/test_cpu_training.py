"""Training on a CPU: the shortcuts change the time and not the result."""

import inspect
from types import SimpleNamespace

import pytest
import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import AutoConfig, AutoModelForCausalLM
from trl import SFTConfig, SFTTrainer
from trl.kernels import chunked_logprob
from trl.trainer import utils

from helpers.models import cpu_training, train_fast_on_cpu
from helpers.models.cpu_training import score_as_on_triton, score_trained_positions
from tests.models.tiny_model import build_model, build_tokenizer, chat

TURNS = [
    ("the tablet of order G4521 is broken, please send it back", '{"queue": "QWZ"}'),
    ("please send it back today, please", '{"order": null}'),
]
ROWS = [
    {"prompt": turns[:1], "completion": turns[1:]}
    for turns in (chat(*pair)["messages"] for pair in TURNS)
]


def make_trainer(folder, bf16=False, model=None, **options):
    """An SFTTrainer with LoRA on a random Llama whose query heads share key heads."""
    settings = {"use_cpu": True, "bf16": bf16, "report_to": "none", "max_steps": 2}
    settings |= {"activation_checkpointing": False, "save_strategy": "no"}
    settings |= {"per_device_train_batch_size": 2, "logging_steps": 1}
    return SFTTrainer(
        model=model or build_model(num_key_value_heads=2),
        args=SFTConfig(str(folder), disable_tqdm=True, **settings | options),
        train_dataset=Dataset.from_list(ROWS),
        processing_class=build_tokenizer(),
        peft_config=LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM"),
    )


def loss_and_gradient(trainer):
    """The loss of the first batch, the gradient by weight, TRL's own metrics."""
    batch = next(iter(trainer.get_train_dataloader()))
    torch.manual_seed(0)
    for name, weight in trainer.model.named_parameters():
        if "lora_B" in name:  # zero at the start: A would have no gradient
            torch.nn.init.normal_(weight, std=0.1)
    trainer.model.train()
    loss = trainer.compute_loss(trainer.model, batch)
    loss.backward()
    gradient = {
        name: weight.grad
        for name, weight in trainer.model.named_parameters()
        if weight.grad is not None
    }
    metrics = {name: values[0] for name, values in trainer._metrics["train"].items()}
    return loss.detach(), gradient, metrics


def test_loss_gradient_and_metrics_are_those_of_trl(tmp_path):
    loss, gradient, metrics = loss_and_gradient(make_trainer(tmp_path))
    trainer = make_trainer(tmp_path)
    score_trained_positions(trainer.model.get_base_model())
    ours, ours_gradient, ours_metrics = loss_and_gradient(trainer)

    torch.testing.assert_close(ours, loss)
    assert len(gradient) == 2 * 2 * 7  # A and B of seven layers in two blocks
    torch.testing.assert_close(ours_gradient, gradient)
    assert ours_metrics == pytest.approx(metrics, rel=1e-5)


def test_only_trained_positions_reach_the_head(tmp_path):
    trainer = make_trainer(tmp_path)
    model = trainer.model.get_base_model()
    score_trained_positions(model)
    seen = []
    model.lm_head.register_forward_hook(lambda _, args, __: seen.append(args[0].shape))
    batch = next(iter(trainer.get_train_dataloader()))
    trainer.compute_loss(trainer.model, batch)

    trained = (batch["labels"][:, 1:] != -100).sum().item()
    assert seen == [(trained, 64)]
    assert trained < batch["labels"].numel() / 2


@pytest.mark.parametrize("way", [score_trained_positions, score_as_on_triton])
def test_without_the_switch_the_model_answers_as_before(tmp_path, way):
    trainer = make_trainer(tmp_path)
    model, ids = trainer.model.get_base_model(), torch.tensor([[5, 6, 7, 8]])
    before, takes = model(input_ids=ids, labels=ids), inspect.signature(model.forward)
    way(model)
    # `generate` leaves out logits and makes positions where these are taken.
    assert {"logits_to_keep", "position_ids"} <= takes.parameters.keys()
    assert inspect.signature(model.forward) == takes
    after = model(input_ids=ids, labels=ids)
    assert torch.equal(before.logits, after.logits)
    assert torch.equal(before.loss, after.loss)


OF_THEIR_OWN = {  # what a family's attention has beside the usual
    "gemma2": {"attn_logit_softcapping": 0.5, "query_pre_attn_scalar": 16},
    "gpt_oss": {"num_local_experts": 2, "num_experts_per_tok": 1},
    "deepseek_v3": {"qk_nope_head_dim": 16, "qk_rope_head_dim": 8, "v_head_dim": 12}
    | {"q_lora_rank": 16, "kv_lora_rank": 16, "first_k_dense_replace": 2},
}


@pytest.mark.parametrize("family", OF_THEIR_OWN)
def test_grouped_attention_leaves_out_nothing_that_a_family_has(family):
    sizes = {"hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 2}
    sizes |= {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16}
    sizes |= {"vocab_size": 320, "initializer_range": 0.2} | OF_THEIR_OWN[family]
    if family == "deepseek_v3":  # each head has a key of its own
        sizes |= {"num_key_value_heads": 4, "head_dim": 8}
    config = AutoConfig.for_model(family, **sizes)
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()
    for name, weight in model.named_parameters():
        if name.endswith("sinks"):
            torch.nn.init.normal_(weight)
    tokens, mask = torch.arange(4, 28).reshape(2, 12), torch.ones(2, 12).long()
    mask[0, :5] = 0
    logits = []
    for attention in ("eager", "grouped"):
        model.set_attn_implementation(attention)
        with torch.no_grad():
            logits.append(model(tokens, attention_mask=mask).logits[:, 5:])
    torch.testing.assert_close(*logits, atol=1e-4, rtol=1e-4)


def test_grouped_attention_equals_sdpa_with_padding_and_with_a_cache():
    ids = torch.tensor([[0, 0, 5, 6, 7], [9, 8, 7, 6, 5]])
    mask = torch.tensor([[0, 0, 1, 1, 1], [1, 1, 1, 1, 1]])
    results = {}
    for attention in ("sdpa", "grouped", "eager"):
        model = build_model(num_key_value_heads=2, attn_implementation=attention)
        logits = model(input_ids=ids, attention_mask=mask).logits[mask == 1]
        options = {"max_new_tokens": 8, "do_sample": False, "pad_token_id": 0}
        answers = model.generate(ids, attention_mask=mask, **options)
        results[attention] = logits, answers
        assert model.config._attn_implementation == attention

    torch.testing.assert_close(results["grouped"][0], results["sdpa"][0])
    assert torch.equal(results["grouped"][1], results["sdpa"][1])
    unmasked = build_model(num_key_value_heads=2, attn_implementation="grouped")
    other = unmasked(input_ids=ids).logits[mask == 1]
    assert (other - results["sdpa"][0]).abs().max() > 1e-2


def test_two_updates_in_bfloat16_follow_those_of_trl(tmp_path):
    logs = {}
    for fast in (False, True):
        model = build_model(num_key_value_heads=2).bfloat16()
        trainer = make_trainer(tmp_path, bf16=True, model=model, learning_rate=1e-2)
        if fast:
            train_fast_on_cpu(trainer)
        trainer.train()
        logs[fast] = [log["loss"] for log in trainer.state.log_history if "loss" in log]
    assert logs[True] == pytest.approx(logs[False], rel=5e-3)
    assert logs[True][1] < 0.95 * logs[True][0]


@pytest.fixture
def scored(monkeypatch):
    """The number of positions of each batch that TRL's own head scores from now on."""
    counts, apply = [], utils._ChunkedLogProbFunction.apply

    def count(hidden, *others):
        counts.append(len(hidden))
        return apply(hidden, *others)

    head = SimpleNamespace(apply=count)
    monkeypatch.setattr(utils, "_ChunkedLogProbFunction", head)
    monkeypatch.setattr(utils, "_use_triton", chunked_logprob._use_triton)
    return counts


@pytest.mark.parametrize("changes", [{}, {"logit_scale": 0.5}])
def test_in_float32_trained_positions_are_scored_and_the_result_stays(
    tmp_path, scored, changes
):
    found = []
    for fast in (False, True):
        model = build_model(num_key_value_heads=2, **changes)
        trainer = make_trainer(tmp_path, model=model)
        if fast:
            train_fast_on_cpu(trainer)
        found.append(loss_and_gradient(trainer))
    labels = next(iter(trainer.get_train_dataloader()))["labels"][:, 1:]
    assert scored == [labels.numel(), (labels != -100).sum()]
    (loss, gradient, metrics), (ours, our_gradient, our_metrics) = found
    # To the bit with MKL; other libraries may sum fewer rows in another order.
    close = {"rtol": 1e-5, "atol": 1e-8}
    torch.testing.assert_close((ours, our_gradient), (loss, gradient), **close)
    assert our_metrics == pytest.approx(metrics, rel=1e-5)
    # Else `generate` has the logits of whole prompts computed.
    known = inspect.signature(trainer.model.get_base_model().forward).parameters
    assert "logits_to_keep" in known
    loss_and_gradient(make_trainer(tmp_path))  # another trainer of this process
    assert scored[-1] == labels.numel()


def test_on_a_gpu_nothing_is_changed(tmp_path, scored):
    trainer = make_trainer(tmp_path)
    trainer.args.use_cpu = False
    train_fast_on_cpu(trainer)
    loss_and_gradient(trainer)
    labels = next(iter(trainer.get_train_dataloader()))["labels"][:, 1:]
    assert scored == [labels.numel()]


def test_a_head_that_scales_its_logits_stays_trls_in_bfloat16(tmp_path, monkeypatch):
    kept = []
    monkeypatch.setattr(cpu_training, "score_as_on_triton", kept.append)
    for changes in ({"logit_scale": 0.5}, {}):
        model = build_model(num_key_value_heads=2, **changes)
        train_fast_on_cpu(make_trainer(tmp_path, model=model, bf16=True))
    assert [model.config.logit_scale for model in kept] == [0.5]
