"""Gives figures a common look: a column or a page wide, readable in grey, fonts embedded, always the same bytes."""

import io
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from src.cli.files import atomic_write
from src.display.html import escaped

COLUMN, WIDE = 3.46, 7.09
"""Inches: one column of npj Digital Medicine, 88 mm, and both, 180 mm."""

INK, LINE, GREY, PALE = "#1f2933", "#e3e5e8", "#7d858d", "#eef3fb"

STYLES = (
    ("#1b3f73", "o", "-"),
    ("#c9730b", "s", (0, (5, 1.5))),
    ("#3b7dd8", "^", (0, (1.2, 1.2))),
    ("#6b7280", "D", (0, (5, 1.2, 1.2, 1.2))),
    ("#7a4a9e", "v", (0, (8, 2))),
    ("#2e8b6f", "P", (0, (3, 1, 1, 1, 1, 1))),
    ("#a33b3b", "X", (0, (2, 2))),
    ("#9aa0a6", "<", (0, (6, 2, 2, 2))),
)
"""Colour, marker and line of each series, so that no two differ by colour alone."""

SETTINGS: dict[Any, Any] = {
    "font.size": 7.5,
    "axes.titlesize": 8,
    "axes.labelsize": 7.5,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "lines.linewidth": 1.2,
    "lines.markersize": 4,
    "axes.linewidth": 0.7,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "text.color": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.edgecolor": INK,
    "pdf.fonttype": 42,  # TrueType: journals refuse the Type 3 that is matplotlib's own choice
    "svg.hashsalt": "drg-llama",  # ids in a file are random without it
}


@dataclass(frozen=True)
class ReportFigure:
    """Holds a figure of a report.

    Attributes:
        name: of its files.
        title: what it shows.
        caption: how it is to be read: what the points, bars and bands are, and what was left out.
        figure: matplotlib's.
    """

    name: str
    title: str
    caption: str
    figure: Any


def style(index: int) -> dict[str, Any]:
    """Returns colour, marker and line of the series with an index."""
    colour, marker, line = STYLES[index % len(STYLES)]
    return {"color": colour, "marker": marker, "linestyle": line}


def panel(height: float = 2.5, grid: Literal["x", "y"] = "y", width: float = COLUMN) -> tuple[Any, Any]:
    """Makes a figure with one panel.

    Args:
        height: inches.
        grid: lines across (`y`) or down (`x`).
        width: inches.
    """
    figure, axes = panels(height, grid, width)
    return figure, axes[0, 0]


def panels(
    height: float, grid: Literal["x", "y"] = "y", width: float = WIDE, rows: int = 1, columns: int = 1, **ratios: Any
) -> tuple[Any, Any]:
    """Makes a figure with panels, [rows, columns].

    Args:
        height: inches.
        grid: lines across (`y`) or down (`x`).
        width: inches.
        rows: of panels.
        columns: of panels.
        ratios: what else matplotlib's `subplots` takes, such as `height_ratios`.
    """
    from matplotlib.figure import Figure

    with settings():
        figure = Figure(figsize=(width, height), dpi=150, layout="constrained")
        grid_of_axes = figure.subplots(rows, columns, squeeze=False, **ratios)
    for axes in grid_of_axes.flat:
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis=grid, color=LINE, linewidth=0.6)
        axes.set_axisbelow(True)
    return figure, grid_of_axes


def legend(figure: Any, axes: Any, columns: int = 3, lines: Mapping[str, int] | None = None) -> None:
    """Puts the legend above the panel, never over data.

    Args:
        figure: of the panel.
        axes: the panel.
        columns: names in a row.
        lines: the indices of series by name, which stand with marker and line however they were drawn.
    """
    from matplotlib.lines import Line2D

    handles, labels = axes.get_legend_handles_labels()
    if lines:
        handles = [*(Line2D([], [], **style(index)) for index in lines.values()), *handles]
        labels = [*lines, *labels]
    if len(labels) < 2:
        return
    longest = 4.2 * max(map(len, labels)) + 34  # points: a letter, and what stands around a name
    fitting = int(figure.get_figwidth() * 72 // longest)
    figure.legend(
        handles, labels, loc="outside upper left", ncols=max(1, min(columns, fitting)), frameon=False,
        handlelength=2.6, columnspacing=1.2, borderaxespad=0.1,
    )  # fmt: skip


def settle(drawing: ReportFigure) -> None:
    """Lays the figure out once, which takes as long as to draw it, for all formats."""
    with settings():
        drawing.figure.draw_without_rendering()
        drawing.figure.set_layout_engine(None)


def svg(drawing: ReportFigure) -> str:
    """Writes the figure as a file of its own; the same figure gives the same text."""
    with settings(), io.StringIO() as file:
        drawing.figure.savefig(
            file, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None}
        )
        return re.sub(r"\s*<metadata>.*?</metadata>", "", file.getvalue(), flags=re.DOTALL)


def pdf(drawing: ReportFigure) -> bytes:
    """Writes the figure with its fonts embedded as TrueType."""
    with settings(), io.BytesIO() as file:
        drawing.figure.savefig(file, format="pdf", metadata={"CreationDate": None, "Title": drawing.title})
        return file.getvalue()


def write_png(path: Path, figure: Any) -> None:
    """Writes matplotlib's figure as a PNG, whole or not at all."""
    with settings(), atomic_write(path) as tmp:
        figure.savefig(tmp, format="png")


def inline(text: str, name: str, described: str) -> str:
    """Makes an SVG file an element of a page that holds others.

    Args:
        text: what `svg` gives.
        name: put before its ids, which another figure may have too.
        described: what it shows, for those who cannot see it.
    """
    text = text[text.index("<svg") :]  # a page has no room for an XML declaration within it
    text = re.sub(r'\bid="', f'id="{name}-', text)
    text = re.sub(r'(xlink:href="#|url\(#)', rf"\g<1>{name}-", text)
    return text.replace("<svg ", f'<svg role="img" aria-label="{escaped(described)}" ', 1)


@contextmanager
def settings() -> Iterator[None]:
    """Sets sizes of text, lines and markers, for what is drawn inside."""
    import matplotlib

    with matplotlib.rc_context(SETTINGS):
        yield


def short(count: float) -> str:
    """Writes a count in few letters.

    >>> short(156320), short(1328256), short(6607343616), short(384), short(2e15)
    ('156k', '1.3M', '6.6B', '384', '2000T')
    """
    for size, letter in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if count >= size:
            scaled = count / size
            return f"{scaled:.0f}{letter}" if scaled >= 99.5 else f"{scaled:.2g}{letter}"
    return f"{count:.0f}"


def ticks(axes: Any, values: Sequence[float], labels: Sequence[str]) -> None:
    """Makes x logarithmic, with a tick at each value but those whose words would lie over the last one's."""
    from math import log

    axes.set_xscale("log")
    low, high = log(min(values)), log(max(values))
    kept: list[int] = []
    for index, value in sorted(enumerate(values), key=lambda pair: pair[1]):
        if not kept or high == low or (log(value) - log(values[kept[-1]])) / (high - low) > 0.13:
            kept.append(index)
    axes.set_xticks([values[index] for index in kept], [labels[index] for index in kept])
    axes.minorticks_off()
    if high == low:
        axes.set_xlim(values[0] / 2, values[0] * 2)
    else:
        reach = (high - low) * 0.08
        axes.set_xlim(min(values) * 2.718281828**-reach, max(values) * 2.718281828**reach)
