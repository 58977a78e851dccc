"""Is the Lightning module: it takes a step of every run that is trained over one base, and validates them."""

from collections.abc import Iterator, Sequence
from typing import Any, Self

import pytorch_lightning as pl
import torch
from torch import nn

from src.estimates.memory import Setting
from src.models.classifier import read_together
from src.training.batches import Batch
from src.training.learner import Learner, MicroBatch, Stage
from src.training.memory import probe_longest_step
from src.training.validation_metrics import MeanLoss, validation_metrics


class DrgModule(pl.LightningModule):
    """Trains the adapters and heads of some runs, whose notes share one pass over the frozen base.

    Optimisation is manual: each run has an optimiser of its own, a step has micro-batches of as many notes as fit, and
    gradients are averaged over processes in one message.
    """

    def __init__(self, learners: Sequence[Learner], setting: Setting) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.allow_zero_length_dataloader_with_multiple_devices = True
        self.learners, self.setting = list(learners), setting
        self.due: list[Learner] = []
        """The runs that the next validation is of; the data module says which."""
        self.classifiers = nn.ModuleList(learner.classifier for learner in learners)
        self.metrics = nn.ModuleList(validation_metrics(len(learner.data.space.codes)) for learner in learners)
        self.losses = nn.ModuleList(MeanLoss() for _ in learners)

    def setup(self, stage: str) -> None:
        """Lets runs know the processes that share them, which have met by now."""
        for learner in self.learners:
            learner.ranks = type(learner.ranks).current()

    def configure_model(self) -> None:
        """Spreads the frozen base over the processes, where the strategy is to shard it."""
        if self.device_mesh is not None:
            shard_base(self.classifiers[0].backbone, self.device_mesh["data_parallel"])

    def configure_optimizers(self) -> Any:
        """Returns AdamW of each run; the rate decays in `Learner.update`, as a function of the step."""
        return [learner.optimiser for learner in self.learners]

    def on_fit_start(self) -> None:
        """Tries the longest step, so that running out of memory shows before training."""
        self.setting = probe_longest_step(self.learners, self.setting)

    def training_step(self, batch: Any, batch_idx: int) -> None:
        """Takes a step of every run that has steps left; what it learned is logged every few steps (`LogTraining`)."""
        training = [learner for learner in self.learners if learner.stage is Stage.TRAIN]
        steps: list[list[MicroBatch]] = batch if len(training) > 1 else [batch]
        for micro_batches in side_by_side(steps):
            logits = read_together([part.inputs for _, part in micro_batches], recompute=self.setting.recompute)
            losses = [
                training[index].loss(scores, part.notes, part.share)
                for scores, (index, part) in zip(logits, micro_batches, strict=True)
            ]
            # Not manual_backward: DDP would wait for gradients that are averaged below.
            torch.stack(losses).sum().backward()
        optimisers = dict(zip(map(id, self.learners), self._optimisers(), strict=True))
        for learner in training:
            learner.ranks.average_gradients(learner.leaves)
            learner.update(optimisers[id(learner)], self.setting.notes)

    def validation_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Counts what a run chose for some of its validation notes; a loader is of one run."""
        learner = self.due[dataloader_idx]
        logits = learner.classifier(batch.notes)
        if batch.idle:
            return
        index = self.learners.index(learner)
        self.metrics[index].update(learner.scheme.predict(logits), batch.drg.to(logits.device))
        self.losses[index].update(learner.data.validation_scheme.loss(logits, batch.drg), len(batch))

    def on_validation_epoch_end(self) -> None:
        """Logs each run's metrics at its step, and keeps its weights where they are its best."""
        for learner in self.due:
            index = self.learners.index(learner)
            measured = {f"val/{name}": float(value) for name, value in self.metrics[index].compute().items()}
            measured["val/loss"] = float(self.losses[index].compute())
            self.metrics[index].reset()
            self.losses[index].reset()
            learner.validated(measured["val/accuracy"], measured["val/loss"])
            if len(self.learners) > 1:
                # The Trainer has one table of metrics; runs with callbacks never come here.
                learner.recorder.log_metrics(measured, learner.progress.step)
                continue
            values = {**measured, "step": learner.progress.step}
            self.log_dict({name: torch.tensor(value, dtype=torch.float64) for name, value in values.items()})
        early = any(learner.progress.step < len(learner.steps) for learner in self.learners)
        if early and all(learner.trained for learner in self.learners):
            self.trainer.should_stop = True

    def cpu(self) -> Self:
        """Leaves everything on its device, from which Lightning takes a module when `fit` ends: scoring comes next."""
        return self

    def _optimisers(self) -> list[Any]:
        """Returns Lightning's optimisers, which count steps and call `on_before_optimizer_step`."""
        optimisers: Any = self.optimizers()
        return optimisers if isinstance(optimisers, list) else [optimisers]


def side_by_side(learners: Sequence[Sequence[Any]]) -> Iterator[list[tuple[int, Any]]]:
    """Yields the first micro-batch of each run, then the second, each with its run's index.

    >>> list(side_by_side([["a", "b"], ["c"]]))
    [[(0, 'a'), (1, 'c')], [(0, 'b')]]
    """
    for turn in range(max(map(len, learners), default=0)):
        yield [(index, parts[turn]) for index, parts in enumerate(learners) if turn < len(parts)]


def shard_base(backbone: Any, mesh: Any) -> None:
    """Leaves each process a part of every block's frozen weights; adapters stay whole everywhere."""
    from torch.distributed.fsdp import fully_shard

    trained = {weight for weight in backbone.parameters() if weight.requires_grad}
    for layer in backbone.get_base_model().layers:
        fully_shard(layer, mesh=mesh, ignored_params=trained)
    fully_shard(backbone, mesh=mesh, ignored_params=trained)
