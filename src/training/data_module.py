"""Gives Lightning its data: the steps that are left of an epoch, and the notes that are validated after it."""

from collections.abc import Callable, Iterator
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities import CombinedLoader
from torch.utils.data import DataLoader, Dataset, Sampler

from src.cohort.split import Split
from src.training.batches import Batch
from src.training.learner import Learner, Stage
from src.training.module import DrgModule


class StepSampler(Sampler[int]):
    """Yields the steps that a run still takes in an epoch.

    Its whole state is the run's step, which the run's checkpoints keep: what a step reads follows from its number.
    """

    def __init__(self, learner: Learner, done: int, left: int) -> None:
        self.learner, self.done, self.left = learner, done, left

    def __len__(self) -> int:
        return self.done + self.left  # Lightning counts the batches that an earlier start took

    def __iter__(self) -> Iterator[int]:
        step = self.learner.progress.step
        return iter(range(step, step + self.left))


class Reader(Dataset[Any]):
    """Reads what a sampler's key stands for: a step's micro-batches, or a batch of validation notes."""

    def __init__(self, read: Callable[[Any], Any]) -> None:
        self.read = read

    def __getitem__(self, key: Any) -> Any:
        return self.read(key)


class DrgDataModule(pl.LightningDataModule):
    """Gives the Trainer its epochs.

    A batch of training is a step: the list of its micro-batches (`MicroBatch`), so that what fits into memory changes
    no count of Lightning's. A run's epochs are the Trainer's; with several validations an epoch, its parts are. Of
    several runs over one base, each with epochs of its own, the Trainer's epoch ends with the next validation of any,
    and a batch is a list with such a list for each run.
    """

    def __init__(self, module: DrgModule) -> None:
        super().__init__()
        self.module = module

    def train_dataloader(self) -> Any:
        """Loads the steps up to the next validation, and notes which runs are validated then."""
        fit_loop = self.module.trainer.fit_loop
        unfinished = [learner for learner in self.module.learners if not learner.trained]
        left = min(learner.steps_to_validations()[0] for learner in unfinished)
        self.module.due = [learner for learner in unfinished if learner.steps_to_validations()[0] == left]
        done = fit_loop.epoch_loop.batch_progress.current.ready if fit_loop.restarting else 0
        training = [learner for learner in unfinished if learner.stage is Stage.TRAIN] or self.module.due
        loaders = [self._loader(self._step(learner), StepSampler(learner, done, left)) for learner in training]
        return loaders[0] if len(loaders) == 1 else CombinedLoader(loaders, "min_size")

    def val_dataloader(self) -> list[Any]:
        """Loads the validation notes of the runs that are due, a loader each, shared by processes."""
        loaders = []
        for learner in self.module.due:
            notes = learner.notes[Split.VALIDATION]
            turns = learner.ranks.turns(len(notes), learner.data.cfg.batch_size)
            loaders.append(self._loader(notes.validation_batch, turns))
        return loaders

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Leaves packed notes on the host: what reads them sends all that it needs in one copy."""
        return batch

    def _step(self, learner: Learner) -> Callable[[int], Any]:
        return lambda step: learner.micro_batches(step, self.module.setting.notes)

    @staticmethod
    def _loader(read: Callable[[Any], Any], sampler: Any) -> "DataLoader[Any]":
        """Makes a loader of ready-made batches, which torch must neither collate nor convert."""
        return DataLoader(Reader(read), sampler=sampler, batch_size=None, collate_fn=_as_it_is)


def _as_it_is(batch: Batch | list[Any]) -> Any:
    return batch
