"""Measures a validation by torchmetrics: counts of each class, summed over batches and processes."""

import torch
from torch import Tensor
from torchmetrics import Metric, MetricCollection

from src.metrics.definitions import f1_of

NAMES = ("accuracy", "macro_f1", "macro_f1_all", "micro_f1", "micro_f1_all")


class ClassCounts(Metric):
    """Computes one metric of chosen and true classes, equal to the bit to that of `metrics.definitions`.

    torchmetrics' own accuracy and F1 divide in float32, and its macro average counts classes that were chosen but that
    no note has; the epoch with the best accuracy must not hang on that.
    """

    full_state_update = False
    is_differentiable = False
    higher_is_better = True
    hits: Tensor
    true: Tensor
    predicted: Tensor

    def __init__(self, name: str, classes: int) -> None:
        super().__init__()
        self.metric_name = name
        for count in ("hits", "true", "predicted"):
            self.add_state(count, torch.zeros(classes, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, predicted: Tensor, target: Tensor) -> None:
        """Counts a batch, [B] class indices each, without a wait for the device."""
        self.true.index_add_(0, target, torch.ones_like(target))
        self.predicted.index_add_(0, predicted, torch.ones_like(predicted))
        self.hits.index_add_(0, target, (predicted == target).long())

    def compute(self) -> Tensor:
        """Returns the metric over all batches, in float64."""
        hits, true, predicted = (count.double().cpu().numpy() for count in (self.hits, self.true, self.predicted))
        values = {"accuracy": hits.sum() / true.sum(), **f1_of(hits, true, predicted)}
        return torch.tensor(float(values[self.metric_name]), dtype=torch.float64)


class MeanLoss(Metric):
    """Computes the mean loss over notes, in float64; nan where any is, as a run that diverged must show it.

    torchmetrics' MeanMetric adds up in float32, and forgets the weights of batches where it may not drop what is nan.
    """

    full_state_update = False
    is_differentiable = False
    higher_is_better = False
    total: Tensor
    notes: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("total", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("notes", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, loss: Tensor, notes: int) -> None:
        """Adds the mean loss of a batch of so many notes."""
        self.total += loss.double() * notes
        self.notes += notes

    def compute(self) -> Tensor:
        """Returns the mean over all batches."""
        return self.total / self.notes


def validation_metrics(classes: int) -> MetricCollection:
    """The metrics of a validation over so many classes; all share one set of counts."""
    metrics = {name: ClassCounts(name, classes) for name in NAMES}
    return MetricCollection(dict(metrics), compute_groups=[list(NAMES)])
