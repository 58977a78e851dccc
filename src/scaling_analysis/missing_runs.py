"""Names the runs that a grid's product has and that were not run."""

from collections.abc import Sequence
from itertools import product
from math import prod
from typing import Any

from src.display.catalog import typed
from src.scaling_analysis.grid import Grid, sort_key
from src.scaling_analysis.result import Missing

NO_RUN = "no run"

MOST = 4
"""Runs of the product for each that is there; beyond, the runs are no grid."""


def missing_runs(grid: Grid, unfinished: Sequence[Missing]) -> tuple[list[Missing], list[str]]:
    """Finds the holes of each ground's product of sizes, lengths, ranks and so on with the seeds; baselines have none.

    Args:
        grid: what was run.
        unfinished: runs that are known to be missing, which no hole repeats.

    Returns:
        The holes; and what a reader must know.
    """
    listed = {run.words for run in unfinished}
    missing: list[Missing] = []
    notes = []
    for ground in range(len(grid.grounds)):
        indices = [index for index, cell in enumerate(grid.cells) if cell.ground == ground and cell.axes["params"]]
        have = {(*_named(grid, index), run.axes["seed"]) for index in indices for run in grid.members[index]}
        if not have:
            continue
        values = [sorted(set(column), key=sort_key) for column in zip(*sorted(have, key=repr), strict=True)]
        size = prod(map(len, values))
        if size > MOST * len(have):
            notes.append(f"the runs are no grid: {len(have):,} of the {size:,} that their axes span; no hole is named")
            continue
        for point in product(*values):
            words = typed(zip((*grid.free, "seed"), point, strict=True))
            if point not in have and words not in listed:
                missing.append(Missing("", words, NO_RUN))
    return missing, notes


def _named(grid: Grid, index: int) -> list[Any]:
    return [value[1] if axis == "params" else value for axis, value in grid.coordinates(index).items()]
