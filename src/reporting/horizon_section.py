"""Shows how early systems tell the DRG: metrics by horizon, and each horizon beside discharge on the same patients."""

from collections.abc import Sequence

from src.config.prepare import in_time
from src.display.catalog import metric_name
from src.display.figure_style import WIDE, ReportFigure, legend, panel, style
from src.display.tables import Column, Entry, Estimate, Table
from src.reporting.run_tables import estimate
from src.reporting.series import METRICS, setting_of, upper
from src.scaling_analysis.against import COMPARED
from src.scaling_analysis.horizons import DISCHARGE, ENOUGH, HorizonCell, Horizons, early_enough
from src.scaling_analysis.result import Scaling

MOST_LINES = 8
"""Lines of a figure: the best at their last horizon."""


def horizon_tables(scaling: Scaling, horizons: Horizons) -> list[Table]:
    """Lists what each system reaches at each horizon; and on the same admissions, less what it reaches at discharge."""
    named = [Column("system", "system"), Column("labels", "labels"), Column("horizon", "horizon")]
    columns = [*named, Column("notes", "test notes"), Column("reached", "of discharge's", 1, percent=True)]
    columns += [Column(metric.rpartition("/")[2], metric_name(metric)) for metric in COMPARED]
    rows: list[list[Entry]] = []
    common: list[list[Entry]] = []
    for line in horizons.lines:
        for cell in line:
            measured = scaling.cells[cell.cell]
            row: list[Entry] = [setting_of(scaling, cell.cell), str(measured.axes.get("labels")), cell.horizon]
            notes = scaling.grounds[measured.ground].test
            rows.append([*row, notes, cell.reached, *(estimate(measured.metrics[metric]) for metric in COMPARED)])
            if cell.common and any(entry.differences for entry in line):
                common.append([*row, *(entry for metric in COMPARED for entry in _beside_discharge(cell, metric))])
    title = "What each system reaches when it reads what was known at a horizon: means over seeds, intervals of 95 %"
    tables = [Table("horizons", title, columns, rows).useful()]
    for metric in COMPARED:
        name, key = metric_name(metric), metric.rpartition("/")[2]
        named += [Column(key, name), Column(f"{key}_less", "less discharge")]
        named.append(Column(f"{key}_p", "p (Holm)", chance=True))
    title = (
        f"The same {horizons.admissions:,} test admissions, still in the house at every horizon: each horizon less "
        "discharge, paired by patient, means over seeds with intervals of 95 % over patients"
    )
    return [*tables, Table("horizon_differences", title, named, common)] if common else tables


def _beside_discharge(cell: HorizonCell, metric: str) -> list[Entry]:
    apart = cell.differences.get(metric)
    if apart is None:
        return [cell.common[metric], None, None]
    return [cell.common[metric], Estimate(apart.value, apart.low, apart.high), apart.p]


def horizon_sentences(scaling: Scaling, horizons: Horizons) -> list[str]:
    """Says of each system at which horizon it reaches most of discharge's top-1."""
    sentences = []
    for line in horizons.lines:
        if (early := early_enough(line)) is not None:
            when = "not before discharge" if early == DISCHARGE else f"at {early}"
            system = upper(setting_of(scaling, line[-1].cell))
            sentences.append(
                f"{system}: {ENOUGH * 100:.0f} % of discharge's top-1 {when} "
                f"({horizons.admissions:,} test admissions that are in the house at every horizon)."
            )
    return sentences


def horizon_drawings(scaling: Scaling, horizons: Horizons) -> list[ReportFigure]:
    """Draws each metric by horizon in order of time, a line a system, its interval as a band."""
    return [_drawing(scaling, horizons.lines, metric) for metric in METRICS if metric in COMPARED]


def _drawing(scaling: Scaling, lines: Sequence[Sequence[HorizonCell]], metric: str) -> ReportFigure:
    best = sorted(lines, key=lambda line: -scaling.cells[line[-1].cell].metrics[metric].mean)
    drawn = [line for line in lines if line in best[:MOST_LINES]]
    names = sorted({cell.horizon for line in drawn for cell in line}, key=in_time)
    figure, axes = panel(3.4, width=WIDE)
    for series, line in enumerate(drawn):
        measured = [scaling.cells[cell.cell].metrics[metric] for cell in line]
        x = [names.index(cell.horizon) for cell in line]
        look = style(series)
        axes.plot(x, [point.mean for point in measured], label=setting_of(scaling, line[-1].cell), **look)
        low, high = [point.low for point in measured], [point.high for point in measured]
        axes.fill_between(x, low, high, color=look["color"], alpha=0.15, linewidth=0)
    axes.set_xticks(range(len(names)), names)
    axes.set_xlabel("horizon")
    axes.set_ylabel(METRICS[metric])
    axes.set_ylim(bottom=0)
    legend(figure, axes, columns=2)
    caption = (
        "Means over seeds; bands are intervals of 95 % over seeds and test patients. Each horizon is of those "
        "who are in the house then, so that the points of a line are of other patients; the second table is not."
    )
    left_out = f" The {len(drawn)} best of {len(lines)} systems." if len(lines) > len(drawn) else ""
    key = metric.rpartition("/")[2]
    return ReportFigure(f"horizon_{key}", f"{upper(METRICS[metric])} by horizon", caption + left_out, figure)
