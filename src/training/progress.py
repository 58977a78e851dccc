"""Progress of training where no terminal shows a bar."""

from typing import Any

import pytorch_lightning as pl

from src.shell.progress import Clock, measured


class Lines(pl.Callback):
    """Prints one line now and then: steps done, time gone, time left, loss; and each validation."""

    def __init__(self, name: str, steps: int) -> None:
        self.name, self.steps = name, steps
        self.clock: Clock | None = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.clock = Clock(total=self.steps - trainer.global_step, what=self.name, unit="step")

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self.clock:
            self.clock.step(f"loss {float(trainer.callback_metrics['train/loss']):.3f}")

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        accuracy = float(trainer.callback_metrics["val/accuracy"])
        print(f"{self.name}: epoch {trainer.current_epoch + 1}, validation accuracy {accuracy:.3f}", flush=True)
        loaders: Any = trainer.val_dataloaders
        measured(accuracy, len(loaders.dataset))


def quiet_libraries() -> None:
    """Leaves the terminal to our own lines: no tips, no loading bars, no warnings about how a loop is built."""
    import logging
    import warnings

    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    for message in (
        ".*is_gradient_checkpointing.*",
        ".*isinstance.treespec.*",
        ".*in eval mode at the start.*",
        ".*Could not find a config file.*",
        ".*`srun` command is available.*",
    ):
        warnings.filterwarnings("ignore", message=message)
