"""Metrics are sums over notes here, so that they can be had for thousands of parts of a test set at once.

Letters of shapes: R parts, B notes, C classes. A part is a weight for each note: how often it counts.
"""

from collections.abc import Mapping
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from src.metrics.definitions import Placements, f1_of, log_softmax, members

Weights = NDArray[np.floating]
"""[R, B]; float64 for an exact value, float32 for many."""


class WeightedMetric(Protocol):
    """Computes some metrics of one run over weighted notes."""

    def over(self, weights: Weights) -> dict[str, NDArray[np.float64]]:
        """Computes each metric of every part, [R]; with weights of one, the metrics of `src.metrics.definitions`."""


class NoteMeans:
    """Averages a value of each note: accuracy, top-k, the area over all pairs."""

    def __init__(self, values: Mapping[str, NDArray[np.floating]]) -> None:
        self._names = list(values)
        self._values = np.stack([values[name] for name in values], 1).astype(np.float32)

    def over(self, weights: Weights) -> dict[str, NDArray[np.float64]]:
        means = (weights @ self._values).astype(np.float64) / weights.sum(1, keepdims=True)
        return dict(zip(self._names, means.T, strict=True))


class ClassF1:
    """Computes the four averages of F1."""

    def __init__(self, prefix: str, predicted: NDArray[np.int64], target: NDArray[np.int64], classes: int) -> None:
        # A class that no note has and none was given adds nothing, so counts [R, C] are kept for the others alone.
        used, positions = np.unique(np.r_[target, predicted], return_inverse=True)
        self._prefix, self._share = prefix, len(used) / classes
        true, guessed = np.split(positions, 2)
        hits = np.where(true == guessed, true, -1)
        self._sums = tuple(counts_by_class(indices, len(used)) for indices in (hits, true, guessed))

    def over(self, weights: Weights) -> dict[str, NDArray[np.float64]]:
        averages = f1_of(*((sums @ weights.T).T for sums in self._sums))
        averages["macro_f1_all"] = averages["macro_f1_all"] * self._share  # classes that nobody has or chose add none
        return {f"{self._prefix}{name}": value.astype(np.float64) for name, value in averages.items()}


class ClassAreas:
    """Averages the areas under the classes' ROC curves, with the scores of the other classes' notes held.

    What those notes add to its spread goes in as their mean placement, to first order (the structural
    components of DeLong et al. 1988).
    """

    def __init__(self, prefix: str, placements: Placements, from_others: NDArray[np.float64]) -> None:
        classes, true = np.unique(placements.target, return_inverse=True)
        self._name, self._from_others = f"{prefix}macro_auc", from_others.astype(np.float32)
        self._count = counts_by_class(true, len(classes))
        self._above = counts_by_class(true, len(classes), placements.in_class)

    def over(self, weights: Weights) -> dict[str, NDArray[np.float64]]:
        count, above = ((sums @ weights.T).T.astype(np.float64) for sums in (self._count, self._above))
        present = count > 0
        # A part without a note of a class has no area for it, and averages over the classes that it has.
        areas = np.divide(above, count, out=np.zeros_like(above), where=present)
        from_others = weights @ self._from_others / weights.sum(1)
        return {self._name: areas.sum(1) / present.sum(1) + from_others}


def counts_by_class(index: NDArray[np.int64], classes: int, values: NDArray[np.floating] | None = None) -> csr_array:
    """Puts the value of each note, or 1, into its class's row, [C, B]; a note of index -1 has none."""
    notes = np.flatnonzero(index >= 0)
    data = np.ones(len(notes)) if values is None else values[notes]
    return csr_array((data.astype(np.float32), (index[notes], notes)), shape=(classes, len(index)))


def other_placements(
    scores: NDArray[np.floating], target: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Computes what each note, as one that does not belong, adds to `macro_auc` and `micro_auc`, [B] each, of mean 0.

    The counterpart of `placements_of`: how many of those that belong are above its scores, less how
    many are on average.
    """
    notes, classes = scores.shape
    by_class = np.ascontiguousarray(log_softmax(scores).T)
    own = by_class[target, np.arange(notes)]
    macro, pairs = np.zeros(notes), np.zeros(notes)
    every = np.sort(own)
    present = dict(members(target))
    for d in range(classes):
        outside = np.flatnonzero(target != d)
        outside = outside[by_class[d, outside].argsort()]  # ascending values are looked up faster
        pairs[outside] += _above(by_class[d, outside], every)
        if d in present and len(outside):
            share = _above(by_class[d, outside], np.sort(own[present[d]]))
            # `over` divides by all notes, a class's area by those outside the class.
            macro[outside] += (share - share.mean()) * notes / len(outside)
    micro = pairs / max(classes - 1, 1)
    return macro / len(present), micro - micro.mean()


def _above(values: NDArray[np.float64], ordered: NDArray[np.float64]) -> NDArray[np.float64]:
    """Computes the share of `ordered` above each value, ties counting one half."""
    below, up_to = (np.searchsorted(ordered, values, side=side) for side in ("left", "right"))
    return 1 - (below + up_to) / (2 * len(ordered))
