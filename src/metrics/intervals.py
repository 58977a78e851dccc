"""Standard errors, intervals and paired differences of any metric are estimated from random parts of the patients.

What an interval is for: the metric's mean over test sets of this size, drawn from the same patients' population
and scored by the same model. A long tail of rare DRGs makes the plain bootstrap fail there. A resample repeats
notes, so that a DRG of one note is right or wrong in all its copies: its spread is missing from the standard
error, and its weight from the mean, and percentiles are shifted. Here patients are drawn without repetition.
Two random halves of the patients are two independent test sets of half the size, so that half their squared
difference has, whatever the metric, the variance at half the size as its mean; quarters give that at a quarter
(Politis and Romano 1994, "Large sample confidence regions based on subsamples"). The ratio of the two carries
the variance on to the whole: 1/2 for a plain mean, more for a mean over rare DRGs.
`python -m src.benchmarks.coverage` shows how often each kind of interval holds what it should.
"""

import math
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from src.metrics.weighted import WeightedMetric, Weights

ROUNDS = 1_000
"""Random divisions into quarters; the standard error is then exact to about 5 %."""

AT_ONCE = 50
"""Divisions in memory at a time: [200, B] weights."""

FEWEST = 16
"""Patients below which no standard error is given."""

CONFIDENCE = 0.95
Z = NormalDist().inv_cdf(0.5 + CONFIDENCE / 2)


@dataclass(frozen=True)
class Estimate:
    """Holds a metric with its interval of 95 %; low and high are nan where there are too few patients."""

    value: float
    error: float
    """Standard error."""
    low: float
    high: float


@dataclass(frozen=True)
class Difference(Estimate):
    """Holds a metric of one run less that of another, and the chance of so large a difference were there none."""

    p: float


@dataclass(frozen=True, eq=False)
class SubsampledMetric:
    """Holds one metric over a test set and its random parts; the difference of two over the same parts is one too."""

    whole: float
    halves: NDArray[np.float64]
    """[rounds, 2]."""
    quarters: NDArray[np.float64]
    """[rounds, 4]."""

    def __sub__(self, other: "SubsampledMetric") -> "SubsampledMetric":
        return SubsampledMetric(self.whole - other.whole, self.halves - other.halves, self.quarters - other.quarters)

    @property
    def error(self) -> float:
        """Estimates the standard error at the whole size; nan where the parts have none."""
        if not len(self.halves) or not np.isfinite(self.whole):
            return float("nan")
        half, quarter = (float(parts.var(1, ddof=1).mean()) for parts in (self.halves, self.quarters))
        # No variance falls faster than with the number of patients, and none rises with it.
        return float(np.sqrt(half * (np.clip(half / quarter, 0.5, 1.0) if quarter > 0 else 0.5)))


def mean_of(parts: Sequence[SubsampledMetric]) -> SubsampledMetric:
    """Averages one metric of several runs over the same parts."""
    halves, quarters = (np.mean([part.halves for part in parts], 0), np.mean([part.quarters for part in parts], 0))
    return SubsampledMetric(float(np.mean([part.whole for part in parts])), halves, quarters)


def subsample(
    tallies: Sequence[WeightedMetric], patients: NDArray[np.int64], rounds: int = ROUNDS, seed: int = 0
) -> dict[str, SubsampledMetric]:
    """Measures every metric of a run over the whole test set and its random halves and quarters.

    The parts depend on patients, rounds and seed alone: those of two runs on one test set are the same.

    Args:
        tallies: the run's metrics.
        patients: [B], the patient of each note.
        rounds: random divisions.
        seed: of their choice.
    """
    whole = _over(tallies, np.ones((1, len(patients))))
    halves: dict[str, list[NDArray[np.float64]]] = {name: [] for name in whole}
    quarters: dict[str, list[NDArray[np.float64]]] = {name: [] for name in whole}
    for weights in _quarters(patients, rounds, seed):
        # Two neighbouring quarters make a half, so that both sizes come from one draw.
        two = weights.reshape(-1, 2, len(patients)).sum(1)
        for name, values in _over(tallies, weights).items():
            quarters[name].append(values.reshape(-1, 4))
        for name, values in _over(tallies, two).items():
            halves[name].append(values.reshape(-1, 2))
    return {
        name: SubsampledMetric(float(value[0]), _stacked(halves[name], 2), _stacked(quarters[name], 4))
        for name, value in whole.items()
    }


def estimates(parts: Mapping[str, SubsampledMetric], patients: int) -> dict[str, Estimate]:
    """Estimates the interval of each metric, all of which are from 0 to 1."""
    return {name: estimate(metric.whole, metric.error, patients) for name, metric in parts.items()}


def estimate(value: float, error: float, patients: int) -> Estimate:
    """Estimates the interval of a share: symmetric in log-odds, so that it stays between 0 and 1.

    A metric of exactly 0 or 1 has no spread to measure: its interval is Wilson's for as many patients.

    >>> interval = estimate(0.9, 0.03, 100)
    >>> round(interval.low, 3), round(interval.high, 3)
    (0.824, 0.945)
    >>> round(estimate(1.0, 0.0, 10).low, 3)
    0.722
    """
    if not np.isfinite(error):
        return Estimate(value, error, float("nan"), float("nan"))
    if value in (0.0, 1.0):
        edge = Z * Z / (patients + Z * Z)
        return Estimate(value, error, *((0.0, edge) if value == 0.0 else (1 - edge, 1.0)))
    # The delta method: the slope of the log-odds is 1 / (value (1 - value)).
    middle, reach = np.log(value / (1 - value)), Z * error / (value * (1 - value))
    low, high = (float(1 / (1 + np.exp(-middle + sign * reach))) for sign in (1, -1))
    return Estimate(value, error, low, high)


def difference(first: SubsampledMetric, second: SubsampledMetric) -> Difference:
    """Subtracts the second run's metric from the first's on the same notes; p is two-sided, by the normal."""
    parts = first - second
    error, value = parts.error, parts.whole
    if not np.isfinite(error):
        return Difference(value, error, float("nan"), float("nan"), float("nan"))
    return Difference(value, error, value - Z * error, value + Z * error, far_from_nothing(value, error))


def far_from_nothing(value: float, error: float) -> float:
    """Computes the chance of a value as large, to either side, were its mean 0 and its standard error `error`.

    >>> round(far_from_nothing(-1.96, 1.0), 3)
    0.05
    """
    far = abs(value) / error if error > 0 else (0.0 if value == 0 else np.inf)
    return float(2 * NormalDist().cdf(-far))


def holm(p: Sequence[float]) -> list[float]:
    """Corrects the p-values of several comparisons, so that together they err as one does (Holm 1979).

    One that is not known, nan, is no comparison, and stays so.

    >>> [round(p, 3) for p in holm([0.01, 0.04, float("nan"), 0.03])]
    [0.03, 0.06, nan, 0.06]
    """
    corrected, largest = [math.nan] * len(p), 0.0
    known = sorted((index for index in range(len(p)) if not math.isnan(p[index])), key=lambda index: p[index])
    for rank, index in enumerate(known):
        largest = max(largest, min(1.0, (len(known) - rank) * p[index]))
        corrected[index] = largest
    return corrected


def _quarters(patients: NDArray[np.int64], rounds: int, seed: int) -> Iterable[Weights]:
    """Draws the weights of the four quarters of each division, [4 x divisions, B], some divisions at a time."""
    who, note = np.unique(patients, return_inverse=True)
    if len(who) < FEWEST:
        return
    # Seeded by the patients too: two runs on one test set get the same parts, which a paired difference needs.
    draw = np.random.default_rng([seed, zlib.crc32(np.ascontiguousarray(who).tobytes())])
    numbers = np.arange(len(who)) % 4  # sizes differ by one patient at most
    for start in range(0, rounds, AT_ONCE):
        count = min(AT_ONCE, rounds - start)
        # Patients are drawn, with all their notes: notes of one patient are not independent.
        quarter = draw.permuted(np.tile(numbers, (count, 1)), axis=1)[:, note]
        yield (quarter[:, None, :] == np.arange(4)[:, None]).reshape(4 * count, -1).astype(np.float32)


def _over(tallies: Sequence[WeightedMetric], weights: Weights) -> dict[str, NDArray[np.float64]]:
    return {name: values for tally in tallies for name, values in tally.over(weights).items()}


def _stacked(values: list[NDArray[np.float64]], width: int) -> NDArray[np.float64]:
    return np.concatenate(values) if values else np.empty((0, width))
