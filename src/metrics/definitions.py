"""Every metric is defined here, once.

A metric compares the class of each note, [B] indices, with the class that a model chose for it, or with its
scores [B, C], one for each note and class: the DRG, the base DRG or the severity. "Present" are the classes
that occur in the truth: as in the DRG-LLaMA paper (npj Digit Med 2024, 7:16), averages over classes leave
out those that no test note has. Counts are numpy's: torchmetrics gives the same (a test holds the two
together, with the settings it takes), but loading it takes longer than the whole evaluation.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

TOP = (5, 10)
"""The k of the top-k accuracies that are reported."""


def measure_scores(
    scores: NDArray[np.floating], target: NDArray[np.int64], predicted: NDArray[np.int64] | None = None
) -> dict[str, float]:
    """Measures every metric that a score for each class allows.

    Args:
        scores: [B, C], log-probabilities or logits; -inf stands for an impossible class.
        target: [B], indices in 0..C-1.
        predicted: [B], the classes that were predicted, if not those with the best score.

    Returns:
        Keys `accuracy`, `top5`, `top10`, `macro_f1`, `macro_f1_all`, `micro_f1`, `micro_f1_all`, `macro_auc`
        and `micro_auc`, each from 0 to 1. An AUC that is not defined, because the notes or the label space
        have a single class, is nan.

    Raises:
        ValueError: shapes do not match, there is no note, or scores are nan or +inf.

    >>> metrics = measure_scores(np.log([[0.7, 0.2, 0.1], [0.3, 0.6, 0.1], [0.5, 0.4, 0.1]]), np.array([0, 1, 1]))
    >>> {key: round(metrics[key], 3) for key in ("accuracy", "top5", "macro_f1", "macro_f1_all", "macro_auc")}
    {'accuracy': 0.667, 'top5': 1.0, 'macro_f1': 0.667, 'macro_f1_all': 0.444, 'macro_auc': 1.0}
    """
    scores, target = np.asarray(scores), np.asarray(target)
    _check(scores, target)
    ranks = truth_ranks(scores, target)
    metrics = measure_choices(scores.argmax(1) if predicted is None else predicted, target, scores.shape[1])
    return metrics | {f"top{k}": float(np.mean(ranks < k)) for k in TOP} | placements_of(scores, target).areas()


def measure_choices(predicted: NDArray[np.int64], target: NDArray[np.int64], classes: int) -> dict[str, float]:
    """Measures every metric that a chosen class for each note allows: `accuracy` and the four F1.

    Accuracy is the share of notes whose class was chosen.
    """
    return {"accuracy": float(np.mean(predicted == target))} | f1_scores(predicted, target, classes)


def truth_ranks(scores: NDArray[np.float32], target: NDArray[np.int64]) -> NDArray[np.int64]:
    """Counts the classes that are ranked before the true one, [B]: top-k accuracy is the share of ranks below k.

    Equal scores are ranked in the order of the classes, so that rank 0 is the same as argmax; `torch.topk`, and so
    torchmetrics' `top_k`, breaks ties differently from one size to the next.

    >>> truth_ranks(np.array([[0.1, 0.8, 0.1]] * 3), np.array([0, 1, 2])).tolist()
    [1, 0, 2]
    """
    own = np.take_along_axis(scores, target[:, None], 1)
    before = np.arange(scores.shape[1])[None, :] < target[:, None]
    return ((scores > own) | ((scores == own) & before)).sum(1)


def f1_scores(predicted: NDArray[np.int64], target: NDArray[np.int64], classes: int) -> dict[str, float]:
    """Averages F1 over classes in four ways; a class has 2 TP / (chosen + true), or 0 where it is neither.

    - `macro_f1`: the mean over the classes present. The paper's.
    - `macro_f1_all`: the mean over all C classes, so that it falls with those that no note has.
    - `micro_f1`: TP, chosen and true summed over the classes present, as scikit-learn with `labels=present`.
      The paper's; above accuracy when classes that are not present were chosen.
    - `micro_f1_all`: the same over all classes, which is accuracy.

    From torchmetrics: `MulticlassF1Score(average="none")[present].mean()`; its `average="macro"` also averages
    over classes that were chosen but are not present.

    >>> f1_scores(np.array([0, 2, 1]), np.array([0, 1, 1]), 4)["macro_f1"]  # doctest: +ELLIPSIS
    0.8333...
    """
    counts = [np.bincount(indices, minlength=classes) for indices in (target[predicted == target], target, predicted)]
    return {name: float(value) for name, value in f1_of(*(count.astype(np.float64) for count in counts)).items()}


def f1_of(
    hits: NDArray[np.floating], true: NDArray[np.floating], predicted: NDArray[np.floating]
) -> dict[str, NDArray[np.floating]]:
    """Averages F1 in the four ways of `f1_scores`, from the counts of each class, [..., C] each."""
    either = true + predicted
    f1 = 2 * hits / np.maximum(either, 1)
    present = true > 0
    return {
        "macro_f1": (f1 * present).sum(-1) / present.sum(-1),
        "macro_f1_all": f1.mean(-1),
        "micro_f1": 2 * hits.sum(-1) / (either * present).sum(-1),
        "micro_f1_all": 2 * hits.sum(-1) / either.sum(-1),
    }


@dataclass(frozen=True, eq=False)
class Placements:
    """Holds where each note's score for its own class stands among scores of notes and classes that do not match.

    A placement is the share of the others that are below, ties counting one half; the area under a ROC curve is
    the mean placement of its positives, the Mann-Whitney U over positives times negatives (Hanley and McNeil
    1982; DeLong et al. 1988 for the name).
    """

    target: NDArray[np.int64]
    """[B]: the class of each note."""
    in_class: NDArray[np.float64]
    """[B]: among the scores of the notes of other classes for this class; nan where there is no such note."""
    in_all: NDArray[np.float64]
    """[B]: among the scores of all notes for all classes but their own; nan where there is a single class."""

    def areas(self) -> dict[str, float]:
        """Averages the areas under the ROC curves of a class against the rest.

        - `macro_auc`: the mean over the classes that some, but not all, notes have.
        - `micro_auc`: one curve over all B x C pairs of note and class.

        Equal to torchmetrics' `MulticlassAUROC(average="none", thresholds=None)[present].mean()` and
        `BinaryAUROC(thresholds=None)`; with bins torchmetrics is off by 0.06.
        """
        count = np.bincount(self.target)
        areas = np.bincount(self.target, self.in_class)[count > 0] / count[count > 0]
        return {"macro_auc": float(np.mean(areas)), "micro_auc": float(np.mean(self.in_all))}


def placements_of(scores: NDArray[np.floating], target: NDArray[np.int64]) -> Placements:
    """Computes the placements of B notes with scores [B, C].

    An AUC compares scores of different notes, hence of probabilities, as the paper does: each row is first
    normalised by a log-softmax in float64, which orders as softmax does and never underflows.
    """
    notes, classes = scores.shape
    by_class = np.ascontiguousarray(log_softmax(scores).T)
    own = by_class[target, np.arange(notes)]
    by_class.sort(1)  # in place, for it is the largest array here; `own` was taken before
    in_class = np.full(notes, np.nan)
    for d, mine in members(target):
        if len(mine) < notes:
            # The rank among all notes less that among the class's own leaves the notes of other classes.
            above = _ranked(own[mine], by_class[d]) - _ranked(own[mine], np.sort(own[mine]))
            in_class[mine] = above / (notes - len(mine))
    if classes == 1:
        return Placements(target, in_class, np.full(notes, np.nan))
    pairs = by_class.reshape(-1)
    pairs.sort()
    in_all = (_ranked(own, pairs) - _ranked(own, np.sort(own))) / (notes * (classes - 1))
    return Placements(target, in_class, in_all)


def members(target: NDArray[np.int64]) -> list[tuple[int, NDArray[np.int64]]]:
    """Groups notes by class: the classes present, ascending, each with the indices of its notes.

    >>> members(np.array([4, 0, 4]))
    [(0, array([1])), (4, array([0, 2]))]
    """
    order = np.argsort(target, kind="stable")
    classes, starts = np.unique(target[order], return_index=True)
    return [(int(d), mine) for d, mine in zip(classes, np.split(order, starts[1:]), strict=True)]


def log_softmax(scores: NDArray[np.floating]) -> NDArray[np.float64]:
    """Normalises each row of scores to log-probabilities, in float64.

    >>> np.exp(log_softmax(np.array([[1e38, 1e38], [-3e38, 0]], dtype=np.float32))).tolist()
    [[0.5, 0.5], [0.0, 1.0]]
    """
    normal = scores.astype(np.float64)
    normal -= normal.max(1, keepdims=True)
    normal -= np.log(np.exp(normal).sum(1, keepdims=True))
    return normal


def _ranked(values: NDArray[np.float64], ordered: NDArray[np.float64]) -> NDArray[np.float64]:
    """Counts the entries of `ordered`, ascending, that each value is above; an equal one counts one half."""
    below, up_to = (np.searchsorted(ordered, values, side=side) for side in ("left", "right"))
    return (below + up_to) / 2


def _check(scores: NDArray[np.float32], target: NDArray[np.int64]) -> None:
    if scores.ndim != 2 or target.shape != scores.shape[:1] or not scores.size:
        raise ValueError(f"scores {scores.shape} and truth {target.shape}: must be [B, D] and [B], B and D above 0")
    if target.min() < 0 or target.max() >= scores.shape[1]:
        raise ValueError(f"truth runs from {target.min()} to {target.max()}: must be in 0..{scores.shape[1] - 1}")
    best = scores.max(1)
    if not np.isfinite(best).all():
        raise ValueError(f"scores of note {int(np.isfinite(best).argmin())} are not numbers, or all -inf")
