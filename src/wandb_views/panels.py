"""Panels of a W&B dashboard, section by section: scaling, single runs, parallel coordinates, curves, memory."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import wandb_workspaces.reports.v2 as wr

from src.reporting.series import AXES, METRICS
from src.scaling_analysis.result import is_loss
from src.wandb_views.vega import chart_name

STEP = "trainer/global_step"
COSTS = {"cost/device_hours": "device-hours", "tokens_seen": "tokens seen in training"}

LINES = (("params", "max_len", "lora_r"), ("max_len", "params", "lora_r"), ("lora_r", "params", "max_len"))
"""What a metric is drawn against, a line for each value of what, and what parts lines too."""

CURVES = {
    "train/loss": "training loss",
    "val/loss": "validation loss",
    "val/accuracy": "validation accuracy",
    "train/lr": "learning rate",
    "train/grad_norm": "gradient norm",
    "train/tokens_per_second": "tokens a second",
    "train/padding": "share of padding",
    "train/seconds_left": "seconds left",
}
MEMORY = {"train/memory_gib": "memory of the process (GiB)", "train/gpu_memory_gib": "GPU memory (GiB)"}
GPU_MEMORY = r"system/gpu\.\d+\.memoryAllocatedBytes"
"""W&B's own curve, a line a GPU. Source: https://docs.wandb.ai/ref/system-metrics"""

LEGEND = "${config:model} ${config:max_len} r${config:lora_r} ${config:labels} s${config:seed}"
GRADIENT = (("#440154", 0), ("#21918c", 50), ("#fde725", 100))
COLUMNS = ("summary:test/macro_f1", "summary:test/accuracy", "config:model.value", "config:max_len.value")


@dataclass(frozen=True)
class DashboardSection:
    """A section of the dashboard.

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
    """Every section, each with panels of its own.

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
    yield DashboardSection("Learning curves", "", tuple(_curve(name, title) for name, title in CURVES.items()))
    yield DashboardSection("Memory", "", (*(_curve(name, title) for name, title in MEMORY.items()), _gpus()))


ABOUT_SCALING = (
    "A line is the mean over seeds, a bar the mean of the runs' own intervals of 95 % by patient, a circle a run. "
    "Dashes tell label schemes apart. The dashed front joins the best cells as the cost grows. At most 500 runs are "
    "drawn, LLaMAs only; runs that differ in anything but size, context, rank, labels and seed are taken together."
)
ABOUT_POINTS = "A point is a run; its colour tells the third axis."


def _lines(entity: str, metric: str) -> Iterator[wr.CustomChart]:
    for x, line, other in LINES:
        fields = {"x": f"axes/{x}", "line": f"axes/{line}", "labels": "axes/labels", "other": f"axes/{other}"}
        strings = {"title": f"{METRICS[metric]} by {AXES[x]}", "x_title": AXES[x], "line_title": AXES[line]}
        yield _chart(entity, "lines", {**fields, **_measured(metric)}, {**strings, "y_title": METRICS[metric]})


def _fronts(entity: str, metric: str) -> Iterator[wr.CustomChart]:
    for cost, unit in COSTS.items():
        fields = {axis: f"axes/{axis}" for axis in ("params", "max_len", "lora_r", "labels")}
        strings = {"title": f"{METRICS[metric]} by {unit}", "x_title": unit, "y_title": METRICS[metric]}
        strings |= {"params_title": AXES["params"], "max_len_title": AXES["max_len"]}
        yield _chart(entity, "front", {"cost": cost, **fields, **_measured(metric)}, strings)


def _measured(metric: str) -> dict[str, str]:
    return {"y": metric, "low": f"{metric}/low", "high": f"{metric}/high"}


def _chart(entity: str, kind: str, fields: dict[str, str], strings: dict[str, str]) -> wr.CustomChart:
    """A custom chart reads the summary alone: how W&B names what it finds in a configuration is not documented."""
    return wr.CustomChart(
        query={"summary": {"keys": list(fields.values())}},
        chart_name=f"{entity}/{chart_name(kind)}",
        chart_fields=fields,
        chart_strings=strings,
    )


def _points() -> Iterator[wr.ScatterPlot]:
    gradient = [wr.GradientPoint(color=color, offset=offset) for color, offset in GRADIENT]
    for metric, named in METRICS.items():
        for x, z in (("params", "max_len"), ("max_len", "params"), ("lora_r", "params")):
            yield wr.ScatterPlot(
                title=f"{named} by {AXES[x]}, coloured by {AXES[z]}",
                x=wr.Config(x),
                y=wr.SummaryMetric(metric),
                z=wr.Config(z),
                log_x=True,
                log_z=True,
                gradient=gradient,
            )


def _parallel() -> wr.ParallelCoordinatesPlot:
    axes = [(wr.Config(axis), axis in ("params", "max_len", "lora_r", "lr")) for axis in SHOWN]
    columns = axes + [(wr.SummaryMetric(name), False) for name in TESTED]
    return wr.ParallelCoordinatesPlot(
        columns=[wr.ParallelCoordinatesPlotColumn(metric=metric, log=log or None) for metric, log in columns]
    )


SHOWN = ("model", "params", "max_len", "lora_r", "labels", "lr", "seed")
TESTED = (*METRICS, "test/base_accuracy", "test/severity_accuracy")


def _curve(name: str, title: str) -> wr.LinePlot:
    log = is_loss(name) or None
    return wr.LinePlot(title=title, x=STEP, y=[name], log_y=log, legend_template=LEGEND, max_runs_to_show=100)


def _gpus() -> wr.LinePlot:
    return wr.LinePlot(title="GPU memory as W&B reads it (bytes)", x="RelativeTime(Process)", metric_regex=GPU_MEMORY)
