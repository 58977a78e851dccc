"""The callbacks of every run: its training rows, its progress on the terminal, its checkpoints and its end."""

import time
from collections.abc import Sequence
from typing import Any

import pytorch_lightning as pl
import torch

from src.cli.errors import Interrupted
from src.cli.progress import Clock, measured
from src.cli.signals import Stop
from src.cohort.split import Split
from src.training.learner import Learner, Stage
from src.training.module import DrgModule
from src.training.ranks import Ranks
from src.training.scoring import check_device


class LogTraining(pl.Callback):
    """Logs a run's row of training when it is due.

    `self.log` in every step would ask the device for a value each time, and log the last one again until the next.
    """

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, *_: Any) -> None:
        """Logs to the runs' loggers; what a lone run logs can be monitored."""
        for learner in pl_module.learners:
            if learner.due_row:
                learner.recorder.log_metrics(learner.due_row, learner.progress.step)
                if len(pl_module.learners) == 1:
                    values = {name: torch.tensor(value) for name, value in learner.due_row.items()}
                    trainer.callback_metrics.update(values)
                learner.due_row = {}


class ShowProgress(pl.Callback):
    """Shows steps done, time left, loss and validations; of several processes the first does."""

    def on_fit_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Begins with the steps that are left."""
        learners: Sequence[Learner] = pl_module.learners
        cfg = learners[0].data.cfg
        name = f"{cfg.model.name} {cfg.labels}" if len(learners) == 1 else f"{cfg.model.name}, {len(learners)} runs"
        left = max(len(learner.steps) - learner.progress.step for learner in learners)
        self.clock = Clock(total=left, what=name, unit="step", quiet=not learners[0].ranks.first)

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, *_: Any) -> None:
        """Counts a step."""
        self.clock.step(lambda: f"loss {pl_module.learners[0].last_loss:.3f}")

    def on_validation_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Says what was measured."""
        for learner in pl_module.due:
            measured(learner.accuracy, len(learner.notes[Split.VALIDATION]))
            if not self.clock.quiet:
                epoch = learner.steps.epoch(learner.progress.step)
                part = f", step {learner.progress.step}" if learner.steps.validations > 1 else ""
                accuracy = f"validation accuracy {learner.accuracy:.3f}"
                print(f"{learner.run_dir.name}: epoch {epoch}{part}, {accuracy}", flush=True)
                progress, patience = learner.progress, learner.data.cfg.patience
                if progress.since_best == patience:
                    ends = f"training ends at step {progress.step} of {len(learner.steps)}"
                    print(f"{learner.run_dir.name}: {patience} validations without a better one; {ends}", flush=True)


class RunCheckpoints(pl.callbacks.Checkpoint):
    """Writes the runs' own checkpoints, and ends training on a signal or when another callback stops the Trainer.

    As a `Checkpoint` it comes after all other callbacks, whose states it saves. Lightning's own are pickled, hold the
    base, and do not know whether a validation is owed.
    """

    def __init__(self, learners: Sequence[Learner], stop: Stop) -> None:
        self.learners, self.stop = learners, stop
        self.seconds_between = 60 * learners[0].data.cfg.checkpoint_minutes
        self.saved = time.monotonic()

    def on_fit_start(self, trainer: pl.Trainer, pl_module: DrgModule) -> None:  # type: ignore[override]
        """Ends a run that was asked to stop while it was loaded.

        Raises:
            Interrupted: it was.
        """
        if self._stop_requested():
            raise Interrupted(self.stop.received or 0)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Listens to signals again, for which Lightning has set handlers of its own."""
        self.stop.listen()

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        """Saves where it is time to, and where the run ends here.

        Raises:
            Interrupted: a signal came. Stopping the Trainer instead would have it validate first.
        """
        stopping = self._stop_requested()
        if trainer.should_stop and not stopping:
            for learner in self.learners:
                learner.stop_early()
        due = any(learner.stage is Stage.VALIDATE for learner in self.learners)  # saves as it begins
        if stopping or (not due and self.seconds_between <= time.monotonic() - self.saved):
            self._save(self.learners)
        if stopping:
            raise Interrupted(self.stop.received or 0)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Saves first: a validation may take longer than a grace period."""
        for learner in pl_module.due:
            check_device(learner.classifier, learner.data.device)
        self._save(pl_module.due)

    def on_validation_batch_start(self, *_: Any) -> None:
        """Ends a validation that a signal interrupts; it is owed then.

        Raises:
            Interrupted: a signal came.
        """
        self.stop.check()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Saves what was validated, with what the other callbacks made of it."""
        if trainer.should_stop:
            for learner in self.learners:
                learner.stop_early()
        self._save(pl_module.due)

    def _stop_requested(self) -> bool:
        """Says whether any process was asked to stop: all of them save at the same step then."""
        ranks: Ranks = self.learners[0].ranks
        if ranks.count == 1:
            return self.stop.received is not None
        signals = [number for number in ranks.gathered(self.stop.received) if number is not None]
        self.stop.received = signals[0] if signals else None
        return bool(signals)

    def _save(self, learners: Sequence[Learner]) -> None:
        for learner in learners:
            learner.save()
        self.saved = time.monotonic()
