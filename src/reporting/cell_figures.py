"""Draws cells beside each other: each with its interval, paired differences, and what they cost."""

from collections.abc import Mapping, Sequence
from typing import Any

from src.display.catalog import COORDINATES, MODEL, SIZE, axis_of
from src.display.figure_style import GREY, INK, STYLES, ReportFigure, legend, panel, style
from src.reporting.series import METRICS, bars, compared, drawn_cells, intervals_in_words, main_ground, name_of, upper
from src.scaling_analysis.result import Difference, Scaling

MOST = 24
"""Rows of a picture; the tables have all."""


def cell_drawings(scaling: Scaling, hours: Mapping[int, float], unit: str) -> list[ReportFigure]:
    """Draws cells, differences and costs, a picture a metric.

    Args:
        scaling: the analysis.
        hours: of each cell's run, by its index; cells without are not drawn against cost.
        unit: what kind of hours they are.
    """
    figures: list[ReportFigure] = []
    for metric in METRICS:
        figures += _cells(scaling, metric)
    for metric in METRICS:
        figures += _differences(scaling, metric)
    for metric in METRICS:
        figures += _costs(scaling, metric, hours, unit)
    return figures


def _cells(scaling: Scaling, metric: str) -> list[ReportFigure]:
    ranked = sorted(drawn_cells(scaling, metric), key=lambda index: -scaling.cells[index].metrics[metric].mean)
    if len(ranked) < 2:
        return []
    shown = ranked[:MOST]
    figure, axes = panel(0.75 + 0.17 * len(shown), grid="x")
    for row, index in enumerate(shown):
        base = bool(scaling.cells[index].axes.get("params"))
        measured = scaling.cells[index].metrics[metric]
        reach = bars([measured])
        axes.errorbar(
            measured.mean, row, xerr=reach, marker="o" if base else "s", color=STYLES[0][0] if base else GREY,
            markerfacecolor=STYLES[0][0] if base else "white", capsize=2, elinewidth=0.9,
        )  # fmt: skip
    _rows(axes, [name_of(scaling, index) for index in shown])
    axes.locator_params(axis="x", nbins=6)
    axes.set_xlabel(f"test {METRICS[metric]}")
    cells = [scaling.cells[index] for index in shown]
    sentences = [f"Means over a cell's seeds with {intervals_in_words(cells, metric)}"]
    if not all(cell.axes.get("params") for cell in cells):
        sentences.append("Round and filled: a base with adapters; square and open: a baseline")
    if len(ranked) > MOST:
        sentences.append(f"The best {MOST} of {len(ranked)} cells; the table has all")
    name = f"{metric.removeprefix('test/')}_cells"
    return [ReportFigure(name, f"{upper(METRICS[metric])} of each cell", ". ".join(sentences) + ".", figure)]


def _rows(axes: Any, names: Sequence[str]) -> None:
    axes.set_yticks(range(len(names)), names, fontsize=6.5)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)


def drawn_differences(scaling: Scaling, metric: str) -> list[Difference]:
    """Picks the differences of a metric on the main ground, those along the field's axes first."""
    order = {axis.key: rank for rank, axis in enumerate(COORDINATES)}
    of_metric = [difference for difference in scaling.differences if difference.metric == metric]
    differences = [difference for difference in of_metric if difference.ground == main_ground(scaling)]
    return sorted(differences, key=lambda difference: order.get(difference.axis, len(order)))


def _differences(scaling: Scaling, metric: str) -> list[ReportFigure]:
    every = drawn_differences(scaling, metric)
    if not every:
        return []
    axis_names = list(dict.fromkeys(difference.axis for difference in every))
    # As many rows of each axis, or the first would leave no room for the others.
    of_each = MOST if len(every) <= MOST else MOST // len(axis_names)
    shown = [
        row for axis in axis_names for row in [difference for difference in every if difference.axis == axis][:of_each]
    ]
    figure, axes = panel(0.95 + 0.17 * len(shown), grid="x")
    axes.axvline(0, color=INK, linewidth=0.8)
    labelled: set[str] = set()
    for row, difference in enumerate(shown):
        look = {**style(axis_names.index(difference.axis)), "linestyle": "none"}
        name = axis_of(difference.axis).name
        low, high = difference.both.low, difference.both.high
        reach = [[difference.value - low], [high - difference.value]] if low == low else None
        sure = difference.p_holm < 0.05
        axes.errorbar(
            difference.value, row, xerr=reach, capsize=2, elinewidth=0.9, label=None if name in labelled else name,
            markerfacecolor=look["color"] if sure else "white", **look,
        )  # fmt: skip
        labelled.add(name)
    _rows(axes, [_pair(scaling, difference) for difference in shown])
    axes.locator_params(axis="x", nbins=6)
    axes.set_xlabel(f"difference in test {METRICS[metric]}")
    legend(figure, axes, columns=4)
    methods = {difference.how for difference in shown}
    words = ["Each row: the first value less the second, all else equal, paired by seed, with its interval of 95 %"]
    words.append(
        "Patients are paired: the same resampled halves of the test for all runs"
        if methods == {"predictions"}
        else "Patients are not paired, as no predictions are at hand, which makes the intervals too wide"
    )
    words.append("Filled: beyond doubt at 5 % after Holm's correction over the comparisons along its axis")
    if len(every) > len(shown):
        words.append(f"The first {len(shown)} of {len(every)} differences, as many of each kind; the table has all")
    name = f"{metric.removeprefix('test/')}_differences"
    title = f"What a step brings in {METRICS[metric]}"
    return [ReportFigure(name, title, ". ".join(words) + ".", figure)]


def _pair(scaling: Scaling, difference: Difference) -> str:
    first, second = scaling.cells[difference.one], scaling.cells[difference.other]
    names = [
        cell.axes["model"] if difference.axis == "params" else cell.axes.get(difference.axis)
        for cell in (first, second)
    ]
    shared = [axis for axis in scaling.varied if axis not in (difference.axis, "model")]
    where = ", ".join(
        str(first.axes[MODEL]) if axis == SIZE else axis_of(axis).brief(first.axes[axis]) for axis in shared
    )
    return f"{names[0]} − {names[1]}" + (f" ({where})" if where else "")


def front(points: Mapping[int, tuple[float, float]]) -> list[int]:
    """Picks the points than which none is both cheaper and better, from cheap to dear.

    >>> front({0: (1.0, 0.3), 1: (2.0, 0.2), 2: (3.0, 0.5)})
    [0, 2]
    """
    kept: list[int] = []
    for index, (_, value) in sorted(points.items(), key=lambda item: (item[1][0], -item[1][1])):
        if not kept or value > points[kept[-1]][1]:
            kept.append(index)
    return kept


def _costs(scaling: Scaling, metric: str, hours: Mapping[int, float], unit: str) -> list[ReportFigure]:
    points = {
        index: (hours[index], scaling.cells[index].metrics[metric].mean)
        for index in compared(scaling, metric)
        if hours.get(index, 0) > 0
    }
    if len(points) < 3:
        return []
    best = front(points)
    figure, axes = panel()
    _models(axes, scaling, metric, points)
    steps = [points[index] for index in best]
    axes.step(*zip(*steps, strict=True), where="post", color=INK, linewidth=0.9, linestyle=(0, (4, 2)), label="front")
    axes.set_xscale("log")
    axes.margins(x=0.08, y=0.1)
    _plain_hours(axes, [value for value, _ in points.values()])
    axes.set_xlabel(f"{unit} of one run (training and test)")
    axes.set_ylabel(f"test {METRICS[metric]}")
    legend(figure, axes, columns=4)
    cells = [scaling.cells[index] for index in points]
    named = "; ".join(name_of(scaling, index) for index in best[:12])
    caption = (
        f"A point is a cell, the mean over its seeds with {intervals_in_words(cells, metric)}. On the front nothing "
        f"is both cheaper and better; from cheap to dear: {named}."
    )
    name = f"{metric.removeprefix('test/')}_by_cost"
    return [ReportFigure(name, f"{upper(METRICS[metric])} by cost", caption, figure)]


def _models(axes: Any, scaling: Scaling, metric: str, points: Mapping[int, tuple[float, float]]) -> None:
    """Draws a series a model; beyond eight the baselines, then the rest, share one."""
    models = {index: str(scaling.cells[index].axes["model"]) for index in points}
    names = list(dict.fromkeys(models.values()))
    if len(names) > 8:
        bases = {models[index] for index in points if scaling.cells[index].axes.get("params")}
        names = [name for name in names if name in bases][:7]
    for series, name in enumerate([*names, "others"]):
        mine = [index for index, model in models.items() if (model if model in names else "others") == name]
        if mine:
            axes.errorbar(
                [points[index][0] for index in mine], [points[index][1] for index in mine],
                yerr=bars([scaling.cells[index].metrics[metric] for index in mine]), capsize=1.5, elinewidth=0.6,
                label=name, **{**style(series), "linestyle": "none"},
            )  # fmt: skip


def _plain_hours(axes: Any, values: Sequence[float]) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    many = max(values) / min(values) > 50
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0,) if many else (1.0, 2.0, 5.0), numticks=12))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
