"""Draws a prepared cohort: flow, label frequencies, lengths."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from src.display.figure_style import GREY, INK, PALE, STYLES, WIDE, legend, panel, panels, settings, style

BLUE, AMBER = STYLES[2][0], STYLES[1][0]

LONGEST_SHOWN = 0.995
"""Share of the notes that a histogram shows; a few very long ones would flatten the rest."""


@settings()
def flow_figure(flow: Sequence[Mapping[str, Any]], splits: Mapping[str, Mapping[str, int]]) -> Any:
    """Draws what each step left as boxes, from top to bottom, what went at their side, and the splits below."""
    from matplotlib.figure import Figure

    rows = len(flow)
    figure = Figure(figsize=(WIDE, 0.74 * (rows + 1) + 0.4), dpi=150)
    axes = figure.add_axes((0.01, 0.01, 0.98, 0.98))
    axes.set_axis_off()
    axes.set_xlim(0, 100)
    axes.set_ylim(-(rows + 1) + 0.35, 0.55)
    for row, step in enumerate(flow):
        if row:
            _arrow(axes, (32, -row + 1 - 0.31), (32, -row + 0.31))
            if step["excluded"]:
                _arrow(axes, (32, -row + 0.5), (70.5, -row + 0.5))
                _box(axes, (84, -row + 0.5), (27, 0.42), f"{step['excluded']:,} excluded", "white", GREY)
        label = textwrap.shorten(str(step["step"]), 100, placeholder=" …")
        _box(axes, (32, -row), (56, 0.62), f"{textwrap.fill(label, 52)}\nn = {step['left']:,}", PALE, BLUE)
    _split_boxes(axes, rows, splits)
    return figure


@settings()
def horizon_figure(horizons: Mapping[str, Sequence[Mapping[str, Any]]]) -> Any:
    """Draws a bar a horizon: the notes of the cohort of which something was known then, and why the others are out.

    Args:
        horizons: the flow of each, in order of time, from the notes of the cohort on.
    """
    figure, axes = panel(0.42 * len(horizons) + 1.1, grid="x", width=WIDE)
    left_out = {_left_out(step, name): None for name, flow in horizons.items() for step in flow[1:]}
    counts = {reason: [0] * len(horizons) for reason in ["read", *left_out]}
    for row, (name, flow) in enumerate(horizons.items()):
        counts["read"][row] = flow[-1]["left"]
        for step in flow[1:]:
            counts[_left_out(step, name)][row] += step["excluded"]
    begins = np.zeros(len(horizons))
    for index, (reason, notes) in enumerate(counts.items()):
        bars = axes.barh(list(horizons), notes, left=begins, label=reason, color=style(index)["color"], height=0.66,
                         alpha=1 if index == 0 else 0.55)  # fmt: skip
        axes.bar_label(bars, [f"{count:,}" if count else "" for count in notes], label_type="center",
                       color="white" if index == 0 else INK)  # fmt: skip
        begins += notes
    axes.invert_yaxis()
    axes.set_xlim(0, max(begins.max(), 1))
    axes.set_xlabel("notes of the cohort")
    legend(figure, axes, columns=3)
    return figure


def _left_out(step: Mapping[str, Any], horizon: str) -> str:
    """Says what the notes lacked that a step left out.

    >>> _left_out({"step": "with something known at ed"}, "ed"), _left_out({"step": "in the house still at ed"}, "ed")
    ('without something known', 'not in the house still')
    """
    kept = str(step["step"]).replace(f" at {horizon}", "")
    return f"without {kept.removeprefix('with ')}" if kept.startswith("with ") else f"not {kept}"


def _split_boxes(axes: Any, rows: int, splits: Mapping[str, Mapping[str, int]]) -> None:
    centres = np.linspace(16, 84, len(splits))
    fork = -rows + 0.5
    axes.plot([32, 32], [-rows + 1 - 0.31, fork], color=INK, linewidth=1)
    axes.plot([min(*centres, 32), max(*centres, 32)], [fork, fork], color=INK, linewidth=1)
    for centre, (name, counts) in zip(centres, splits.items(), strict=True):
        _arrow(axes, (centre, fork), (centre, -rows + 0.31))
        size = f"{counts['notes']:,} notes of {counts['patients']:,} patients"
        _box(axes, (centre, -rows), (30, 0.62), f"{name}\n{size}", "#fdf4e3", AMBER)


def _arrow(axes: Any, start: tuple[float, float], end: tuple[float, float]) -> None:
    arrow = {"arrowstyle": "-|>", "color": INK, "linewidth": 1, "shrinkA": 0, "shrinkB": 0}
    axes.annotate("", xy=end, xytext=start, arrowprops=arrow)


def _box(axes: Any, centre: tuple[float, float], size: tuple[float, float], text: str, fill: str, edge: str) -> None:
    from matplotlib.patches import Rectangle

    (x, y), (wide, high) = centre, size
    axes.add_patch(Rectangle((x - wide / 2, y - high / 2), wide, high, facecolor=fill, edgecolor=edge, linewidth=1.1))
    axes.text(x, y, text, ha="center", va="center", color=INK, linespacing=1.35)


@settings()
def label_figure(counts: Sequence[int], bands: Mapping[str, int], kind: str = "DRGs") -> Any:
    """Draws the notes of each DRG by its rank, both logarithmic, and how many DRGs have few or many.

    Args:
        counts: notes of each DRG that has enough to be shown, many to few.
        bands: DRGs by how many notes they have.
        kind: what they are called, `DRGs` or `classes`.
    """
    figure, ((ranks, bars),) = panels(2.8, columns=2, width_ratios=(3, 2))
    label = "DRG" if kind == "DRGs" else "class"
    if counts:
        ranks.loglog(range(1, len(counts) + 1), counts, color=BLUE, marker="o", markersize=2)
        _plain_ticks(ranks)
    ranks.set_xlabel(f"rank of the {label}")
    ranks.set_ylabel(f"notes of the {label}")
    ranks.set_title(f"Notes by rank of the {label}", loc="left")
    drawn = bars.bar(list(bands), list(bands.values()), color=BLUE, width=0.7)
    bars.bar_label(drawn, fmt="{:,.0f}", padding=2)
    bars.margins(y=0.12)
    bars.set_xlabel(f"notes of the {label}")
    bars.set_ylabel(kind)
    bars.set_title(f"{kind} with few and many notes", loc="left")
    return figure


@settings()
def length_figure(words: NDArray[Any], tokens: NDArray[Any], cuts: Mapping[str, float]) -> Any:
    """Draws histograms of the notes' words and tokens, with the lengths at which notes are cut.

    Args:
        words: of each note.
        tokens: of each note before it is cut.
        cuts: share of notes that each length in tokens cuts.
    """
    figure, ((left, right),) = panels(2.8, columns=2)
    for axes, values, unit in ((left, words, "words"), (right, tokens, "tokens")):
        edge = max(float(np.quantile(values, LONGEST_SHOWN)), 1.0)
        axes.hist(values[values <= edge], bins=50, range=(0, edge), color=BLUE, alpha=0.85)
        axes.set_xlim(0, edge)
        axes.set_ylim(0, axes.get_ylim()[1] * 1.15)
        axes.set_title(f"{unit.capitalize()} of a note: mean {values.mean():,.0f}", loc="left")
        axes.set_xlabel(f"{unit}; the longest {1 - LONGEST_SHOWN:.1%} of the notes are not drawn")
        axes.set_ylabel("notes")
    shown = [(int(length), share) for length, share in cuts.items() if int(length) <= right.get_xlim()[1]]
    for index, (length, share) in enumerate(shown):
        _cut_line(right, length, share, height=0.99 - 0.13 * (index % 3))
    return figure


def _cut_line(axes: Any, length: int, share: float, height: float) -> None:
    late = length > 0.8 * axes.get_xlim()[1]
    axes.axvline(length, color=AMBER, linewidth=1.4, linestyle=(0, (4, 2)))
    axes.annotate(
        f"{length:,}\n{share:.1%} cut",
        (length, height),
        xycoords=("data", "axes fraction"),
        xytext=(-4 if late else 4, 0),
        textcoords="offset points",
        ha="right" if late else "left",
        va="top",
        color=INK,
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.8, "alpha": 0.85},
    )


def _plain_ticks(axes: Any) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0), numticks=20))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}" if value >= 1 else ""))
        axis.set_minor_formatter(NullFormatter())
