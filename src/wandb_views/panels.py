"""Builds the panels of a W&B dashboard, section by section: scaling, single runs, coordinates, curves, memory."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import wandb_workspaces.reports.v2 as wr

from src.display.catalog import AXES, COORDINATES, COSTS, CURVES, GRID, NAMED, STEP, View, axis_of, metrics_of
from src.reporting.series import METRICS
from src.wandb_views.vega import chart_name

LEGEND = " ".join((axis.value or "{}").format(f"${{config:{axis.key}}}") for axis in NAMED if not axis.later)
# Viridis at both ends and in the middle, as the custom charts have it.
GRADIENT = (("#440154", 0), ("#21918c", 50), ("#fde725", 100))
COLUMNS = (*(f"summary:{metric}" for metric in METRICS), "config:model.value", "config:max_len.value")


@dataclass(frozen=True)
class DashboardSection:
    """Holds one section of the dashboard.

    Attributes:
        title: its heading.
        about: what a reader must know, in Markdown.
        panels: in order.
        columns: panels side by side.
    """

    title: str
    about: str
    panels: tuple[Any, ...]
    columns: int = 3


def dashboard_sections(entity: str, table: str) -> Iterator[DashboardSection]:
    """Yields every section, each with panels of its own.

    Args:
        entity: whose custom charts are drawn.
        table: results beside the published, in Markdown.
    """
    yield DashboardSection("Beside the published results", "", (wr.MarkdownPanel(table),), columns=1)
    for metric, named in METRICS.items():
        yield DashboardSection(f"Scaling: {named}", ABOUT_SCALING, (*_lines(entity, metric), *_fronts(entity, metric)))
    yield DashboardSection("Single runs", ABOUT_POINTS, tuple(_points()))
    yield DashboardSection("Parallel coordinates", "", (_parallel(),), columns=1)
    yield DashboardSection("Run comparer", "", (wr.RunComparer(diff_only="split"),), columns=1)
    yield DashboardSection("Learning curves", "", tuple(_curves("Learning curves")))
    yield DashboardSection("Memory and device", "", tuple(_curves("Memory and device")))


ABOUT_SCALING = (
    "A line is the mean over seeds, a bar the mean of the runs' own intervals of 95 % by patient, a circle a run. "
    "Dashes tell label schemes apart. The dashed front joins the best cells as the cost grows. At most 500 runs are "
    "drawn, LLaMAs only; runs that differ in anything but size, context, rank, labels and seed are taken together."
)
ABOUT_POINTS = "A point is a run; its colour tells the third axis."


def _lines(entity: str, metric: str) -> Iterator[wr.CustomChart]:
    for x in GRID:
        line, third = (axis for axis in GRID if axis != x)
        fields = {"x": f"axes/{x.key}", "line": f"axes/{line.key}"}
        fields |= {"labels": "axes/labels", "other": f"axes/{third.key}"}
        strings = {"title": f"{METRICS[metric]} by {x.title}", "x_title": x.title, "line_title": line.title}
        yield _chart(entity, "lines", {**fields, **_measured(metric)}, {**strings, "y_title": METRICS[metric]})


def _fronts(entity: str, metric: str) -> Iterator[wr.CustomChart]:
    for cost, unit in COSTS.items():
        fields = {axis.key: f"axes/{axis.key}" for axis in COORDINATES}
        strings = {"title": f"{METRICS[metric]} by {unit}", "x_title": unit, "y_title": METRICS[metric]}
        strings |= {"params_title": axis_of("params").title, "max_len_title": axis_of("max_len").title}
        yield _chart(entity, "front", {"cost": cost, **fields, **_measured(metric)}, strings)


def _measured(metric: str) -> dict[str, str]:
    if not metrics_of(View.FIGURES)[metric].interval:  # W&B draws no run that lacks a name it is asked for
        return {"y": metric, "low": metric, "high": metric}
    return {"y": metric, "low": f"{metric}/low", "high": f"{metric}/high"}


def _chart(entity: str, kind: str, fields: dict[str, str], strings: dict[str, str]) -> wr.CustomChart:
    """Builds a custom chart, which reads the summary alone: W&B documents no name for what a configuration holds."""
    return wr.CustomChart(
        query={"summary": {"keys": list(fields.values())}},
        chart_name=f"{entity}/{chart_name(kind)}",
        chart_fields=fields,
        chart_strings=strings,
    )


def _points() -> Iterator[wr.ScatterPlot]:
    gradient = [wr.GradientPoint(color=color, offset=offset) for color, offset in GRADIENT]
    for metric, named in METRICS.items():
        for x in GRID:
            z = next(axis for axis in GRID if axis != x)
            yield wr.ScatterPlot(
                title=f"{named} by {x.title}, coloured by {z.title}",
                x=wr.Config(x.key),
                y=wr.SummaryMetric(metric),
                z=wr.Config(z.key),
                log_x=True,
                log_z=True,
                gradient=gradient,
            )


def _parallel() -> wr.ParallelCoordinatesPlot:
    axes = [(wr.Config(axis.key), axis.log) for axis in AXES if axis.dashboard]
    columns = axes + [(wr.SummaryMetric(name), False) for name in metrics_of(View.PARALLEL)]
    return wr.ParallelCoordinatesPlot(
        columns=[wr.ParallelCoordinatesPlotColumn(metric=metric, log=log or None) for metric, log in columns]
    )


def _curves(section: str) -> Iterator[wr.LinePlot]:
    for curve in CURVES:
        if curve.name and curve.section == section:
            yield wr.LinePlot(
                title=curve.name,
                x=STEP,
                y=[curve.key],
                log_y=curve.loss or None,
                legend_template=LEGEND,
                max_runs_to_show=100,  # of a workspace's as many; W&B's own default is 10
            )
