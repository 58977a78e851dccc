"""Computes the loss of one softmax from its logits, its targets and the training notes of its classes: `loss=`.

Letters of shapes: B notes, C classes.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import cross_entropy

from src.config.choices import Loss
from src.models.devices import DeviceTable

SoftmaxLoss = Callable[[Tensor, Tensor], Tensor]
"""From logits [B, C] and targets [B], on one device, to the mean loss."""


def adjusted(logits: Tensor, target: Tensor, offset: DeviceTable) -> Tensor:
    """Computes the cross-entropy of logits to which each class's offset is added."""
    return cross_entropy(logits + offset.on(logits.device), target)


def weighted(logits: Tensor, target: Tensor, weight: DeviceTable) -> Tensor:
    """Computes the mean over notes of weight times cross-entropy.

    torch's own `weight` divides by the weights of the batch: a note alone in its micro-batch would have none.
    """
    return (weight.on(logits.device)[target] * cross_entropy(logits, target, reduction="none")).mean()


def focal(logits: Tensor, target: Tensor, gamma: float) -> Tensor:
    """Computes the mean over notes of (1 - p)^gamma times cross-entropy (Lin et al. 2017)."""
    losses = cross_entropy(logits, target, reduction="none")
    # Bounded, or a gamma below 1 would have an infinite slope, hence nan, where p rounds to 1.
    missing = (-torch.expm1(-losses)).clamp_min(torch.finfo(losses.dtype).eps)
    return (missing**gamma * losses).mean()


@dataclass(frozen=True, eq=False)
class TrainingLoss:
    """Is the loss that each softmax of a label scheme is trained with."""

    loss: Loss = Loss.CROSS_ENTROPY
    strength: float | None = None
    """tau, gamma or epsilon; None for the loss's own."""
    drg_notes: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    """[D]: training notes of each DRG; cross-entropy reads none."""

    def of(self, class_of: NDArray[np.int64], classes: int) -> SoftmaxLoss:
        """Builds the loss of the softmax over `classes` classes, in which `class_of` [D] is the class of each DRG.

        A class without a training note counts as having one, so that nothing is infinite; all others count exactly.
        """
        if self.loss is Loss.CROSS_ENTROPY:
            return cross_entropy
        strength = (self.loss.strength or 0.0) if self.strength is None else self.strength
        notes = np.bincount(class_of, self.drg_notes, classes)
        counts = notes.clip(1)
        match self.loss:
            case Loss.LOGIT_ADJUSTED:
                return partial(adjusted, offset=_table(strength * np.log(counts / notes.sum())))
            case Loss.BALANCED_SOFTMAX:
                return partial(adjusted, offset=_table(np.log(counts)))
            case Loss.CLASS_WEIGHTED:
                weights = counts**-strength
                return partial(weighted, weight=_table(weights * notes.sum() / (weights @ notes)))
            case Loss.FOCAL:
                return partial(focal, gamma=strength)
            case Loss.LABEL_SMOOTHING:
                return partial(cross_entropy, label_smoothing=strength)


def _table(values: NDArray[np.float64]) -> DeviceTable:
    return DeviceTable(torch.as_tensor(values, dtype=torch.float32))


PLAIN = TrainingLoss()
"""Cross-entropy, by which validation compares runs of different losses."""
