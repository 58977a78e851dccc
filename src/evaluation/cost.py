"""The cost of errors is measured in relative weights: those of predicted DRGs beside those of the true ones."""

import numpy as np
import polars as pl

from src.cohort.weights import Weights
from src.evaluation.groups import mean_error, mean_estimate
from src.metrics.intervals import Z


def cost_table(notes: pl.DataFrame, weights: Weights) -> pl.DataFrame:
    """Measures what the errors cost, a row a measure, with its interval by patient and what it is in words.

    The weight of a note is its DRG's relative weight; notes whose true or predicted DRG has none are left out. The
    case-mix index (CMI) is the mean weight; its error is the predicted less the true, as in Liu et al. 2021
    (npj Digit Med 4:103), who give its size as a share of the true CMI.

    Args:
        notes: what `src.evaluation.prediction_table.prediction_table` gives.
        weights: the Table 5 that the weights are from.
    """
    paid = notes.drop_nulls(["drg_weight", "predicted_weight"])
    rows = [_row("share of notes", paid.height / notes.height, None, "whose true and predicted DRG have a weight")]
    if paid.is_empty():
        return pl.DataFrame(rows)
    patients = paid["subject_id"].to_numpy()
    true, predicted = (paid[f"{side}_weight"].to_numpy() for side in ("drg", "predicted"))
    error = predicted - true
    cmi = float(true.mean())
    signed = mean_estimate(error, patients, share=False)
    sizes = sorted((abs(signed.low), abs(signed.high)))
    size = (0.0 if signed.low <= 0 <= signed.high else sizes[0], sizes[1])
    ratio = signed.value / cmi
    # A ratio of two means, linearised: its error is that of the mean of error - ratio * true, over the true CMI.
    reach = Z * (mean_error(error - ratio * true, patients) / cmi)
    rows += [
        _mean("CMI, true", true, patients, f"mean relative weight, {weights.year}"),
        _mean("CMI, predicted", predicted, patients, "mean relative weight of the predicted DRGs"),
        _row("CMI error", signed.value, (signed.low, signed.high), "predicted less true CMI"),
        _row("CMI error, size", abs(signed.value), size, "without its sign"),
        _row("CMI error, relative", ratio, (ratio - reach, ratio + reach), "share of the true CMI"),
        _mean("weight error, size", np.abs(error), patients, "mean absolute error of a note's weight (MAE)"),
        _row("weight error, RMSE", float(np.sqrt((error**2).mean())), None, "root of the mean squared error"),
        _mean("over-payment", np.maximum(error, 0), patients, "mean weight a note that is paid too much"),
        _mean("under-payment", np.maximum(-error, 0), patients, "mean weight a note that is paid too little"),
        _mean("share over-paid", (error > 0).astype(float), patients, "notes with too high a weight", share=True),
        _mean("share under-paid", (error < 0).astype(float), patients, "notes with too low a weight", share=True),
    ]
    return pl.DataFrame(rows)


def _mean(name: str, values: np.ndarray, patients: np.ndarray, words: str, share: bool = False) -> dict[str, object]:
    measured = mean_estimate(values, patients, share)
    return _row(name, measured.value, (measured.low, measured.high), words)


def _row(name: str, value: float, interval: tuple[float, float] | None, words: str) -> dict[str, object]:
    low, high = interval or (None, None)
    return {"measure": name, "value": value, "low": low, "high": high, "what": words}
