"""Estimates intervals of a mean over few seeds, of a test set's patients, and of both."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtr, stdtrit

from src.metrics.intervals import CONFIDENCE, Z
from src.scaling_analysis.result import Interval

NONE = Interval(math.nan, math.nan)


def seed_error(values: Sequence[float]) -> float:
    """Estimates the standard error of a mean over seeds; nan for one seed.

    >>> round(seed_error([0.50, 0.52, 0.54]), 5)
    0.01155
    """
    return float(np.std(values, ddof=1) / math.sqrt(len(values))) if len(values) > 1 else math.nan


def patient_error(value: float, low: float, high: float) -> float:
    """Recovers the standard error behind a recorded interval, which is symmetric in log-odds.

    >>> from src.metrics.intervals import estimate
    >>> estimated = estimate(0.4, 0.02, 1000)
    >>> round(patient_error(0.4, estimated.low, estimated.high), 6)
    0.02
    """
    if 0 < low < high < 1 and 0 < value < 1:
        reach = math.log(high / (1 - high)) - math.log(low / (1 - low))
        return reach / (2 * Z) * value * (1 - value)
    return (high - low) / Z  # a metric of exactly 0 or 1, whose interval has one side


@dataclass(frozen=True)
class CombinedInterval:
    """Holds a mean's intervals of 95 % and the chance of its being so far from 0."""

    seeds: Interval
    patients: Interval
    both: Interval
    p: float


def combined_interval(value: float, seeds: float, freedom: int, patients: float, *, share: bool) -> CombinedInterval:
    """Computes the intervals of a mean by seeds, by patients and by both.

    Variances add; the degrees of freedom of the sum are Satterthwaite's (1946), so that few seeds count as few
    only as far as seeds are what is uncertain. Where one error is not known the other stands alone.

    Args:
        value: the mean.
        seeds: its standard error by seeds; nan for one seed.
        freedom: seeds less one.
        patients: its standard error by patients; nan where it is not known.
        share: it lies between 0 and 1, and so do its intervals: symmetric in log-odds, and cut off at the bound where
            the mean is 0 or 1, which has no log-odds. What is no share, as a loss or a difference, has no bounds.
    """
    errors = [error for error in (seeds, patients) if math.isfinite(error)]
    total = math.sqrt(sum(error * error for error in errors)) if errors else math.nan
    of_seeds = seeds * seeds / (total * total) if math.isfinite(seeds) and total else 0.0
    wide = freedom / (of_seeds * of_seeds) if of_seeds else math.inf
    return CombinedInterval(
        seeds=_interval(value, seeds, freedom, share),
        patients=_interval(value, patients, math.inf, share),
        both=_interval(value, total, wide, share),
        p=_chance(value, total, wide),
    )


def _interval(value: float, error: float, freedom: float, share: bool) -> Interval:
    if not math.isfinite(error):
        return NONE
    quantile = Z if math.isinf(freedom) else float(stdtrit(freedom, 0.5 + CONFIDENCE / 2))
    reach = quantile * error
    if not share:
        return Interval(value - reach, value + reach)
    if not 0 < value < 1:
        return Interval(max(value - reach, 0.0), min(value + reach, 1.0))
    middle, far = math.log(value / (1 - value)), reach / (value * (1 - value))
    low, high = (1 / (1 + math.exp(-max(min(middle + sign * far, 700), -700))) for sign in (-1, 1))
    return Interval(low, high)


def _chance(value: float, error: float, freedom: float) -> float:
    if not math.isfinite(error):
        return math.nan
    if error == 0:
        return 1.0 if value == 0 else 0.0
    return float(2 * stdtr(min(freedom, 1e9), -abs(value) / error))
