"""Notices where a run stops being finite, at the true step, and words what its user can change."""

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from src.cli.errors import UserError
from src.config.choices import Precision
from src.config.train import TrainConfig
from src.models.devices import is_cpu
from src.training.throughput import STEPS_BETWEEN_LOGS


class NotFinite(UserError):
    """Says that losses, gradients or scores are no numbers; started again as it is, a run would come to the same."""


class Diverged(NotFinite):
    """Says that a run's training is no longer finite.

    Attributes:
        run_dir: the run's folder; None where it is not known.
    """

    def __init__(self, name: Path | str, reason: str, cfg: TrainConfig, precision: Precision) -> None:
        changes = [f"lr={cfg.lr / 10:g}", *([] if cfg.warmup else ["warmup=0.1"]), f"clip={cfg.clip / 10:g}"]
        numbers = "" if precision is Precision.FP32 else f", or in more exact numbers with {more_exact(precision)}"
        super().__init__(
            f"{name}: diverged, {reason}; nothing that is not finite was saved. Train it with {' or '.join(changes)}"
            f"{numbers}: started again as it is, it goes on from its last checkpoint and diverges again"
        )
        self.run_dir = name if isinstance(name, Path) else None


class DivergenceWatch:
    """Reads the loss and the gradient's norm of each step: of a CPU at once, of a GPU some steps at a time."""

    def __init__(
        self, name: Path | str, cfg: TrainConfig, precision: Precision, device: str, *, skips: bool = False
    ) -> None:
        self.name, self.cfg, self.precision, self.skips = name, cfg, precision, skips
        # A row of the curves reads them first, when it waits for the device itself.
        self._at_once = 1 if is_cpu(device) else STEPS_BETWEEN_LOGS + 1
        self._unread: list[tuple[int, float, Tensor]] = []
        self.skipped = 0
        """Steps whose gradient alone was not finite, where `skips` says that such a step is left out."""

    def add(self, step: int, rate: float, loss: Tensor, norm: Tensor) -> None:
        """Takes a step, counted from 1; reads it where it is time to.

        Raises:
            Diverged: one that was read is not finite.
        """
        self._unread.append((step, rate, torch.stack([loss, norm])))
        if len(self._unread) >= self._at_once:
            self.read()

    def read(self) -> None:
        """Reads the steps that were not read yet, by one wait for the device.

        Raises:
            Diverged: one of them is not finite.
        """
        if not self._unread:
            return
        unread, self._unread = self._unread, []
        values = torch.stack([both for *_, both in unread]).tolist()
        for (step, rate, _), (loss, norm) in zip(unread, values, strict=True):
            if not math.isfinite(loss) or not (math.isfinite(norm) or self.skips):
                # A finite loss of so few notes stays untold.
                shown = "" if math.isfinite(loss) else f"the loss is {loss} and "
                raise self.diverged(f"{shown}the gradient norm is {norm:.3g} at step {step}, lr={rate:.3g}")
            self.skipped += not math.isfinite(norm)

    def diverged(self, reason: str) -> Diverged:
        """Words the end of the run."""
        return Diverged(self.name, reason, self.cfg, self.precision)


def more_exact(precision: Precision) -> str:
    """Names the overrides with which numbers are more exact, or larger.

    >>> more_exact(Precision.BF16), more_exact(Precision.INT8)
    ('precision=fp32', 'precision=bf16 or fp32')
    """
    return "precision=fp32" if precision in (Precision.BF16, Precision.FP32) else "precision=bf16 or fp32"


def check_scores(heads: Mapping[str, NDArray[np.float32]], what: str, precision: Precision) -> None:
    """Holds the scores of a split's notes, [B, any] by head, to be finite.

    Raises:
        NotFinite: some are not; the message counts them and names the first by its row.
    """
    rows = np.zeros(len(next(iter(heads.values()))), dtype=bool)
    for scores in heads.values():
        rows |= ~np.isfinite(scores).all(axis=1)
    if rows.any():
        raise NotFinite(
            f"{what}: {int(rows.sum()):,} of {len(rows):,} notes have scores that are not finite in "
            f"precision={precision}, the first is note {int(rows.argmax())}, counted from 0 in its split; the weights "
            f"or the base overflow: train with a lower lr, or with {more_exact(precision)}"
        )
