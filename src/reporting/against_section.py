"""Shows what every cell brings beside one of them, in all and by how many training notes a DRG had."""

from collections.abc import Sequence

from src.cli.progress import minutes
from src.display.catalog import metric_name
from src.display.figure_style import WIDE, ReportFigure, legend, panel, style
from src.display.tables import Column, Entry, Estimate, Table
from src.reporting.run_errors import SMALL, known_groups, short_band
from src.reporting.run_tables import estimate
from src.reporting.series import name_of
from src.scaling_analysis.against import BAND, COMPARED, Against, Band
from src.scaling_analysis.result import Difference, Scaling

MOST_LINES = 8
"""Lines of the figure: the cell that others are compared with, and those of the best macro-F1."""


def against_table(scaling: Scaling, against: Against) -> Table:
    """Lists the cells of the cohort by macro-F1, the one that they are compared with marked, and what each brings."""
    bands = _shown_bands(against)
    columns = [Column("cell", "cell"), Column("seeds", "seeds"), Column("training", "training a run")]
    for metric in COMPARED:
        name, key = metric_name(metric), metric.rpartition("/")[2]
        columns += [Column(key, name), Column(f"{key}_brings", "brings"), Column(f"{key}_p", "p (Holm)", chance=True)]
    columns += [Column(f"macro_f1_{band.name}".replace(" ", "_"), short_band(band.name)) for band in bands]
    rows: list[list[Entry]] = []
    for index in _best_first(against):
        cell = against.cells[index]
        assert cell is not None
        name = name_of(scaling, index) + (" (compared with)" if index == against.base else "")
        row: list[Entry] = [name, cell.seeds, minutes(cell.numbers["training_s"])]
        for metric in COMPARED:
            row.append(estimate(cell.metrics[metric]))
            row += _brought(against.differences.get((index, metric)))
        rows.append([*row, *(cell.metrics[BAND + band.name].mean for band in bands)])
    title = (
        f"Every cell less {name_of(scaling, against.base)}: means over seeds with intervals of 95 % over seeds and "
        f"patients, paired by both; then macro-F1 of the DRGs with so many training notes. {SMALL}"
    )
    return Table("against", title, columns, rows)


def _brought(difference: Difference | None) -> list[Entry]:
    if difference is None:
        return [None, None]
    return [Estimate(difference.value, difference.both.low, difference.both.high), difference.p_holm]


def against_drawing(scaling: Scaling, against: Against) -> list[ReportFigure]:
    """Draws macro-F1 by training notes, a line a cell; nothing where all DRGs are of one band."""
    bands = _shown_bands(against)
    if len(bands) < 2:
        return []
    best = [index for index in _best_first(against) if index != against.base]
    drawn = [against.base, *best[: MOST_LINES - 1]]
    figure, axes = panel(3.4, width=WIDE)
    for line, index in enumerate(drawn):
        cell = against.cells[index]
        assert cell is not None
        measured = [cell.metrics[BAND + band.name] for band in bands]
        means = [band.mean for band in measured]
        low, high = ([abs(m.mean - edge) for m, edge in zip(measured, edges, strict=True)] for edges in (
            [m.low for m in measured], [m.high for m in measured]))  # fmt: skip
        shifted = [column + (line - (len(drawn) - 1) / 2) * 0.06 for column in range(len(bands))]
        axes.errorbar(shifted, means, yerr=[low, high], capsize=1.5, elinewidth=0.7, label=name_of(scaling, index),
                      **style(line))  # fmt: skip
    axes.set_xticks(range(len(bands)), [f"{short_band(band.name)}\n{band.drgs:,} DRGs" for band in bands])
    axes.set_xlabel("training notes of the DRG")
    axes.set_ylabel("macro-F1 of these DRGs")
    axes.set_ylim(bottom=0)
    legend(figure, axes, columns=2)
    caption = "Means over seeds with intervals of 95 % over seeds and test patients."
    left_out = f" The {len(drawn)} best of {len(best) + 1} cells." if len(best) + 1 > len(drawn) else ""
    return [ReportFigure("against", "Rare and common DRGs", f"{caption}{left_out} {SMALL}", figure)]


def _best_first(against: Against) -> list[int]:
    known = {index: cell for index, cell in enumerate(against.cells) if cell is not None}
    return sorted(known, key=lambda index: -known[index].metrics[COMPARED[0]].mean)


def _shown_bands(against: Against) -> Sequence[Band]:
    rows = [{"band": band, "patients": band.patients, "notes": band.notes} for band in against.bands]
    return [row["band"] for row in known_groups(rows, sum(band.notes for band in against.bands))]
