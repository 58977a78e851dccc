"""Pairs neighbouring cells of a grid, one step apart on one axis, and tests their differences."""

import dataclasses
import math
from collections.abc import Iterator
from itertools import combinations, pairwise

import numpy as np

from src.display.catalog import is_loss
from src.metrics.intervals import holm
from src.scaling_analysis.combined_interval import combined_interval, seed_error
from src.scaling_analysis.grid import Grid, sort_key
from src.scaling_analysis.resampling import Resampler
from src.scaling_analysis.result import Difference


def neighbours(grid: Grid) -> Iterator[tuple[str, int, int]]:
    """Yields the axis, the larger and the smaller of every two neighbours, by their places in `grid.cells`.

    Along a number they are next to each other among the cells that are there; of names, such as label schemes, every
    two are neighbours, the later one in the alphabet first.
    """
    for axis in grid.free:
        for line in grid.slices([axis]):
            ordered = sorted(line, key=lambda index: sort_key(grid.coordinates(index)[axis]))
            numbers = axis == "params" or all(isinstance(grid.coordinates(index)[axis], int | float) for index in line)
            steps = pairwise(ordered) if numbers else combinations(ordered, 2)
            yield from ((axis, larger, smaller) for smaller, larger in steps)


def differences(grid: Grid, noise: Resampler, metrics: tuple[str, ...]) -> tuple[Difference, ...]:
    """Compares every metric between neighbours, the larger less the smaller, and corrects p over each axis (Holm).

    Losses are not compared between label schemes, each of which adds up other heads.
    """
    compared = []
    pairs = list(neighbours(grid))
    for metric in metrics:
        for axis in [name for name in grid.free if not (name == "labels" and is_loss(metric))]:
            rows = [
                paired_difference(grid, noise, metric, *pair)
                for pair in pairs
                if pair[0] == axis and all(metric in grid.cells[index].metrics for index in pair[1:])
            ]
            tested = [row for row in rows if math.isfinite(row.p)]
            corrected = dict(zip(map(id, tested), holm([row.p for row in tested]), strict=True))
            compared += [dataclasses.replace(row, p_holm=corrected.get(id(row), math.nan)) for row in rows]
    return tuple(compared)


def paired_difference(grid: Grid, noise: Resampler, metric: str, axis: str, larger: int, smaller: int) -> Difference:
    """Estimates a metric of one cell less that of another, paired by seed where they share some, and by patient."""
    above, below = (grid.cells[index].metrics[metric].values for index in (larger, smaller))
    shared = sorted(above.keys() & below.keys())
    if shared:
        apart = [above[seed] - below[seed] for seed in shared]
        value, error, freedom = float(np.mean(apart)), seed_error(apart), len(apart) - 1
    else:
        sides = [list(values.values()) for values in (above, below)]
        value = float(np.mean(sides[0]) - np.mean(sides[1]))
        error, freedom = math.hypot(*map(seed_error, sides)), min(map(len, sides)) - 1
    used = shared or [*above, *below]
    patients, method = noise.paired(larger, smaller, metric, used)
    combined = combined_interval(value, error, freedom, patients, share=False)
    ground, intervals = grid.cells[larger].ground, (combined.seeds, combined.patients, combined.both)
    return Difference(
        ground, metric, axis, larger, smaller, len(used), value, *intervals, combined.p, combined.p, method
    )
