"""The figures of a test's results are drawn here."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from src.display.catalog import View, metrics_of
from src.display.figure_style import GREY, STYLES, WIDE, legend, panel, panels, settings, style, write_png
from src.evaluation.error_tables import BANDS
from src.evaluation.groups import band_name

SHOWN = {key: metric.name for key, metric in metrics_of(View.BARS).items()}
DASHED = {"color": GREY, "linewidth": 0.9, "linestyle": (0, (4, 3))}
"""Of lines to compare with."""

BETWEEN_MARKS = 0.5
"""From one tau to the next whose number and intervals stand beside the front."""


@settings()
def draw_comparison(path: Path, systems: Mapping[str, Mapping[str, float]], title: str) -> None:
    """Draws bars: a group a metric, a bar a system, each with its value."""
    figure, axes = panel(3.6, width=WIDE)
    width = 0.8 / len(systems)
    for index, (name, metrics) in enumerate(systems.items()):
        centres = np.arange(len(SHOWN)) + (index - (len(systems) - 1) / 2) * width
        bars = axes.bar(centres, [metrics[key] for key in SHOWN], width * 0.92, label=name, color=style(index)["color"])
        axes.bar_label(bars, fmt="%.2f", fontsize=6, padding=1)
    axes.set_xticks(range(len(SHOWN)), list(SHOWN.values()))
    axes.set_ylim(0, 1)
    axes.set_ylabel("share of test notes (macro-F1: mean over DRGs)")
    axes.set_title(title, loc="left")
    legend(figure, axes, columns=4)
    write_png(path, figure)


@settings()
def draw_by_frequency(path: Path, right: Mapping[str, NDArray[np.bool_]], seen: NDArray[np.int64], title: str) -> None:
    """Draws top-1 of test notes by how many training notes their DRG had, a line a system.

    Args:
        path: where the figure goes.
        right: for each system whether each test note was right, [B].
        seen: training notes of each test note's DRG, [B].
        title: what was tested.
    """
    figure, axes = panel(3.6, width=WIDE)
    masks = {band_name(low, high): (seen >= low) & (seen <= high) for low, high in BANDS}
    masks = {band: mask for band, mask in masks.items() if mask.any()}
    for index, (name, hits) in enumerate(right.items()):
        axes.plot(range(len(masks)), [hits[mask].mean() for mask in masks.values()], label=name, **style(index))
    axes.set_xticks(range(len(masks)), [f"{band}\n{int(mask.sum())} notes" for band, mask in masks.items()])
    axes.set_xlabel("training notes of the DRG; test notes in the group below")
    axes.set_ylabel("top-1 accuracy")
    axes.set_ylim(0, 1)
    axes.set_title(title, loc="left")
    legend(figure, axes)
    write_png(path, figure)


@settings()
def draw_prefixes(path: Path, curve: Mapping[int, Mapping[str, float]], title: str) -> None:
    """Draws test accuracy and macro-F1 by the number of tokens that are read."""
    figure, axes = panel(3.6, width=WIDE)
    for index, key in enumerate(("test/accuracy", "test/macro_f1")):
        values = [metrics[key] for metrics in curve.values()]
        axes.plot(list(curve), values, label=SHOWN[key], **style(index))
        for length, value in zip(curve, values, strict=True):
            axes.annotate(f"{value:.3f}", (length, value), (0, 5), textcoords="offset points", ha="center", fontsize=6)
    axes.set_xscale("log", base=2)
    axes.set_xticks(list(curve), [f"{length:,}" for length in curve])
    axes.minorticks_off()
    axes.margins(y=0.12)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("tokens of a note that are read at most")
    axes.set_ylabel("share of test notes (macro-F1: mean over DRGs)")
    axes.set_title(title, loc="left")
    legend(figure, axes)
    write_png(path, figure)


@settings()
def draw_reliability(path: Path, tables: Mapping[str, pl.DataFrame], title: str) -> None:
    """Draws accuracy by confidence beside the diagonal, a line a state of the scores, and below it the notes by bin.

    Args:
        path: where the figure goes.
        tables: what `src.evaluation.calibration.reliability` gives, by name.
        title: what was tested.
    """
    figure, axes = panels(5, width=4.6, rows=2, sharex=True, height_ratios=(3, 1))
    upper, lower = axes[:, 0]
    upper.plot((0, 1), (0, 1), label="perfectly calibrated", **DASHED)
    for index, (name, table) in enumerate(tables.items()):
        upper.plot(table["confidence"], table["accuracy"], label=name, **style(index))
        lower.plot((table["from"] + table["to"]) / 2, table["notes"], **style(index))
    upper.set(ylabel="accuracy", xlim=(0, 1), ylim=(0, 1))
    legend(figure, upper)
    upper.set_title(title, loc="left")
    lower.set(xlabel="confidence in the best DRG", ylabel="notes")
    lower.set_ylim(bottom=0)
    write_png(path, figure)


@settings()
def draw_coverage(path: Path, curve: pl.DataFrame, aim: float, coverage: float | None, title: str) -> None:
    """Draws accuracy of the surest notes by their share, the aim, and the coverage at the threshold from validation.

    Args:
        path: where the figure goes.
        curve: what `src.evaluation.calibration.coverage_curve` gives.
        aim: the accuracy asked for.
        coverage: at the threshold; None where validation never reached the aim.
        title: what was tested.
    """
    figure, axes = panel(3.6, width=WIDE)
    settled = curve.filter(pl.col("coverage") >= min(20 / curve.height, 0.5))  # the first few notes jump about
    axes.plot(settled["coverage"], settled["accuracy"], color=STYLES[0][0])
    axes.axhline(aim, **DASHED)
    axes.annotate(f"{aim:.0%}", (1, aim), xytext=(-2, 3), textcoords="offset points", ha="right")
    if coverage:
        label = f"threshold from validation: {coverage:.0%} of the notes"
        axes.axvline(coverage, color=STYLES[1][0], label=label)
        axes.legend(frameon=False, loc="lower left")
    axes.set(xlabel="coverage: share of the notes that are decided, the surest first", ylabel="top-1 accuracy")
    axes.set(xlim=(0, 1), ylim=(0, 1.02))
    axes.set_title(title, loc="left")
    write_png(path, figure)


@settings()
def draw_front(path: Path, front: pl.DataFrame, points: Mapping[str, float], title: str) -> None:
    """Draws macro-F1 against top-1 of the test over tau, intervals at some taus, and marks the named points.

    Args:
        path: where the figure goes.
        front: what `src.evaluation.adjustment.adjustment` gives.
        points: the tau of each named point.
        title: what was tested.
    """
    figure, axes = panel(4.2, width=WIDE)
    axes.plot(front["accuracy"], front["macro_f1"], color=GREY, linewidth=0.9)
    for row in front.filter((pl.col("tau") % BETWEEN_MARKS).abs() < 1e-9).iter_rows(named=True):
        x, y = row["accuracy"], row["macro_f1"]
        reach = [
            [[abs(row[name] - row[f"{name}_{end}"])] for end in ("low", "high")] for name in ("accuracy", "macro_f1")
        ]
        axes.errorbar(x, y, xerr=reach[0], yerr=reach[1], color=GREY, elinewidth=0.5, capsize=1.5, alpha=0.7)
        axes.annotate(f"{row['tau']:g}", (x, y), (3, -9), textcoords="offset points", color=GREY, fontsize=6)
    for index, (point, tau) in enumerate(points.items()):
        row = front.row(by_predicate=pl.col("tau") == tau, named=True)
        marked = {**style(index), "linestyle": "none", "markersize": 7, "zorder": 3}
        axes.plot(row["accuracy"], row["macro_f1"], label=f"{point}: tau {tau:g}", **marked)
    axes.set(xlabel="top-1 accuracy", ylabel="macro-F1")
    axes.set_title(title, loc="left")
    legend(figure, axes)
    write_png(path, figure)


@settings()
def draw_groups(path: Path, table: pl.DataFrame, title: str) -> None:
    """Draws top-1 accuracy of each group with its interval.

    Args:
        path: where the figure goes.
        table: columns `attribute`, `group`, `notes`, `top1`, `top1_low` and `top1_high`.
        title: what was tested.
    """
    figure, axes = panel(0.9 + 0.2 * table.height, grid="x", width=WIDE)
    attributes = table["attribute"].unique(maintain_order=True).to_list()
    for index, row in enumerate(table.iter_rows(named=True)):
        reach = [[row["top1"] - row["top1_low"]], [row["top1_high"] - row["top1"]]]
        colour, marker, _ = STYLES[attributes.index(row["attribute"]) % len(STYLES)]
        axes.errorbar(row["top1"], index, xerr=reach, marker=marker, color=colour, elinewidth=0.9, capsize=1.5)
    names = [f"{row['attribute'].replace('_', ' ')}: {row['group']} ({row['notes']:,})" for row in table.to_dicts()]
    axes.set_yticks(range(table.height), names, parse_math=False)
    axes.invert_yaxis()
    axes.set_xlim(0, 1)
    axes.set_xlabel("top-1 accuracy with its interval of 95 %; test notes in brackets")
    axes.set_title(title, loc="left")
    write_png(path, figure)
