"""Draws a grid: a metric against size, context and rank with fits, and a heat map of size by context."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from src.display.catalog import GRID, axis_of
from src.display.figure_style import GREY, INK, STYLES, ReportFigure, legend, panel, short, style, ticks
from src.display.published import PUBLISHED
from src.reporting.series import (
    METRICS,
    SERIES,
    Lines,
    Series,
    bars,
    baselines,
    fit_of,
    intervals_in_words,
    lines_along,
    upper,
)
from src.scaling_analysis.result import Cell, Fit, Scaling


def scaling_drawings(scaling: Scaling) -> list[ReportFigure]:
    """Draws a picture for each metric and each axis along which cells differ, and the heat maps."""
    drawings = []
    for axis in GRID:
        for metric in METRICS:
            lines = lines_along(scaling, metric, axis.key)
            if lines:
                drawings.append(_along(scaling, metric, lines))
    return drawings + [figure for metric in METRICS for figure in _heat(scaling, metric)]


def _along(scaling: Scaling, metric: str, lines: Lines) -> ReportFigure:
    figure, axes = panel()
    fits: list[Fit] = []
    values = [scaling.cells[index].axes[lines.axis] for line in lines.lines for index in line.cells]
    wide = float(np.log(max(values) / min(values)))
    for series, line in enumerate(lines.lines):
        fit = fit_of(scaling, metric, lines.axis, line)
        if fit:
            fits.append(fit)
            _band(axes, scaling, fit, lines.axis, line, series)
        # A shift on the logarithmic axis, or bars of lines that share an x would hide each other.
        dodge = np.exp(wide * 0.012 * (series - (len(lines.lines) - 1) / 2))
        _line(axes, scaling, metric, lines.axis, line, series, float(dodge), joined=fit is None)
    _baseline(axes, scaling, metric)
    _paper(axes, metric, lines, scaling)
    _dress(axes, scaling, metric, lines)
    names = {line.name: series for series, line in enumerate(lines.lines) if line.name}
    legend(figure, axes, columns=2 if len(SERIES[lines.axis]) > 1 else 3, lines=names)
    name = f"{metric.removeprefix('test/')}_by_{axis_of(lines.axis).name}"
    return ReportFigure(
        name, f"{upper(METRICS[metric])} by {axis_of(lines.axis).name}", _caption(scaling, metric, lines, fits), figure
    )


def _line(
    axes: Any, scaling: Scaling, metric: str, axis: str, line: Series, series: int, dodge: float, joined: bool
) -> None:
    cells = [scaling.cells[index] for index in line.cells]
    measured = [cell.metrics[metric] for cell in cells]
    # Where a fit runs along the line, a second one through the points would pass for another law.
    look = {**style(series), "linestyle": style(series)["linestyle"] if joined else "none"}
    axes.errorbar(
        [cell.axes[axis] * dodge for cell in cells], [point.mean for point in measured], yerr=bars(measured),
        capsize=2, elinewidth=0.9, capthick=0.9, **look,
    )  # fmt: skip


def _band(axes: Any, scaling: Scaling, fit: Fit, axis: str, line: Series, series: int) -> None:
    values = [scaling.cells[index].axes[axis] for index in line.cells]
    # From the first point to the last: beyond, a law is a prediction, which the tables name as such.
    xs = np.geomspace(min(values), max(values), 60)
    fixed = scaling.cells[line.cells[0]].axes
    points = np.column_stack([xs if name == axis else np.full(len(xs), fixed[name]) for name in fit.over])
    value, low, high = fit.at(points)
    look = style(series)
    axes.plot(xs, value, color=look["color"], linestyle=look["linestyle"], linewidth=1.0)
    # A metric is a share, and no law of the fit's form knows that.
    axes.fill_between(xs, np.clip(low, 0, 1), np.clip(high, 0, 1), color=look["color"], alpha=0.13, linewidth=0)


def _baseline(axes: Any, scaling: Scaling, metric: str) -> None:
    """Draws the best system without a base, as a line across."""
    cells = [scaling.cells[index] for index in baselines(scaling, metric)]
    if cells:
        best = max(cells, key=lambda cell: cell.metrics[metric].mean)
        axes.axhline(
            best.metrics[metric].mean, color=GREY, linewidth=0.9, linestyle=(0, (1, 2)), label=str(best.axes["model"])
        )


def _paper(axes: Any, metric: str, lines: Lines, scaling: Scaling) -> None:
    """Draws the paper's cells, where they are of sizes like those of the runs."""
    if lines.axis != "params":
        return
    sizes = [scaling.cells[index].axes["params"] for line in lines.lines for index in line.cells]
    near = [
        (row.params, row.metrics[metric])
        for row in PUBLISHED
        if row.params and row.max_len and metric in row.metrics and min(sizes) / 3 < row.params < max(sizes) * 3
    ]
    if near:
        axes.plot(*zip(*near, strict=True), linestyle="none", marker="*", markersize=7, color=INK, label="paper")


def _dress(axes: Any, scaling: Scaling, metric: str, lines: Lines) -> None:
    cells = {
        scaling.cells[index].axes[lines.axis]: scaling.cells[index] for line in lines.lines for index in line.cells
    }
    values = sorted(cells)
    if lines.axis == "params":
        labels = [f"{short(value)}\n{cells[value].axes['model']}" for value in values]
    else:
        labels = [f"{value:,}" for value in values]
    ticks(axes, values, labels)
    axes.set_xlabel(axis_of(lines.axis).title)
    axes.set_ylabel(f"test {METRICS[metric]}")
    axes.set_ylim(bottom=max(0.0, axes.get_ylim()[0]))


def _caption(scaling: Scaling, metric: str, lines: Lines, fits: Sequence[Fit]) -> str:
    cells = [scaling.cells[index] for line in lines.lines for index in line.cells]
    sentences = [f"Points are means over a cell's seeds, bars their {intervals_in_words(cells, metric)}"]
    if fits:
        sentences.append(f"Curves are saturating power laws {_over(fits)}, bands their intervals of 95 % by resampling")
        if any(fit.freedom == 0 for fit in fits):
            sentences.append("A curve through as many points as it has parameters fits whatever they are")
        if not all(fit.identified for fit in fits):
            sentences.append("Not every parameter of the curves is told by the points: do not read them beyond these")
    if lines.rest:
        sentences.append(f"All with {', '.join(f'{name}={value}' for name, value in lines.rest.items())}")
    if lines.others:
        sentences.append(f"Cells of the table that are not drawn: {lines.others}")
    return ". ".join(sentences) + "."


def _over(fits: Sequence[Fit]) -> str:
    if any(len(fit.over) > 1 for fit in fits):
        return "over size and context together"
    return f"over {axis_of(fits[0].over[0]).name}"


def _heat(scaling: Scaling, metric: str) -> list[ReportFigure]:
    lines = lines_along(scaling, metric, "params")
    if not lines:
        return []
    cells = [scaling.cells[index] for line in lines.lines for index in line.cells]
    sizes = sorted({(cell.axes["params"], str(cell.axes["model"])) for cell in cells})
    lengths = sorted({cell.axes["max_len"] for cell in cells})
    if len(sizes) < 2 or len(lengths) < 2:
        return []
    by_setting = {(cell.axes["params"], str(cell.axes["model"]), cell.axes["max_len"]): cell for cell in cells}
    values = np.full((len(sizes), len(lengths)), np.nan)
    for row, size in enumerate(sizes):
        for column, length in enumerate(lengths):
            cell = by_setting.get((*size, length))
            values[row, column] = cell.metrics[metric].mean if cell else np.nan
    figure, axes = panel(0.9 + 0.42 * len(sizes), grid="x")
    axes.grid(False)
    _squares(axes, values, [[by_setting.get((*size, length)) for length in lengths] for size in sizes], metric)
    axes.set_xticks(range(len(lengths)), [f"{length:,}" for length in lengths])
    axes.set_yticks(range(len(sizes)), [f"{model}\n{short(params)}" for params, model in sizes])
    axes.set_xlabel(axis_of("max_len").title)
    axes.set_ylabel("base")
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    rest = f" All with {', '.join(f'{name}={value}' for name, value in lines.rest.items())}." if lines.rest else ""
    caption = f"Test {METRICS[metric]}, the mean over seeds; below it the {intervals_in_words(cells, metric)}.{rest}"
    title = f"{upper(METRICS[metric])} by size and context"
    return [ReportFigure(f"{metric.removeprefix('test/')}_heat", title, caption, figure)]


def _squares(axes: Any, values: Any, cells: Sequence[Sequence[Cell | None]], metric: str) -> None:
    from matplotlib.colors import LinearSegmentedColormap

    shades = LinearSegmentedColormap.from_list("shades", ["#f3f6fb", "#3b7dd8", STYLES[0][0]])
    low, high = np.nanmin(values), np.nanmax(values)
    # A scale needs a width even where all cells are equal.
    axes.imshow(values, cmap=shades, vmin=low, vmax=high + (high == low), aspect="auto")
    small = 6 if values.shape[1] <= 4 else 5
    for (row, column), value in np.ndenumerate(values):
        cell = cells[row][column]
        if cell is None:
            axes.text(column, row, "not run", ha="center", va="center", fontsize=small, color=GREY)
            continue
        dark = high > low and (value - low) / (high - low) > 0.45
        measured = cell.metrics[metric]
        span = f"\n{measured.low:.3f} to {measured.high:.3f}" if measured.low == measured.low else ""
        axes.text(
            column, row, f"{value:.3f}{span}", ha="center", va="center", fontsize=small,
            color="white" if dark else INK, linespacing=1.35,
        )  # fmt: skip
