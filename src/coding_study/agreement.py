"""Measures how far coders agree with each other and with the adjudicated DRG, beyond chance."""

from collections.abc import Callable

import numpy as np
import polars as pl
from scipy.stats import t as student

from src.display.tables import Estimate


def jackknife(rows: pl.DataFrame, statistic: Callable[[pl.DataFrame], float]) -> Estimate:
    """Estimates any statistic of readings with its interval, leaving out each coder, and each case, in turn.

    The two variances are added, each with Student's t squared; what is chance in both counts twice, so that the
    interval is rather too wide.

    Args:
        rows: `coder`, `case` and what the statistic reads.
        statistic: nan where it cannot be told.
    """
    value, square = statistic(rows), 0.0
    for column in ("coder", "case"):
        names = rows[column].unique().sort().to_list()
        if len(names) < 2:
            return Estimate(value)
        without = np.array([statistic(rows.filter(pl.col(column) != name)) for name in names])
        spread = (len(names) - 1) * np.mean((without - without.mean()) ** 2)
        square += float(student.ppf(0.975, len(names) - 1)) ** 2 * float(spread)
    reach = square**0.5
    return Estimate(value, value - reach, min(1.0, value + reach)) if reach > 0 else Estimate(value)


def kappa_with_adjudicated(rows: pl.DataFrame) -> float:
    """Computes Cohen's kappa of decided and adjudicated DRGs; nan where a single DRG is all there is."""
    from sklearn.metrics import cohen_kappa_score

    decided, adjudicated = rows["decided"].to_list(), rows["adjudicated"].to_list()
    if len({*decided, *adjudicated}) < 2:
        return float("nan")
    return float(cohen_kappa_score(decided, adjudicated))


def kappa_between(rows: pl.DataFrame) -> float:
    """Computes Fleiss' kappa of coders who decided the same case, in the same arm where rows are of one.

    Cases may have different numbers of coders; those with one are left out (Fleiss 1971 with the agreement of each
    case by its own pairs).

    >>> rows = pl.DataFrame({"case": ["1", "1", "2", "2"], "decided": ["001", "001", "002", "003"]})
    >>> round(kappa_between(rows), 3)
    0.2
    """
    groups = rows.group_by("case", maintain_order=True)
    cases = [own["decided"].to_numpy() for _, own in groups if own.height > 1]
    if not cases:
        return float("nan")
    counted = [np.unique(case, return_counts=True)[1] for case in cases]
    agreeing = [float(counts @ (counts - 1)) / (counts.sum() * (counts.sum() - 1)) for counts in counted]
    totals = np.unique(np.concatenate(cases), return_counts=True)[1]
    shares = totals / totals.sum()
    by_chance = float(shares @ shares)
    return (float(np.mean(agreeing)) - by_chance) / (1 - by_chance) if by_chance < 1 else float("nan")
