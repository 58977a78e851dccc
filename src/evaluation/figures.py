"""Pictures of test results."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from src.cli.files import atomic_write
from src.display.catalog import View, metrics_of

COLOURS = ("#9aa0a6", "#e8a33d", "#3b7dd8", "#1b4f9c")
SHOWN = {key: metric.name for key, metric in metrics_of(View.BARS).items()}
BANDS = ((1, 2), (3, 5), (6, 10), (11, 25), (26, 10**9))
"""Training notes of a DRG: few to many."""


def draw_comparison(path: Path, systems: Mapping[str, Mapping[str, float]], title: str) -> None:
    """Bars: a group a metric, a bar a system, each with its value."""
    figure, axes = _figure()
    wide = 0.8 / len(systems)
    for place, (name, metrics) in enumerate(systems.items()):
        spots = np.arange(len(SHOWN)) + (place - (len(systems) - 1) / 2) * wide
        bars = axes.bar(spots, [metrics[key] for key in SHOWN], wide * 0.92, label=name, color=COLOURS[place % 4])
        axes.bar_label(bars, fmt="%.2f", fontsize=7, padding=1)
    axes.set_xticks(range(len(SHOWN)), list(SHOWN.values()))
    axes.set_ylim(0, 1)
    axes.set_ylabel("share of test notes (macro-F1: mean over DRGs)")
    axes.set_title(title, loc="left")
    axes.legend(frameon=False, ncols=2, loc="upper left", fontsize=8)
    _save(figure, path)


def draw_by_frequency(path: Path, right: Mapping[str, NDArray[np.bool_]], seen: NDArray[np.int64], title: str) -> None:
    """Lines: top-1 of test notes by how many training notes their DRG had.

    Args:
        path: where the picture goes.
        right: for each system whether each test note was right, [B].
        seen: training notes of each test note's DRG, [B].
        title: what was tested.
    """
    figure, axes = _figure()
    groups = [(seen == 0, "0")] + [((seen >= low) & (seen <= high), _band(low, high)) for low, high in BANDS]
    groups = [(mask, name) for mask, name in groups if mask.any()]
    for place, (name, hits) in enumerate(right.items()):
        shares = [hits[mask].mean() for mask, _ in groups]
        axes.plot(range(len(groups)), shares, marker="o", label=name, color=COLOURS[(place + 2) % 4])
    axes.set_xticks(range(len(groups)), [f"{name}\n{int(mask.sum())} notes" for mask, name in groups])
    axes.set_xlabel("training notes of the DRG; test notes in the group below")
    axes.set_ylabel("top-1 accuracy")
    axes.set_ylim(0, 1)
    axes.set_title(title, loc="left")
    axes.legend(frameon=False)
    _save(figure, path)


def draw_prefixes(path: Path, curve: Mapping[int, Mapping[str, float]], title: str) -> None:
    """Lines: test accuracy and macro-F1 by the number of tokens that are read."""
    figure, axes = _figure()
    for key, colour in (("test/accuracy", COLOURS[2]), ("test/macro_f1", COLOURS[1])):
        values = [metrics[key] for metrics in curve.values()]
        axes.plot(list(curve), values, marker="o", label=SHOWN[key], color=colour)
        for length, value in zip(curve, values, strict=True):
            axes.annotate(f"{value:.3f}", (length, value), (0, 6), textcoords="offset points", ha="center", fontsize=7)
    axes.set_xscale("log", base=2)
    axes.set_xticks(list(curve), [f"{length:,}" for length in curve])
    axes.minorticks_off()
    axes.margins(y=0.12)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("tokens of a note that are read at most")
    axes.set_ylabel("share of test notes (macro-F1: mean over DRGs)")
    axes.set_title(title, loc="left")
    axes.legend(frameon=False)
    _save(figure, path)


def draw_reliability(path: Path, tables: Mapping[str, pl.DataFrame], title: str) -> None:
    """Accuracy by confidence beside the diagonal, a line a state of the scores, and below how many notes are where.

    Args:
        path: where the picture goes.
        tables: what `src.evaluation.calibration.reliability` gives, by name.
        title: what was tested.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.6, 6.2), dpi=120, layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    upper.plot((0, 1), (0, 1), color=COLOURS[0], linewidth=1, linestyle=(0, (4, 3)), label="perfectly calibrated")
    for place, (name, table) in enumerate(tables.items()):
        colour = COLOURS[place + 1]
        upper.plot(table["confidence"], table["accuracy"], marker="o", markersize=4, color=colour, label=name)
        middle = (table["from"] + table["to"]) / 2
        lower.plot(middle, table["notes"], marker="o", markersize=3, color=colour)
    for axes in (upper, lower):
        _plain(axes)
    upper.set(ylabel="accuracy", xlim=(0, 1), ylim=(0, 1))
    upper.legend(frameon=False, fontsize=8, loc="upper left")
    upper.set_title(title, loc="left", fontsize=9)
    lower.set(xlabel="confidence in the best DRG", ylabel="notes")
    lower.set_ylim(bottom=0)
    _save(figure, path)


def draw_coverage(path: Path, curve: pl.DataFrame, aim: float, chosen: float | None, title: str) -> None:
    """Accuracy of the surest notes by their share, the aim, and the coverage at the threshold from validation.

    Args:
        path: where the picture goes.
        curve: what `src.evaluation.calibration.coverage_curve` gives.
        aim: the accuracy asked for.
        chosen: coverage at the threshold; None where validation never reached the aim.
        title: what was tested.
    """
    figure, axes = _figure()
    settled = curve.filter(pl.col("coverage") >= min(20 / curve.height, 0.5))  # the first few notes jump about
    axes.plot(settled["coverage"], settled["accuracy"], color=COLOURS[2])
    axes.axhline(aim, color=COLOURS[0], linewidth=1, linestyle=(0, (4, 3)))
    axes.annotate(f"{aim:.0%}", (1, aim), xytext=(-2, 3), textcoords="offset points", ha="right", fontsize=8)
    if chosen:
        label = f"threshold from validation: {chosen:.0%} of the notes"
        axes.axvline(chosen, color=COLOURS[1], linewidth=1.3, label=label)
        axes.legend(frameon=False, loc="lower left", fontsize=8)
    axes.set(xlabel="coverage: share of the notes that are decided, the surest first", ylabel="top-1 accuracy")
    axes.set(xlim=(0, 1), ylim=(0, 1.02))
    axes.set_title(title, loc="left", fontsize=9)
    _save(figure, path)


def draw_groups(path: Path, table: pl.DataFrame, title: str) -> None:
    """Top-1 accuracy of each group with its interval; groups that are too small are left out.

    Args:
        path: where the picture goes.
        table: columns `attribute`, `group`, `notes`, `top1`, `top1_low` and `top1_high`.
        title: what was tested.
    """
    from matplotlib.figure import Figure

    shown = table.drop_nulls("top1")
    figure = Figure(figsize=(7.5, 1.2 + 0.27 * shown.height), dpi=120, layout="constrained")
    axes = figure.subplots()
    _plain(axes)
    axes.grid(axis="x", color="#e3e5e8")
    attributes = shown["attribute"].unique(maintain_order=True).to_list()
    for place, row in enumerate(shown.iter_rows(named=True)):
        reach = [[row["top1"] - row["top1_low"]], [row["top1_high"] - row["top1"]]]
        colour = COLOURS[2 + attributes.index(row["attribute"]) % 2]
        axes.errorbar(row["top1"], place, xerr=reach, fmt="o", markersize=4, color=colour, elinewidth=1.4)
    names = [f"{row['attribute'].replace('_', ' ')}: {row['group']} ({row['notes']:,})" for row in shown.to_dicts()]
    axes.set_yticks(range(shown.height), names, fontsize=8, parse_math=False)
    axes.invert_yaxis()
    axes.set_xlim(0, 1)
    axes.set_xlabel("top-1 accuracy with its interval of 95 %; test notes in brackets")
    axes.set_title(title, loc="left", fontsize=9)
    _save(figure, path)


def _band(low: int, high: int) -> str:
    return f"{low} or more" if high >= 10**9 else f"{low} to {high}"


def _figure() -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.5, 4.6), dpi=120, layout="constrained")
    axes = figure.subplots()
    _plain(axes)
    return figure, axes


def _plain(axes: Any) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="#e3e5e8")
    axes.set_axisbelow(True)


def _save(figure: Any, path: Path) -> None:
    with atomic_write(path) as tmp:
        figure.savefig(tmp, format="png")
