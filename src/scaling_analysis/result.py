"""Holds what a grid of runs says about size, context, rank and compute: cells, differences, fits, predictions, holes.

`src.scaling_analysis.analysis.analyse` makes a `Scaling` of runs; tables, reports and dashboards draw it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from src.scaling_analysis.power_law import curve

Over = tuple[str, ...]
"""What a fit is over: `("params",)`, `("max_len",)`, `("lora_r",)`, `("flop",)` or `("params", "max_len")`."""

How = Literal["predictions", "recorded"]
"""`predictions`: the same random halves of the test's patients for all runs, from their predictions. `recorded`: each
run's own interval; differences as if the runs had been tested on different patients, which makes them too uncertain,
and fits as if half of the variance were common to all runs."""


@dataclass(frozen=True)
class Interval:
    """Holds an interval of 95 %; nan to nan where there is none."""

    low: float
    high: float


@dataclass(frozen=True)
class DatasetKey:
    """Names what runs must share to be compared at all: cells of different grounds never are."""

    cohort: str
    """Fingerprint."""
    protocol: str
    train: int
    """Training notes."""
    test: int
    """Test notes."""


@dataclass(frozen=True)
class Measured:
    """Holds one metric of one cell: the mean over its seeds, and three intervals for it."""

    mean: float
    values: Mapping[int, float]
    """By seed."""
    seeds: Interval
    """What other seeds would give on these test patients, by Student's t; nan for one seed."""
    patients: Interval
    """What other test patients would give with these seeds, from the runs' recorded intervals; nan where there are
    none, as for a loss."""
    both: Interval
    """Both: the variances added, with Satterthwaite's degrees of freedom; where one is not known, the other alone."""

    @property
    def low(self) -> float:
        """Is the lower edge of `both`."""
        return self.both.low

    @property
    def high(self) -> float:
        """Is the upper edge of `both`."""
        return self.both.high


@dataclass(frozen=True)
class Cell:
    """Runs that share all axes but the seed."""

    ground: int
    """Its place in `Scaling.grounds`."""
    axes: Mapping[str, Any]
    """As in the records, without `seed`."""
    runs: tuple[str, ...]
    """Names, in the order of the seeds."""
    metrics: Mapping[str, Measured]
    """By the records' names, such as `test/accuracy`; and of the curves `val/loss` (at the step whose weights were
    tested) and `train/loss` (mean of the last tenth of the steps)."""
    numbers: Mapping[str, float]
    """Means over seeds: `params`, `trained` (parameters), `tokens_seen`, `flop` (see `FLOP`), and seconds as
    `training_s` and `total_s`."""

    @property
    def seeds(self) -> int:
        """Counts the runs, one a seed."""
        return len(self.runs)


FLOP = "FLOP = tokens seen x (4 x base parameters + 6 x trained parameters)"
"""Of training: a frozen weight costs 2 a token forward and 2 backward, a trained one 2 and 4. The table of the input
words is counted as a weight, and attention's products are not: the 6N of the scaling literature for a frozen base."""


@dataclass(frozen=True)
class Difference:
    """Is a metric of `one` less that of `other`, its neighbour one step below on one axis, paired by seed."""

    ground: int
    metric: str
    axis: str
    """`params`, `max_len`, `lora_r`, `labels`, or another axis that the runs vary."""
    one: int
    """Place in `Scaling.cells`; the larger size, the longer context."""
    other: int
    pairs: int
    """Seeds that both have; all seeds of both where they share none, which is not paired."""
    value: float
    seeds: Interval
    patients: Interval
    both: Interval
    p: float
    """Chance of so large a difference were there none, two-sided, from `both`."""
    p_holm: float
    """Corrected over the comparisons of this metric along this axis (Holm 1979)."""
    how: How


@dataclass(frozen=True)
class Parameter:
    """Holds one fitted number with its interval of 95 %."""

    value: float
    low: float
    high: float
    identified: bool
    """The interval lies inside the bounds of the fit; else the points do not tell this number."""


@dataclass(frozen=True, eq=False)
class Fit:
    """Holds a saturating power law through the means of some cells.

    Of a metric, y = a - b (x / x0)^-c, over size and context y = a - b (N / N0)^-c - d (L / L0)^-f; of a loss with plus
    for minus. Bounds: c and f within [0.02, 2], b and d at least 0, a at most 1 for a metric, at least 0 for a loss.
    """

    ground: int
    metric: str
    over: Over
    fixed: Mapping[str, Any]
    """Axes that are the same in all of its cells and vary among those of other fits."""
    cells: tuple[int, ...]
    """Places in `Scaling.cells`."""
    reference: tuple[float, ...]
    """x0 of each of `over`: the geometric mean of the points."""
    parameters: Mapping[str, Parameter]
    """`a`, `b`, `c`, and `d`, `f`."""
    freedom: int
    """Points less parameters: with 0 the curve passes through them whatever they are."""
    residual: float
    """Root mean square of what the fit leaves of the points."""
    misfit: float
    """Standard deviation of the points around the law beyond their own uncertainty: how wrong the law is, as far as the
    points can tell (with a `freedom` of 0 they cannot); its intervals and band hold it."""
    falls: bool
    """The metric is a loss."""
    how: How
    seeds_known: bool
    """Some cell has two seeds, so that the intervals hold the spread between seeds."""
    draws: NDArray[np.float64] = field(repr=False)
    """[R, 3 or 5]: the resampled fits' (e, b, c) or (e, b, c, d, f), with e = 1 - a for a metric, a for a loss."""
    best: NDArray[np.float64] = field(repr=False)
    """[3 or 5]: the same of the fit itself."""

    @property
    def identified(self) -> bool:
        """Says whether the points determine every parameter."""
        return all(parameter.identified for parameter in self.parameters.values())

    def at(self, points: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Draws the curve with its band of 95 %.

        Args:
            points: [P], or [P, 2] for a fit over two.

        Returns:
            Value, low and high, [P] each.
        """
        drawn = self.drawn_at(points)
        low, high = np.quantile(drawn[1:], (0.025, 0.975), axis=0)
        return drawn[0], low, high

    def drawn_at(self, points: ArrayLike) -> NDArray[np.float64]:
        """Evaluates the curve, then that of each draw, at `points`, [1 + R, P]."""
        scaled = np.asarray(points, float).reshape(-1, len(self.over)) / np.asarray(self.reference)
        values = curve(np.vstack([self.best, self.draws]), scaled)
        return values if self.falls else 1 - values


@dataclass(frozen=True)
class Prediction:
    """Holds what a fit says of a cell that was not run."""

    fit: int
    """Place in `Scaling.fits`."""
    metric: str
    at: Mapping[str, float]
    """`params`, `max_len`, ..., as far as the fit is over them, and the rest of the cell's axes."""
    why: str
    """`next size`, `next length`, `next size and length`, `next rank`, `a hole of the grid`, or `the paper's`."""
    value: float
    low: float
    high: float
    """For the mean of many seeds; with the fit's `misfit`."""


@dataclass(frozen=True)
class HeldOut:
    """Compares the largest cell with what a fit through the others predicts for it."""

    ground: int
    metric: str
    over: Over
    fixed: Mapping[str, Any]
    cell: int
    """Place in `Scaling.cells`."""
    points: int
    """Cells that the fit had."""
    predicted: float
    low: float
    high: float
    """The interval is for the mean of as many seeds as the cell has: the uncertainty of fit, misfit and seeds."""
    measured: float
    no_growth: float
    """The best of the other cells: what saying "it gets no better" would have predicted."""

    @property
    def error(self) -> float:
        """Is the predicted value less the measured one."""
        return self.predicted - self.measured


@dataclass(frozen=True)
class Missing:
    """Names a run that was asked for, or that the grid's product has, and that is not finished."""

    name: str
    """Of its folder; empty for a hole of the product."""
    words: str
    """What tells it apart, as typed: `model=nano max_len=96 seed=2`."""
    standing: str
    """`running`, `failed`, ...; `no run` for a hole of the product."""


@dataclass(frozen=True, eq=False)
class Scaling:
    """Holds all that the analysis of some runs gives."""

    grounds: tuple[DatasetKey, ...]
    cells: tuple[Cell, ...]
    """By ground, then size, context, rank and the rest."""
    varied: tuple[str, ...]
    """The axes in which cells of one ground differ, `seed` apart; `model` goes with `params`."""
    differences: tuple[Difference, ...]
    fits: tuple[Fit, ...]
    predictions: tuple[Prediction, ...]
    held_out: tuple[HeldOut, ...]
    missing: tuple[Missing, ...]
    notes: tuple[str, ...]
    """What a reader must know: which intervals are which, what was left out and why."""
    seed: int
    """Of the resampling."""
    apr: bool = False
    """All runs are of APR-DRGs."""

    def fits_of(self, metric: str, over: Over) -> list[Fit]:
        """Lists the fits of one metric over one thing."""
        return [fit for fit in self.fits if fit.metric == metric and fit.over == over]
