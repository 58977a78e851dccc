"""Draws training: loss and validation accuracy by step, of the best run of each of the best cells."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from src.cohort.disclosure import MIN_GROUP_PATIENTS
from src.display.catalog import is_loss
from src.display.figure_style import ReportFigure, legend, panel, short, style
from src.reporting.series import drawn_cells, name_of
from src.runs.finished import Run
from src.scaling_analysis.result import Scaling

MOST = 8
"""Curves in one picture: more cannot be told apart."""

WINDOW = 20
"""A training loss is drawn as its mean over one part in so many of the steps."""

CURVES = {
    "train/loss": ("learning_training_loss", "Training loss", "training loss (nats a note)"),
    "val/loss": ("learning_validation_loss", "Validation loss", "validation loss (nats a note)"),
    "val/accuracy": ("learning_validation_accuracy", "Validation accuracy", "validation top-1 accuracy"),
}


def curve_drawings(scaling: Scaling, runs: Mapping[str, Run]) -> list[ReportFigure]:
    """Draws a picture for each curve that the runs kept.

    Args:
        scaling: the analysis.
        runs: by name.
    """
    return [drawn for curve in CURVES for drawn in _curve(scaling, runs, curve)]


def _curve(scaling: Scaling, runs: Mapping[str, Run], curve: str) -> list[ReportFigure]:
    best_runs = _best_runs(scaling, runs, curve)
    if not best_runs:
        return []
    shown = sorted(best_runs[:MOST])
    figure, axes = panel()
    for series, (index, run) in enumerate(shown):
        points = run.curves[curve]
        steps, values = np.array(list(points)), np.array(list(points.values()), float)
        if curve == "train/loss":
            steps, values = smoothed(steps, values, int(run.axes.get("batch_size") or 1))
        look = style(series)
        every = (series, max(1, len(steps) // 5))  # apart from each other's
        axes.plot(steps, values, label=name_of(scaling, index), markevery=every if len(steps) > 10 else None, **look)
    _dress(axes, CURVES[curve][2], curve)
    legend(figure, axes)
    name, title, _ = CURVES[curve]
    smooth = " as its running mean" if curve == "train/loss" else ""
    caption = f"One run a cell, of its seeds the best on validation{smooth}."
    if is_loss(curve) and len({scaling.cells[index].axes.get("labels") for index, _ in shown}) > 1:
        caption += " Losses of different label schemes are of different heads, and no measure of one against another."
    if len(best_runs) > len(shown):
        caption += f" The {len(shown)} cells of {len(best_runs)} that do best on validation."
    return [ReportFigure(name, title, caption, figure)]


def _best_runs(scaling: Scaling, runs: Mapping[str, Run], curve: str) -> list[tuple[int, Run]]:
    """Picks the best run of each cell that kept the curve, the best on validation first."""
    best_runs = []
    for index in drawn_cells(scaling, "test/accuracy"):
        kept = [runs[name] for name in scaling.cells[index].runs if len(runs[name].curves.get(curve, {})) > 1]
        if kept:
            best = max(kept, key=_on_validation)
            best_runs.append((_on_validation(best), index, best))
    return [(index, run) for _, index, run in sorted(best_runs, key=lambda entry: (-entry[0], entry[1]))]


def _on_validation(run: Run) -> float:
    value = run.metrics.get("val/accuracy")
    return -1.0 if value is None else float(value)


def smoothed(steps: Any, values: Any, notes: int) -> tuple[Any, Any]:
    """Averages windows of neighbouring points, no more than `WINDOW` of them, none of fewer than 10 notes.

    >>> smoothed(np.arange(1, 5), np.array([4.0, 2.0, 2.0, 0.0]), 5)[1].tolist()
    [3.0, 1.0]
    """
    # The loss of a few notes would tell of single patients.
    parts = np.array_split(np.arange(len(steps)), max(1, min(WINDOW, len(steps) * notes // MIN_GROUP_PATIENTS)))
    return np.array([steps[part].mean() for part in parts]), np.array([values[part].mean() for part in parts])


def _dress(axes: Any, label: str, curve: str) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))
    axes.set_xlabel("optimiser step")
    axes.set_ylabel(label)
    axes.set_xlim(left=0)
    if curve == "val/accuracy":
        axes.set_ylim(bottom=0)
