"""Logit adjustment after the fact trades top-1 for rare DRGs: scores less tau times the log of a DRG's training share.

Menon et al. 2021, "Long-tail learning via logit adjustment", section 4.1: with tau 1 and a model that knows the
probabilities it is what minimises the balanced error, and what their logit-adjusted loss comes to. Schemes are not told
apart: with `labels=two`, `joint` and `levels` it is the recombined log-probabilities of DRGs that are adjusted.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from src.display.catalog import METRICS
from src.display.tables import p_value
from src.metrics.definitions import measure_choices, truth_ranks
from src.metrics.intervals import Estimate, difference, estimates, holm, subsample
from src.metrics.weighted import NoteMeans, WeightedMetric
from src.runs.predictions import Predictions, Task

TAUS = tuple(sorted({*(tenths / 10 for tenths in range(-10, 21)), *(parts / 50 for parts in range(-4, 5))}))
"""What is tried. Down to -1, which takes back what `loss=logit_adjusted` put in; finer around 0, for scores that are
decision values, as those of TF-IDF are, have a smaller scale than log-probabilities."""

FRONT_ROUNDS = 200
"""Divisions of the patients for the front's intervals: a fifth of what the named points have, for forty taus."""

AS_TRAINED = "as trained"
CHOICES = {"macro_f1": "best macro-F1 of validation", "accuracy": "best top-1 of validation"}
"""The points that validation chooses, by what it chooses them."""

SHOWN = ("macro_f1", "accuracy", "top5")
"""Of the named points."""


@dataclass(frozen=True, eq=False)
class Adjustment:
    """Holds what adjusted scores give on the test."""

    front: pl.DataFrame
    """A row a tau: `tau`, `val_accuracy`, `val_macro_f1`, and of the test `accuracy` and `macro_f1` with intervals."""
    points: pl.DataFrame
    """A row a named point and metric: its value and its difference to the scores as trained, with intervals."""
    scores: NDArray[np.float32]
    """[B, D]: of the test, at the tau with the best macro-F1 of validation."""


def log_shares(trained: NDArray[np.int64]) -> NDArray[np.float32]:
    """Computes the logs of the classes' shares, [D], from their training notes; a class without any counts as one note.

    >>> np.exp(log_shares(np.array([3, 0]))).round(2).tolist()
    [0.75, 0.25]
    """
    counted = np.maximum(trained, 1)
    return np.log(counted / counted.sum()).astype(np.float32)


def adjust(scores: NDArray[np.float32], shares: NDArray[np.float32], tau: float) -> NDArray[np.float32]:
    """Subtracts `tau` times the log of each class's share, [D], from the scores, [B, D]."""
    return scores - np.float32(tau) * shares


def adjustment(validation: Predictions, test: Predictions, trained: NDArray[np.int64]) -> Adjustment:
    """Measures adjusted scores over `TAUS` on the test, and at the points that validation chooses.

    Args:
        validation: chooses tau.
        test: what is measured.
        trained: [D], training notes of each class.
    """
    shares, classes = log_shares(trained), len(trained)
    validated = {tau: measure_choices(_predicted(validation, shares, tau), validation.drg, classes) for tau in TAUS}
    taus = {AS_TRAINED: 0.0}
    for metric, point in CHOICES.items():
        tau = best_tau(validated, metric)
        if metric == "macro_f1" or tau not in taus.values():
            taus[point] = tau
    scores = adjust(test.heads["scores"], shares, taus[CHOICES["macro_f1"]])
    return Adjustment(_front(test, shares, validated), _points(test, shares, taus), scores)


def best_tau(validated: Mapping[float, Mapping[str, float]], metric: str) -> float:
    """Picks the tau with the best value of a metric; of equal ones that which changes least."""
    return min(validated, key=lambda tau: (-validated[tau][metric], abs(tau), tau))


def _predicted(predictions: Predictions, shares: NDArray[np.float32], tau: float) -> NDArray[np.int64]:
    return adjust(predictions.heads["scores"], shares, tau).argmax(1)


def _front(
    test: Predictions, shares: NDArray[np.float32], validated: Mapping[float, Mapping[str, float]]
) -> pl.DataFrame:
    # All taus share one draw of the patients.
    tasks = [Task(f"{tau}/", test.drg, _predicted(test, shares, tau), len(shares)) for tau in TAUS]
    tallies = [tally for task in tasks for tally in task.tallies()]
    measured = estimates(subsample(tallies, test.subject_id, FRONT_ROUNDS), len(np.unique(test.subject_id)))
    chosen = {tau: {f"val_{metric}": validated[tau][metric] for metric in ("accuracy", "macro_f1")} for tau in TAUS}
    tested = {
        tau: _bounded("accuracy", measured[f"{tau}/accuracy"]) | _bounded("macro_f1", measured[f"{tau}/macro_f1"])
        for tau in TAUS
    }
    return pl.DataFrame([{"tau": tau, **chosen[tau], **tested[tau]} for tau in TAUS])


def _points(test: Predictions, shares: NDArray[np.float32], taus: Mapping[str, float]) -> pl.DataFrame:
    """Measures the named points; p-values are corrected over the points that one metric has."""
    tallies: list[WeightedMetric] = []
    for point, tau in taus.items():
        scores = adjust(test.heads["scores"], shares, tau)
        tallies += Task(f"{point}/", test.drg, scores.argmax(1), len(shares)).tallies()
        tallies.append(NoteMeans({f"{point}/top5": (truth_ranks(scores, test.drg) < 5).astype(np.float32)}))
    measured = subsample(tallies, test.subject_id)
    values = estimates(measured, len(np.unique(test.subject_id)))
    rows: list[dict[str, Any]] = []
    for metric in SHOWN:
        deltas = [difference(measured[f"{point}/{metric}"], measured[f"{AS_TRAINED}/{metric}"]) for point in taus]
        corrected = [None, *holm([delta.p for delta in deltas[1:]])]  # of the scores as trained there is no difference
        for (point, tau), delta, p in zip(taus.items(), deltas, corrected, strict=True):
            row = {"point": point, "tau": tau, "metric": metric, **_bounded("value", values[f"{point}/{metric}"])}
            known = p is not None and np.isfinite(delta.p)
            rows.append(row | _bounded("difference", None if p is None else delta) | {"p_holm": p if known else None})
    return pl.DataFrame(rows, infer_schema_length=None)


def _bounded(name: str, measured: Estimate | None) -> dict[str, float | None]:
    ends = (measured.value, measured.low, measured.high) if measured else (None, None, None)
    return dict(zip((name, f"{name}_low", f"{name}_high"), ends, strict=True))


def as_text(rows: Sequence[Mapping[str, Any]]) -> str:
    """Lays out as text the named points of an evaluation's record."""
    names = {metric.key: metric.name for metric in METRICS}
    width = max(len(row["point"]) for row in rows)
    lines = ["scores - tau x log p(class in training): tau is chosen on validation, and measured on the test"]
    for row in rows:
        words = (
            f"  {names[row['metric']]:<8}  {row['point']:<{width}}  tau {row['tau']:>5.2f}  {_interval(row, 'value')}"
        )
        if row["difference"] is not None:
            words += f"  {_interval(row, 'difference', '+')}"
        if row["p_holm"] is not None:
            words += f"  corrected p {p_value(row['p_holm'])}"
        lines.append(words)
    return "\n".join(lines)


def _interval(row: Mapping[str, Any], name: str, sign: str = "") -> str:
    ends = (row[name], row[f"{name}_low"], row[f"{name}_high"])
    value, low, high = ("-" if number is None else f"{number:{sign}.3f}" for number in ends)
    return f"{value} [{low}, {high}]"
