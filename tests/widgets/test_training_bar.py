"""The bar of a training without the table; transformers' own has it."""

import pytest
from transformers import TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_callback import CallbackHandler
from transformers.utils.notebook import NotebookProgressCallback

from helpers.widgets import without_table
from helpers.widgets.training_bar import TrainingBar


def trained(callback, folder) -> str:
    """What the callback shows of two updates with a log and an evaluation."""
    args = TrainingArguments(str(folder), eval_strategy="steps", eval_steps=1)
    state, control = TrainerState(), TrainerControl()
    state.max_steps, state.num_train_epochs, state.epoch = 2, 1, 0.5
    callback.on_train_begin(args, state, control)
    bar = callback.training_tracker
    for state.global_step in (1, 2):
        callback.on_step_end(args, state, control)
        callback.on_log(args, state, control, logs={"loss": 1.0})
        callback.on_prediction_step(args, state, control, eval_dataloader=[0, 1])
        callback.on_evaluate(args, state, control, metrics={"eval_loss": 0.5})
    callback.on_train_end(args, state, control)
    return bar.html_code


@pytest.mark.parametrize(
    ("kind", "tables"), [(TrainingBar, 0), (NotebookProgressCallback, 1)]
)
def test_only_transformers_own_bar_has_the_table(tmp_path, displayed, kind, tables):
    shown = trained(kind(), tmp_path)
    assert "<progress" in shown and "2/2" in shown
    assert shown.count("<table") == tables


@pytest.mark.parametrize("kind", [TrainingBar, NotebookProgressCallback])
def test_an_evaluation_by_itself_shows_no_table(tmp_path, displayed, kind):
    args, state = TrainingArguments(str(tmp_path)), TrainerState()
    callback = kind()
    callback.on_prediction_step(args, state, None, eval_dataloader=[0, 1])
    callback.on_evaluate(args, state, None, metrics={"eval_loss": 0.5})
    tables = [one for one, _ in displayed if "<table" in getattr(one, "data", "")]
    assert bool(tables) == (kind is NotebookProgressCallback)


@pytest.mark.parametrize("notebook", [True, False])
def test_a_trainer_outside_a_notebook_is_left_alone(notebook):
    callbacks = [NotebookProgressCallback] if notebook else []
    trainer = CallbackHandler(callbacks, None, None, None, None)
    without_table(trainer)
    assert [type(c) for c in trainer.callbacks] == [TrainingBar] * notebook
