"""Decides which fits a grid allows, what they say of cells that were not run, and how they miss the largest cell."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from src.display.catalog import FLOP, GRID, MODEL, SIZE, axis_of, is_loss
from src.display.published import PAPER_LENGTHS, PAPER_MODELS
from src.scaling_analysis.grid import Grid
from src.scaling_analysis.power_law import EXPONENTS, curve, fit
from src.scaling_analysis.resampling import Resampler
from src.scaling_analysis.result import Fit, HeldOut, Over, Parameter, Prediction

BOTH: Over = ("params", "max_len")
OVER: Mapping[Over, Over] = {**{(axis.key,): (axis.key,) for axis in GRID}, (FLOP,): BOTH, BOTH: BOTH}
"""What a fit is over, and the axes along which its cells may differ."""

FEWEST = {1: 3, 2: 6}
"""Cells of a fit over one or two things."""

NAMES = ("a", "b", "c", "d", "f")


def fits(grid: Grid, noise: Resampler, metrics: Sequence[str]) -> tuple[Fit, ...]:
    """Fits along each of `OVER`, for every setting of the other axes, wherever the points suffice."""
    lines = {over: grid.slices(along) for over, along in OVER.items()}
    return tuple(
        fitted(grid, noise, metric, over, cells)
        for metric in metrics
        for over in OVER
        for line in lines[over]
        if enough(grid, over, cells := [index for index in line if metric in grid.cells[index].metrics])
    )


def enough(grid: Grid, over: Over, cells: Sequence[int]) -> bool:
    """Asks for at least three different points along one thing, or six cells of two sizes and two lengths.

    Six whose length follows from their size allow no fit over both: two laws of one number cannot be told apart.
    """
    points = _points(grid, over, cells)
    if len(cells) < FEWEST[len(over)] or not np.isfinite(points).all() or not (points > 0).all():
        return False
    if min(len(set(column)) for column in points.T) < 4 - len(over):
        return False
    logs = np.log(points)
    return bool(np.linalg.matrix_rank(logs - logs.mean(0), tol=1e-6) == len(over))


def fitted(grid: Grid, noise: Resampler, metric: str, over: Over, cells: Sequence[int]) -> Fit:
    """Fits a law through some cells, and through every draw of them.

    Where the points lie farther from the law than their own uncertainty tells, every draw also moves each of them by as
    much more: the law is wrong, and its band says so.
    """
    points, drawn = _points(grid, over, cells), noise.drawn(cells, metric)
    # Around their geometric mean points are about 1, whatever their unit: all terms are then of one size.
    reference = np.exp(np.log(points).mean(0))
    falls, freedom = is_loss(metric), len(cells) - (1 + 2 * len(over))
    # A draw may lie beyond a perfect score, where the law, a sum of terms of at least 0, cannot follow.
    z = np.maximum(drawn if falls else 1 - drawn, 0)
    best = fit(points / reference, z[:1])
    residuals = curve(best, points / reference)[0] - z[0]
    misfit = _misfit(residuals, drawn, freedom)
    # Seeded by the cells, so that a fit gives the same numbers whatever others are made before it.
    moved = z[1:] + misfit * np.random.default_rng([noise.seed, *cells]).standard_normal(z[1:].shape)
    numbers = np.vstack([best, fit(points / reference, np.maximum(moved, 0), first=False)])
    return Fit(
        ground=grid.cells[cells[0]].ground,
        metric=metric,
        over=over,
        fixed={
            MODEL if axis == SIZE else axis: value[1] if axis == SIZE else value
            for axis, value in grid.coordinates(cells[0]).items()
            if axis not in OVER[over]
        },
        cells=tuple(cells),
        reference=tuple(float(x0) for x0 in reference),
        parameters=_parameters(numbers, falls),
        freedom=freedom,
        residual=float(np.sqrt((residuals**2).mean())),
        misfit=misfit,
        falls=falls,
        how=noise.method(cells, metric),
        seeds_known=noise.seeds_known(cells, metric),
        draws=numbers[1:],
        best=numbers[0],
    )


def _misfit(residuals: NDArray[np.float64], drawn: NDArray[np.float64], freedom: int) -> float:
    """Estimates the standard deviation of points around their law beyond their own; 0 where none can be seen.

    What moves all points alike is no distance from a law, which moves with them.
    """
    if freedom < 1:
        return 0.0
    apart = drawn[1:] - drawn[1:].mean(1, keepdims=True)
    # n / (n - 1), as the mean of each draw has taken one of its n points' freedom.
    own = apart.var(0).mean() * len(residuals) / (len(residuals) - 1)
    return float(np.sqrt(max(0.0, (residuals**2).sum() / freedom - own)))


def _points(grid: Grid, over: Over, cells: Sequence[int]) -> NDArray[np.float64]:
    def value(index: int, name: str) -> float:
        return float(grid.cells[index].numbers[FLOP] if name == FLOP else grid.cells[index].axes[name])

    return np.array([[value(index, name) for name in over] for index in cells], float).reshape(-1, len(over))


def _parameters(numbers: NDArray[np.float64], falls: bool) -> dict[str, Parameter]:
    """Joins each number with its interval, and says whether the points determine it.

    They do not where the interval reaches a bound of the fit. Nor do they determine `a`, the law's end, where they
    leave an exponent open.
    """
    parameters = {}
    for name, column in zip(NAMES, numbers.T, strict=False):
        low, high = (float(edge) for edge in np.quantile(column[1:], (0.025, 0.975)))
        value = float(column[0])
        # The fit itself may lie outside of its draws' quantiles, and an interval must hold its value.
        low, high = min(low, value), max(high, value)
        inside = low > 1e-9
        if name in ("c", "f"):
            inside = low > EXPONENTS[0] * 1.01 and high < EXPONENTS[1] * 0.99
        if name == "a" and not falls:
            value, low, high = 1 - value, 1 - high, 1 - low
        parameters[name] = Parameter(value, low, high, inside)
    exponents_identified = all(parameters[name].identified for name in parameters if name in ("c", "f"))
    return parameters | {
        "a": dataclasses.replace(parameters["a"], identified=parameters["a"].identified and exponents_identified)
    }


def predictions(grid: Grid, laws: Sequence[Fit], seed: int) -> tuple[Prediction, ...]:
    """Predicts from each fit the next size, length or rank, the grid's holes, and the paper's cells."""
    return tuple(
        Prediction(index, law.metric, axes, why, *_predicted(law, point, np.random.default_rng([seed, index])))
        for index, law in enumerate(laws)
        if law.over != (FLOP,)
        for point, why, axes in _unmeasured_points(grid, law)
    )


def _predicted(law: Fit, point: Sequence[float], dice: np.random.Generator) -> tuple[float, float, float]:
    """Predicts the value of a cell, which may lie as far from the law as the known cells do; with low and high."""
    drawn = law.drawn_at([point])[:, 0]
    low, high = np.quantile(drawn[1:] + law.misfit * dice.standard_normal(len(drawn) - 1), (0.025, 0.975))
    return float(drawn[0]), float(min(low, drawn[0])), float(max(high, drawn[0]))


def _unmeasured_points(grid: Grid, law: Fit) -> Iterator[tuple[tuple[float, ...], str, dict[str, Any]]]:
    have = {tuple(map(float, point)) for point in _points(grid, law.over, law.cells)}
    values = [sorted({point[index] for point in have}) for index in range(len(law.over))]
    ahead = [_next(ladder) for ladder in values]
    last = [ladder[-1] for ladder in values]
    reasons: dict[tuple[float, ...], str] = {}
    if len(law.over) == 1:
        reasons[(ahead[0],)] = f"next {axis_of(law.over[0]).unit}"
    else:
        reasons[ahead[0], last[1]], reasons[last[0], ahead[1]] = "next size", "next length"
        reasons[ahead[0], ahead[1]] = "next size and length"
        reasons |= {point: "a hole of the grid" for point in product(*values) if point not in have}
        models = {float(grid.cells[index].axes["params"]): grid.cells[index].axes["model"] for index in law.cells}
        sizes = [size for size, model in models.items() if model in PAPER_MODELS]
        for size, length in product(sizes, PAPER_LENGTHS):
            if (size, length) not in have:
                reasons.setdefault((size, float(length)), "the paper's")
    for point, why in reasons.items():
        yield point, why, {**law.fixed, **dict(zip(law.over, point, strict=True))}


def _next(values: Sequence[float]) -> float:
    """Extends a ladder by one step, as far from the last as that from the one before, in proportion.

    >>> _next([96.0, 192.0, 384.0])
    768.0
    """
    return float(round(values[-1] * values[-1] / values[-2]))


def held_out(grid: Grid, noise: Resampler, metrics: Sequence[str]) -> tuple[HeldOut, ...]:
    """Predicts the largest cell of every line of cells by a fit through the others.

    Over size and context the cell of the largest size and the longest length; where no line allows that, over one of
    them the last, where at least three are left.
    """
    for overs in ((BOTH,), (("params",), ("max_len",))):
        predicted = [
            _held(grid, noise, metric, over, *last)
            for metric, over in product(metrics, overs)
            for line in grid.slices(OVER[over])
            if (last := _last(grid, over, [index for index in line if metric in grid.cells[index].metrics]))
        ]
        if predicted:
            return tuple(predicted)
    return ()


def _last(grid: Grid, over: Over, cells: Sequence[int]) -> tuple[int, list[int]] | None:
    """Separates the largest of some cells from the rest; None where there is none or the rest allows no fit."""
    if not cells:
        return None
    points = _points(grid, over, cells)
    last = [index for index, point in zip(cells, points, strict=True) if (point == points.max(0)).all()]
    rest = [index for index in cells if index not in last]
    return (last[0], rest) if len(last) == 1 and enough(grid, over, rest) else None


def _held(grid: Grid, noise: Resampler, metric: str, over: Over, out: int, rest: Sequence[int]) -> HeldOut:
    law = fitted(grid, noise, metric, over, rest)
    point = _points(grid, over, [out])
    curves = law.drawn_at(point)[:, 0]
    drawn = noise.drawn([*rest, out], metric)[:, -1]
    scatter = law.misfit * np.random.default_rng([noise.seed, out]).standard_normal(len(curves) - 1)
    # Draw by draw, so that what moves all cells alike, as other patients do, moves prediction and cell together.
    low, high = np.quantile(curves[1:] + scatter - (drawn[1:] - drawn[0]), (0.025, 0.975))
    means = [grid.cells[index].metrics[metric].mean for index in rest]
    return HeldOut(
        ground=law.ground,
        metric=metric,
        over=over,
        fixed=law.fixed,
        cell=out,
        points=len(rest),
        predicted=float(curves[0]),
        low=float(low),
        high=float(high),
        measured=grid.cells[out].metrics[metric].mean,
        no_growth=min(means) if law.falls else max(means),
    )
