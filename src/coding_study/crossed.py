"""Estimates means and effects where every coder reads many cases, with intervals that count both as drawn at random.

A reading differs from the next by its coder, its case and by chance, and so does what assistance changes. The
variance of each is found from sums of squares freed of fixed effects (MINQUE with equal weights: Rao 1971), and the
interval is Student's with Satterthwaite's degrees of freedom, of which few coders leave few.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

from src.display.tables import Estimate

Array = NDArray[np.float64]

SMALL = 1e-9
"""Of the largest singular value: below it a direction is none."""


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

    def estimates(self, values: Array) -> tuple[Array, Array, Array]:
        """Estimates from each column the value, its standard error and the degrees of freedom, [R] each.

        Args:
            values: of readings, [B, R].
        """
        inverse, spread = self._moments
        freed = values - self.basis @ (self.basis.T @ values)
        squares = np.stack([*(np.sum((load.T @ freed) ** 2, 0) for load in self._freed), np.sum(freed**2, 0)])
        variances = np.maximum(inverse @ squares, 0.0)
        variance = self._shares @ variances
        with np.errstate(divide="ignore", invalid="ignore"):
            freedom = 2 * variance**2 / np.einsum("ar,ab,br->r", variances, spread, variances)
        return self.weights @ values, np.sqrt(variance), freedom

    def interval(self, values: Array) -> Estimate:
        """Estimates from readings, [B], the value with its interval of 95 %; none where nothing differs."""
        value, error, freedom = (float(part[0]) for part in self.estimates(values[:, None]))
        reach = float(student.ppf(0.975, freedom)) * error if error > 0 else np.nan
        return Estimate(value, value - reach, value + reach)

    @cached_property
    def _freed(self) -> list[Array]:
        return [load - self.basis @ (self.basis.T @ load) for load in self.loads]

    @cached_property
    def _shares(self) -> Array:
        """Says how often the estimate's variance holds those of coders, cases and chance, [3]."""
        return np.array([*(np.sum((load.T @ self.weights) ** 2) for load in self.loads), self.weights @ self.weights])

    @cached_property
    def _moments(self) -> tuple[Array, Array]:
        """Computes what makes variances of sums of squares, and the spread of the estimate's variance, [3, 3] each."""
        span = orthonormal(np.hstack(self._freed))
        halves = [span.T @ load for load in self._freed]
        forms = np.stack([*(half @ half.T for half in halves), np.eye(span.shape[1])])
        rest = len(self.weights) - self.basis.shape[1] - span.shape[1]  # what neither coders nor cases move
        expected = np.einsum("kij,lji->kl", forms, forms)
        expected[2, 2] += rest
        inverse = np.linalg.pinv(expected, hermitian=True)
        counted = inverse @ self._shares
        products = np.tensordot(counted, forms, 1) @ forms
        spread = 2 * np.einsum("aij,bji->ab", products, products)
        spread[2, 2] += 2 * rest * counted[2] ** 2
        return inverse, spread


def orthonormal(columns: Array) -> Array:
    """Finds an orthonormal basis of what columns span, [B, rank]."""
    left, sizes, _ = np.linalg.svd(columns, full_matrices=False)
    return left[:, sizes > SMALL * max(sizes[0], SMALL)]


def members(names: Sequence[object]) -> Array:
    """Writes a column of ones and zeros for each name, [B, names].

    >>> members(["b", "a", "b"]).tolist()
    [[0.0, 1.0], [1.0, 0.0], [0.0, 1.0]]
    """
    _, index = np.unique(np.array(names, dtype=str), return_inverse=True)
    return np.eye(index.max() + 1)[index]


def mean_of(coders: Sequence[object], cases: Sequence[object]) -> Crossed:
    """Prepares the mean of readings.

    Args:
        coders: who read, [B].
        cases: what was read, [B].
    """
    count = len(coders)
    return Crossed(
        np.full(count, 1 / count), np.full((count, 1), count**-0.5), [members(coders), members(cases)]
    )


def effect_of(coders: Sequence[object], cases: Sequence[object], second: Array, late: Array) -> Crossed | None:
    """Prepares the difference between two arms, freed of coders, cases and the period; None where it cannot be told.

    Cases are taken out where they are read twice or more on average; else a case adds to chance alone.

    Args:
        coders: who read, [B].
        cases: what was read, [B].
        second: 1 for readings in the second arm, else 0, [B].
        late: 1 for readings in the second period, else 0, [B].
    """
    arm, of_coders, of_cases = second - 0.5, members(coders), members(cases)
    shared = len(coders) >= 2 * of_cases.shape[1]
    periods = late[:, None] - 0.5 if np.ptp(late) else np.empty((len(late), 0))
    others = orthonormal(np.hstack([np.ones((len(arm), 1)), of_coders, periods, *([of_cases] if shared else [])]))
    own = arm - others @ (others.T @ arm)
    if own @ own < 1e-6 * len(arm):
        return None
    weights = own / (own @ own)
    basis = np.hstack([others, own[:, None] / np.linalg.norm(own)])
    return Crossed(weights, basis, [of_coders * arm[:, None], of_cases * arm[:, None] if shared else of_cases])
