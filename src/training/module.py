"""The Lightning module: one optimiser step of every run that is trained over one base, and their validations."""

from collections.abc import Iterator, Sequence
from typing import Any, Self

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from src.cli.signals import Stop
from src.cohort.split import Split
from src.estimates.memory import Setting
from src.models.classifier import read_together
from src.training.learner import Learner, Stage
from src.training.scoring import score_share


class DrgModule(pl.LightningModule):
    """Trains the adapters and heads of some cells, whose notes share one pass over the frozen base.

    Lightning brings devices and processes; the optimiser step is our own, as each cell has its own, with micro-batches,
    and with gradients averaged over processes in one message.
    """

    def __init__(self, learners: Sequence[Learner], setting: Setting, stop: Stop) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.allow_zero_length_dataloader_with_multiple_devices = True  # a validation alone may be left
        self.learners, self.setting, self.stop = list(learners), setting, stop
        self.classifiers = nn.ModuleList(learner.classifier for learner in learners)

    def configure_optimizers(self) -> Any:
        return [learner.optimiser for learner in self.learners]

    def configure_model(self) -> None:
        """Spreads the frozen base over the processes, where the strategy is to shard it."""
        if self.device_mesh is not None:
            shard_base(self.classifiers[0].backbone, self.device_mesh["data_parallel"])

    def cpu(self) -> Self:
        """Leaves everything on its device, from which Lightning takes a module when `fit` ends: scoring comes next."""
        return self

    def training_step(self, places: Any, index: int) -> None:
        """One step of every cell that has steps left."""
        busy = [learner for learner in self.learners if learner.stage is Stage.TRAIN]
        for pieces in together([learner.micro_batches(self.setting.notes) for learner in busy]):
            logits = read_together([asked for _, (asked, _, _) in pieces], recompute=self.setting.recompute)
            losses = (busy[at].loss(each, *rest) for each, (at, (_, *rest)) in zip(logits, pieces, strict=True))
            torch.stack(list(losses)).sum().backward()
        for learner in busy:
            learner.ranks.average_gradients(learner.leaves)
            learner.update()

    def validate(self, learner: Learner) -> None:
        """Measures a cell on its validation notes."""
        notes, session = learner.notes[Split.VALIDATION], learner.session
        chosen: list[Tensor] = []
        truth: list[Tensor] = []
        loss = torch.zeros((), dtype=torch.float64, device=session.device)
        self.eval()
        for logits, batch in score_share(
            learner.classifier, notes, learner.ranks, session.cfg.batch_size, self.stop, device=session.device
        ):
            chosen.append(learner.scheme.predict(logits))
            truth.append(batch.drg)
            loss += learner.scheme.loss(logits, batch.drg).double() * len(batch)
        self.train()
        # One wait for the device, when all is computed.
        mine = [torch.cat(drgs).tolist() if drgs else [] for drgs in (chosen, truth)]
        every = learner.ranks.gathered((*mine, float(loss)))
        chosen_by_all, truth_of_all = (np.array([drg for part in every for drg in part[which]]) for which in (0, 1))
        learner.validated(chosen_by_all, truth_of_all, sum(part[2] for part in every) / len(notes))


def together(learners: Sequence[Sequence[Any]]) -> Iterator[list[tuple[int, Any]]]:
    """The first micro-batch of each cell, then the second, each with its cell's place.

    >>> list(together([["a", "b"], ["c"]]))
    [[(0, 'a'), (1, 'c')], [(0, 'b')]]
    """
    for turn in range(max(map(len, learners), default=0)):
        yield [(at, pieces[turn]) for at, pieces in enumerate(learners) if turn < len(pieces)]


def shard_base(backbone: Any, mesh: Any) -> None:
    """Leaves each process a part of every block's frozen weights; adapters stay whole everywhere."""
    from torch.distributed.fsdp import fully_shard

    trained = {weight for weight in backbone.parameters() if weight.requires_grad}
    for layer in backbone.get_base_model().layers:
        fully_shard(layer, mesh=mesh, ignored_params=trained)
    fully_shard(backbone, mesh=mesh, ignored_params=trained)
