"""The progress of a training, without a table where a figure says it better."""

from transformers.utils.notebook import NotebookProgressCallback


class TrainingBar(NotebookProgressCallback):
    """The bar that transformers shows in a notebook, without its table of losses."""

    def on_train_begin(self, args, state, control, **kwargs) -> None:
        super().on_train_begin(args, state, control, **kwargs)
        self.training_tracker.inner_table = None

    def on_log(self, args, state, control, **kwargs) -> None:
        """Adds no line."""

    def on_evaluate(self, args, state, control, **kwargs) -> None:
        if self.training_tracker is not None:
            self.training_tracker.remove_child()
            self._force_next_update = True
        self.on_predict(args, state, control)


def without_table(trainer) -> None:
    """Takes the table of losses from below a trainer's progress bar in a notebook."""
    if trainer.pop_callback(NotebookProgressCallback):
        trainer.add_callback(TrainingBar())
