"""Estimates means and effects where every coder reads many cases, with intervals that count both as drawn at random.

A reading differs from the next by its coder, its case and by chance, and so does what assistance changes. The
variance of each is found from sums of squares freed of fixed effects (MINQUE with equal weights: Rao 1971); a small
one may come out below nothing. The estimate's variance is the mean squares of coders and of cases, less that of chance,
which both contain: coders' and cases' count with Student's t squared for their degrees of freedom, and chance, taken
away, with the lesser of the two, which is exact where either varies alone. An interval is never shorter than `SHORTEST`
times the normal's over the variances above nothing. `python -m src.benchmarks.study` counts how often such intervals
hold the truth.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

from src.display.tables import Estimate
from src.metrics.intervals import Z

Array = NDArray[np.float64]

SMALL = 1e-9
"""Of the largest singular value: below it a direction is none."""

SHORTEST = 0.65
"""Reach of the shortest interval, in those of the normal over the variances above nothing.

With 1, intervals hold the truth too often where coders and cases add nothing; with 0, some would have no length.
"""


@dataclass(frozen=True, eq=False)
class Crossed:
    """Holds a linear estimate of B readings, and what its variance is made of.

    Attributes:
        weights: [B], what each reading counts in the estimate.
        basis: [B, p], orthonormal; what fixed effects may do to readings.
        loads: what a random effect of each coder, and of each case, adds to readings, [B, coders] and [B, cases].
    """

    weights: Array
    basis: Array
    loads: Sequence[Array]

    @cached_property
    def freed_loads(self) -> Sequence[Array]:
        """Takes fixed effects out of the loads, [B, coders] and [B, cases]."""
        return [load - self.basis @ (self.basis.T @ load) for load in self.loads]

    @cached_property
    def expected(self) -> Array:
        """Says how often each sum of squares, of coders, cases and all, holds each variance on average, [3, 3]."""
        expected = np.full((3, 3), float(len(self.weights) - self.basis.shape[1]))
        for row, load in enumerate(self.freed_loads):
            expected[row, 2] = expected[2, row] = np.sum(load**2)
            for column, second in enumerate(self.freed_loads):
                expected[row, column] = np.sum((load.T @ second) ** 2)
        return expected

    @cached_property
    def shares(self) -> Array:
        """Says how often the estimate's variance holds those of coders, cases and chance, [3]."""
        return np.array([*(np.sum((load.T @ self.weights) ** 2) for load in self.loads), self.weights @ self.weights])

    def variances(self, values: Array) -> Array:
        """Estimates the variance between coders, between cases and by chance from each column, [3, R]; some below 0.

        Args:
            values: of readings, [B, R].
        """
        freed = values - self.basis @ (self.basis.T @ values)
        squares = np.stack([*(np.sum((load.T @ freed) ** 2, 0) for load in self.freed_loads), np.sum(freed**2, 0)])
        solved: Array = np.linalg.pinv(self.expected, hermitian=True) @ squares
        return solved

    @cached_property
    def counted(self) -> Array:
        """Says what the variances of coders, cases and chance count in the square of an interval's reach, [3].

        nan where fixed effects leave nothing of coders or of cases, as of one coder, or of two who change arms.
        """
        own, chance = self.expected.diagonal()[:2], self.expected[:2, 2]
        if np.any(chance <= SMALL * np.array([np.sum(load**2) for load in self.loads])):
            return np.full(3, np.nan)
        quantiles = np.square(student.ppf(0.975, chance**2 / own))
        means = self.shares[:2] * chance / own
        rest = quantiles @ means + quantiles.min() * (self.shares[2] - means.sum())
        return np.array([*(quantiles * self.shares[:2]), rest])

    def estimates(self, values: Array) -> tuple[Array, Array]:
        """Estimates from each column the value, and how far its interval of 95 % reaches to either side, [R] each.

        The reach is nan where the variance between coders, or between cases, cannot be told.

        Args:
            values: of readings, [B, R].
        """
        variances = self.variances(values)
        least = (SHORTEST * Z) ** 2 * self.shares @ np.maximum(variances, 0.0)
        return self.weights @ values, np.sqrt(np.maximum(self.counted @ variances, least))

    def interval(self, values: Array) -> Estimate:
        """Estimates from readings, [B], the value with its interval.

        There is none where all are alike.
        """
        value, reach = (float(part[0]) for part in self.estimates(values[:, None]))
        return Estimate(value, value - reach, value + reach) if np.ptp(values) > 0 else Estimate(value)

    def share(self, hits: Array) -> Estimate:
        """Estimates from hits, [B] of 1 and 0, their share with Wilson's interval for as many as count.

        As many count as give the same variance when drawn alone; where all are alike, the fewer of coders and cases.
        """
        value, reach = float(np.mean(hits)), float(self.estimates(hits[:, None])[1][0])
        if np.isnan(reach):
            return Estimate(value)
        square = value * (1 - value)
        count = square * (Z / reach) ** 2 if np.ptp(hits) > 0 else min(load.shape[1] for load in self.loads)
        middle = (value + Z**2 / (2 * count)) / (1 + Z**2 / count)
        half = Z * np.sqrt(square / count + Z**2 / (4 * count**2)) / (1 + Z**2 / count)
        return Estimate(value, float(max(0.0, middle - half)), float(min(1.0, middle + half)))


def orthonormal(columns: Array) -> Array:
    """Finds an orthonormal basis of what columns span, [B, rank]."""
    left, sizes, _ = np.linalg.svd(columns, full_matrices=False)
    return left[:, sizes > SMALL * max(sizes[0], SMALL)]


def members(names: Iterable[object]) -> Array:
    """Writes a column of ones and zeros for each name, [B, names].

    >>> members(["b", "a", "b"]).tolist()
    [[0.0, 1.0], [1.0, 0.0], [0.0, 1.0]]
    """
    _, index = np.unique(np.array(list(names), dtype=str), return_inverse=True)
    return np.eye(index.max() + 1)[index]


def mean_of(coders: Iterable[object], cases: Iterable[object]) -> Crossed:
    """Prepares the mean of readings.

    Args:
        coders: who read, [B].
        cases: what was read, [B].
    """
    of_coders = members(coders)
    count = len(of_coders)
    return Crossed(np.full(count, 1 / count), np.full((count, 1), count**-0.5), [of_coders, members(cases)])


def effect_of(coders: Iterable[object], cases: Iterable[object], second: Array, late: Array) -> Crossed | None:
    """Prepares the difference between two arms, freed of coders, cases and the period; None where it cannot be told.

    Cases are taken out where they are read twice or more on average; else a case adds to chance alone.

    Args:
        coders: who read, [B].
        cases: what was read, [B].
        second: 1 for readings in the second arm, else 0, [B].
        late: 1 for readings in the second period, else 0, [B].
    """
    arm, of_coders, of_cases = second - 0.5, members(coders), members(cases)
    shared = len(arm) >= 2 * of_cases.shape[1]
    periods = late[:, None] - 0.5 if np.ptp(late) else np.empty((len(late), 0))
    others = orthonormal(np.hstack([np.ones((len(arm), 1)), of_coders, periods, *([of_cases] if shared else [])]))
    own = arm - others @ (others.T @ arm)
    if own @ own < 1e-6 * len(arm):
        return None
    weights = own / (own @ own)
    basis = np.hstack([others, own[:, None] / np.linalg.norm(own)])
    return Crossed(weights, basis, [of_coders * arm[:, None], of_cases * arm[:, None] if shared else of_cases])
