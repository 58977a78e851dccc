"""Calibration, a temperature fitted on validation and selective prediction say when to trust a prediction."""

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from src.evaluation.groups import mean_estimate
from src.metrics.definitions import log_softmax
from src.runs.predictions import Predictions

BINS = 15
"""Bins of equal width, as Guo et al. 2017 have them."""

AIM = 0.9
"""The top-1 accuracy that selective prediction is asked for."""

LEAST = -50.0
"""The log-probability of a true DRG that a model calls impossible, so that a mean of them is a number."""


@dataclass(frozen=True, eq=False)
class Confidences:
    """Holds how sure a model is of its best DRG for each note, and whether it was right."""

    confidence: NDArray[np.float64]
    """[B]: the probability of the best DRG."""
    right: NDArray[np.bool_]
    """[B]."""
    patients: NDArray[np.int64]
    """[B]."""
    true_logp: NDArray[np.float64]
    """[B]: the log-probability of the true DRG."""


def confidences(predictions: Predictions, temperature: float = 1.0) -> Confidences:
    """Computes confidences from scores divided by a temperature; the best DRG stays the best."""
    scores = predictions.heads["scores"]
    logp = log_softmax(scores / np.float32(temperature))
    true_logp = logp[np.arange(len(logp)), predictions.drg]
    # What is right is asked of the scores: divided by a temperature, two may round to the same value.
    return Confidences(np.exp(logp.max(1)), scores.argmax(1) == predictions.drg, predictions.subject_id, true_logp)


def fit_temperature(predictions: Predictions) -> float:
    """Fits the temperature, 0.02 to 50, of least mean negative log-likelihood on these notes (Guo et al. 2017).

    A true DRG that a model calls impossible counts as a log-probability of `LEAST`.
    """
    from scipy.optimize import minimize_scalar

    def loss(log_temperature: float) -> float:
        true_logp = confidences(predictions, float(np.exp(log_temperature))).true_logp
        return -float(np.maximum(true_logp, LEAST).mean())

    # Over the logarithm: half and double are as far from 1, and no temperature is negative.
    return float(np.exp(minimize_scalar(loss, bounds=(np.log(0.02), np.log(50)), method="bounded").x))


def reliability(scored: Confidences, bins: int = BINS) -> pl.DataFrame:
    """Counts notes, mean confidence and accuracy by bins of confidence, a row a bin that has notes."""
    # Guo et al.'s bins, ((m - 1) / M, m / M]: open below, closed above.
    bin_of_note = np.clip(np.ceil(scored.confidence * bins).astype(int) - 1, 0, bins - 1)
    count = np.bincount(bin_of_note, minlength=bins)
    used = count > 0
    sums = (np.bincount(bin_of_note, values, minlength=bins) for values in (scored.confidence, scored.right))
    confidence, accuracy = (total[used] / count[used] for total in sums)
    low = np.flatnonzero(used) / bins
    return pl.DataFrame(
        {"from": low, "to": low + 1 / bins, "notes": count[used], "confidence": confidence, "accuracy": accuracy}
    )


def expected_calibration_error(scored: Confidences, bins: int = BINS) -> float:
    """Averages over notes their bin's distance between confidence and accuracy (Naeini et al. 2015).

    >>> sure = Confidences(np.array([0.95, 0.95]), np.array([True, False]), np.arange(2), np.zeros(2))
    >>> round(expected_calibration_error(sure), 3)
    0.45
    """
    table = reliability(scored, bins)
    distance = (table["confidence"] - table["accuracy"]).abs()
    return float((distance * table["notes"]).sum() / table["notes"].sum())


def calibration_table(validation: Predictions, test: Predictions) -> pl.DataFrame:
    """Measures test calibration as the model is, and at the temperature that validation notes chose."""
    rows = []
    for name, temperature in (("as it is", 1.0), ("temperature from validation", fit_temperature(validation))):
        scored = confidences(test, temperature)
        rows.append(
            {
                "scores": name,
                "temperature": temperature,
                "ece": expected_calibration_error(scored),
                "mean_confidence": float(scored.confidence.mean()),
                "accuracy": float(scored.right.mean()),
                "log_loss": float(-np.maximum(scored.true_logp, LEAST).mean()),
            }
        )
    return pl.DataFrame(rows)


def coverage_curve(scored: Confidences) -> pl.DataFrame:
    """Computes accuracy of the surest notes by their share of all: `coverage`, `accuracy`, least `confidence`."""
    order = np.argsort(-scored.confidence, kind="stable")
    kept = np.arange(1, len(order) + 1)
    accuracy = np.cumsum(scored.right[order]) / kept
    return pl.DataFrame({"coverage": kept / len(order), "accuracy": accuracy, "confidence": scored.confidence[order]})


def threshold_for(scored: Confidences, aim: float = AIM) -> float | None:
    """Picks the least confidence from which on these notes are right as often as `aim`; None where none is.

    Notes as sure as each other are taken together.
    """
    curve = coverage_curve(scored)
    distinct = curve.filter(pl.col("confidence") != pl.col("confidence").shift(-1).fill_null(-1.0))
    enough = distinct.filter(pl.col("accuracy") >= aim)
    return None if enough.is_empty() else float(enough["confidence"][-1])


def selective_table(validation: Predictions, test: Predictions, aim: float = AIM) -> pl.DataFrame:
    """Measures coverage and accuracy on test where the confidence is at least what validation notes needed for `aim`.

    `best_coverage` is what the test notes themselves would have allowed, which nobody can know beforehand.
    """
    temperature = fit_temperature(validation)
    fitted, scored = confidences(validation, temperature), confidences(test, temperature)
    threshold = threshold_for(fitted, aim)
    best_threshold = threshold_for(scored, aim)
    best_coverage = float((scored.confidence >= best_threshold).mean()) if best_threshold is not None else 0.0
    kept = scored.confidence >= (2.0 if threshold is None else threshold)  # 2 is above every confidence
    share = mean_estimate(kept.astype(np.float64), scored.patients)
    row = {"aim": aim, "threshold": threshold, "coverage": share.value, "coverage_low": share.low}
    row |= {"coverage_high": share.high, "accuracy": None, "accuracy_low": None, "accuracy_high": None}
    if kept.any():
        right = mean_estimate(scored.right[kept].astype(np.float64), scored.patients[kept])
        row |= {"accuracy": right.value, "accuracy_low": right.low, "accuracy_high": right.high}
    return pl.DataFrame([row | {"best_coverage": best_coverage}])
