"""Means over groups of notes, and the gap between a group and the rest, have intervals by patient in closed form."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from src.cohort.disclosure import shown_groups
from src.metrics.intervals import Difference, Estimate, Z, estimate, far_from_nothing


def mean_error(values: NDArray[np.floating], patients: NDArray[np.int64]) -> float:
    """Estimates the standard error of a mean over notes whose patients are drawn at random: linearised clusters.

    >>> round(mean_error(np.array([1.0, 0.0, 1.0, 0.0]), np.arange(4)), 4)
    0.2887
    """
    return _error(values - values.mean(), patients) / len(values)


def mean_estimate(values: NDArray[np.floating], patients: NDArray[np.int64], share: bool = True) -> Estimate:
    """Estimates the mean over notes with its interval; symmetric in log-odds for a `share`, else in the values."""
    value, error = float(values.mean()), mean_error(values, patients)
    if share:
        return estimate(value, error, len(np.unique(patients)))
    return Estimate(value, error, value - Z * error, value + Z * error)


def gap(values: NDArray[np.floating], inside: NDArray[np.bool_], patients: NDArray[np.int64]) -> Difference:
    """Estimates the mean inside a group less that of the rest, paired by patients who have notes in both."""
    means = (values[inside].mean(), values[~inside].mean())
    parts = np.where(inside, (values - means[0]) / inside.sum(), -(values - means[1]) / (~inside).sum())
    value, error = float(means[0] - means[1]), _error(parts, patients)
    return Difference(value, error, value - Z * error, value + Z * error, far_from_nothing(value, error))


def by_group(notes: pl.DataFrame, of: str) -> pl.DataFrame:
    """Measures each group, a row each in the order of `of`: patients, notes, top-1 with its interval, and top-5.

    Groups that may not be shown are named only.

    Args:
        notes: what `src.evaluation.prediction_table.prediction_table` gives.
        of: the column that names each note's group; notes without one are in no group.
    """
    rows, kept = list[dict[str, Any]](), shown_groups(notes, of)
    for (name,), part in notes.filter(pl.col(of).is_not_null()).group_by(of, maintain_order=True):
        rows.append({of: name})
        if name in kept:
            patients = part["subject_id"].to_numpy()
            top1 = mean_estimate(part["right"].to_numpy().astype(np.float64), patients)
            rows[-1] |= {"patients": part["subject_id"].n_unique(), "notes": part.height}
            rows[-1] |= {"top1": top1.value, "top1_low": top1.low, "top1_high": top1.high}
            rows[-1]["top5"] = float(np.mean(part["rank"].to_numpy() <= 5))
    schema: dict[str, Any] = {of: notes.schema[of], "patients": pl.Int64, "notes": pl.Int64}
    schema |= dict.fromkeys(("top1", "top1_low", "top1_high", "top5"), pl.Float64)
    return pl.DataFrame(rows, schema=schema).sort(of)


def banded(bands: Sequence[tuple[int, int]], column: str) -> pl.Expr:
    """Names the range that a whole number falls in, so that names sort by size; null outside of all."""
    names = pl.Enum([band_name(low, high) for low, high in bands])
    inside = [
        pl.when(pl.col(column).is_between(low, high)).then(pl.lit(band_name(low, high), dtype=names))
        for low, high in bands
    ]
    return pl.coalesce(inside).alias(column)


def band_name(low: int, high: int) -> str:
    """Names the numbers from `low` to `high`.

    >>> band_name(0, 0), band_name(3, 5), band_name(101, 10**9)
    ('0', '3 to 5', '101 or more')
    """
    if high >= 10**9:
        return f"{low} or more"
    return str(low) if low == high else f"{low} to {high}"


def _error(residuals: NDArray[np.floating], patients: NDArray[np.int64]) -> float:
    """Estimates the standard error of a sum of residuals, [B], that is 0 on the whole."""
    _, index = np.unique(patients, return_inverse=True)
    # Notes of a patient go together: their residuals are summed before they are squared.
    sums = np.bincount(index, residuals)
    return float(np.sqrt((sums**2).sum() * len(sums) / max(len(sums) - 1, 1)))
