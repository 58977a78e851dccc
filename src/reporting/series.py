"""Decides what of an analysis is drawn: which cells make a line, and which fit belongs to it."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from src.display.catalog import GRID, HORIZON, SIZE, View, axis_of, metrics_of
from src.display.figure_style import short
from src.scaling_analysis.result import Cell, Fit, Measured, Scaling

METRICS = {key: metric.words for key, metric in metrics_of(View.FIGURES).items()}
"""The metrics that are drawn; the tables have more."""

MOST_LINES = 6
"""Lines of one picture."""

UPPER_BOUND = "codes_upper_bound"
"""The model that reads the codes from which the DRG is grouped: it is no system to be compared with."""

SERIES = {
    axis.key: tuple(line.key for line in GRID if line != axis and not line.adapters_only) for axis in GRID
}  # fmt: skip
"""A line for each value of these, in a picture against the first."""


@dataclass(frozen=True)
class Series:
    """Names cells that differ on one axis only, in its order."""

    name: str
    cells: tuple[int, ...]


@dataclass(frozen=True)
class Lines:
    """Holds the lines of one picture."""

    axis: str
    lines: tuple[Series, ...]
    rest: Mapping[str, Any]
    """Axes that vary in the runs, and are the same in this picture."""
    others: int
    """Cells that it does not show, because they differ in `rest`."""


def main_ground(scaling: Scaling) -> int:
    """Finds the ground with the most cells; the first of several."""
    counts = [sum(cell.ground == ground for cell in scaling.cells) for ground in range(len(scaling.grounds))]
    return counts.index(max(counts))


def drawn_cells(scaling: Scaling, metric: str) -> list[int]:
    """Lists the places of the main ground's cells that have a metric."""
    ground = main_ground(scaling)
    return [index for index, cell in enumerate(scaling.cells) if cell.ground == ground and metric in cell.metrics]


def tuned(scaling: Scaling, metric: str) -> list[int]:
    """Picks those of `drawn_cells` that are a base with adapters; the rest are baselines."""
    return [index for index in drawn_cells(scaling, metric) if scaling.cells[index].axes.get("params")]


def compared(scaling: Scaling, metric: str) -> list[int]:
    """Picks those of `drawn_cells` that are systems to be compared, which the upper bound is not."""
    return [index for index in drawn_cells(scaling, metric) if scaling.cells[index].axes["model"] != UPPER_BOUND]


def baselines(scaling: Scaling, metric: str) -> list[int]:
    """Picks those of `compared` that have no base."""
    return [index for index in compared(scaling, metric) if not scaling.cells[index].axes.get("params")]


def lines_along(scaling: Scaling, metric: str, axis: str) -> Lines | None:
    """Groups a metric's cells into lines along an axis; None where no two cells differ on it alone.

    Axes that are neither drawn along nor a line each are held at the values that the most cells share.
    """
    indices = tuned(scaling, metric)
    series = SERIES[axis]
    rest = [name for name in scaling.varied if name != axis and name not in series and name != "model"]
    groups: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for index in indices:
        groups[tuple(repr(scaling.cells[index].axes.get(name)) for name in rest)].append(index)
    candidates = []
    for group in groups.values():
        lines = [line for line in _lines(scaling, group, axis) if len(line.cells) > 1]
        if lines:
            best = max(scaling.cells[index].metrics[metric].mean for line in lines for index in line.cells)
            candidates.append((sum(len(line.cells) for line in lines), best, lines, group))
    if not candidates:
        return None
    # The most cells that can be drawn; of as many, the group of the best cell.
    _, _, lines, group = max(candidates, key=lambda candidate: candidate[:2])
    lines = sorted(lines, key=lambda line: -scaling.cells[line.cells[-1]].metrics[metric].mean)[:MOST_LINES]
    lines = [line for line in _lines(scaling, group, axis) if line in lines]
    fixed = {name: scaling.cells[group[0]].axes.get(name) for name in rest}
    return Lines(axis, tuple(lines), fixed, len(indices) - sum(len(line.cells) for line in lines))


def _lines(scaling: Scaling, group: Sequence[int], axis: str) -> list[Series]:
    by_series: dict[tuple[Any, ...], dict[Any, int]] = defaultdict(dict)
    for index in group:
        axes = scaling.cells[index].axes
        key = tuple((axes[name], axes["model"]) if name == "params" else axes[name] for name in SERIES[axis])
        by_series[key].setdefault(axes[axis], index)
    ordered = sorted(by_series.items(), key=lambda item: repr_key(item[0]))
    shown = [name for name in SERIES[axis] if len({repr(scaling.cells[index].axes[name]) for index in group}) > 1]
    return [
        Series(
            ", ".join(value_of(scaling.cells[next(iter(cells.values()))], name) for name in shown),
            tuple(index for _, index in sorted(cells.items())),
        )
        for _, cells in ordered
    ]


def repr_key(key: tuple[Any, ...]) -> tuple[Any, ...]:
    """Turns a key of numbers, texts and pairs into one that can be sorted."""
    return tuple(
        (0, element, "") if isinstance(element, int | float) else (1, 0, str(element)) for element in _flat(key)
    )


def _flat(key: tuple[Any, ...]) -> list[Any]:
    return [part for element in key for part in (_flat(element) if isinstance(element, tuple) else [element])]


def value_of(cell: Cell, axis: str) -> str:
    """Says a cell's value on an axis in words."""
    value = cell.axes.get(axis)
    if axis == SIZE:
        return f"{cell.axes['model']} ({short(value)})" if value else str(cell.axes["model"])
    return axis_of(axis).in_words(value)


def name_of(scaling: Scaling, index: int) -> str:
    """Names a cell by its model and the axes in which the runs differ, and by its horizon before discharge."""
    horizon = scaling.cells[index].axes.get(HORIZON)
    early = [] if horizon in (None, axis_of(HORIZON).default) else [str(horizon)]
    return " ".join([setting_of(scaling, index), *early])


def setting_of(scaling: Scaling, index: int) -> str:
    """Names a cell by its model and the axes in which the runs of its cohort differ."""
    cell = scaling.cells[index]
    if not cell.axes.get("params"):
        return str(cell.axes["model"])
    words = [str(cell.axes["model"])]
    for axis in scaling.varied:
        if axis not in ("params", "model"):
            words.append(axis_of(axis).brief(cell.axes.get(axis)))
    if "labels" not in scaling.varied and len(words) == 1:
        words.append(str(cell.axes.get("labels")))
    return " ".join(words)


def fit_of(scaling: Scaling, metric: str, axis: str, line: Series) -> Fit | None:
    """Finds the fit along a line: over size and context together where there is one, else over the axis alone."""
    for fit in scaling.fits:
        if fit.metric == metric and axis in fit.over and len(fit.over) > 1 and set(line.cells) <= set(fit.cells):
            return fit
    for fit in scaling.fits:
        if fit.metric == metric and fit.over == (axis,) and set(fit.cells) == set(line.cells):
            return fit
    return None


def bars(measured: Sequence[Measured]) -> list[list[float]]:
    """Measures error bars as matplotlib takes them: how far intervals reach below and above, 0 where there is none."""
    reach = [(point.mean - point.low, point.high - point.mean) for point in measured]
    return [[low if low == low else 0.0 for low, _ in reach], [high if high == high else 0.0 for _, high in reach]]


def intervals_in_words(cells: Sequence[Cell], metric: str) -> str:
    """Says which interval the cells' bars are."""
    measured = [cell.metrics[metric] for cell in cells]
    by_seeds = sum(point.seeds.low == point.seeds.low for point in measured)
    by_patients = sum(point.patients.low == point.patients.low for point in measured)
    if by_seeds and by_patients:
        exception = "" if by_seeds == len(measured) else "; over patients alone where a cell has one seed"
        return f"intervals of 95 % over seeds and test patients{exception}"
    if by_patients:
        return "intervals of 95 % over test patients, of one seed each"
    return "intervals of 95 % over seeds" if by_seeds else "no interval is known"


def upper(text: str) -> str:
    """Capitalizes the first letter of a text that begins a line, and leaves the rest.

    >>> upper("macro-F1")
    'Macro-F1'
    """
    return text[:1].upper() + text[1:]
