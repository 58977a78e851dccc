"""Lays out a report on runs: cells beside the published, every metric, cost, and what is missing."""

import math
from collections.abc import Mapping, Sequence

from src.display.catalog import COORDINATES, HORIZON, MODEL, SIZE, Metric, View, axis_of, metric_name, metrics_of
from src.display.figure_style import short
from src.display.published import ACCURACY, PUBLISHED, TEST_NOTES, Published, published, sampling_interval
from src.display.tables import Column, Entry, Estimate, Table
from src.reporting.device_hours import Cost
from src.reporting.law_tables import differences_table, fits_table, held_out_table, predictions_table
from src.reporting.series import name_of
from src.scaling_analysis.result import Cell, Measured, Scaling


def estimate(measured: Measured) -> Estimate:
    """Joins the mean with the interval over seeds and patients."""
    return Estimate(measured.mean, measured.low, measured.high)


def results_table(scaling: Scaling) -> Table:
    """Lists every cell, and below the line what was published."""
    columns = [Column("system", "system"), *(Column(axis.key, axis.heading) for axis in COORDINATES)]
    more = [axis for axis in scaling.varied if axis not in (MODEL, *(axis.key for axis in COORDINATES))]
    # Each horizon has a cohort of its own, within which it does not vary.
    more += [HORIZON] if any(HORIZON in cell.axes for cell in scaling.cells) and HORIZON not in more else []
    columns += [Column(axis, axis_of(axis).heading) for axis in more]
    columns += [Column("ground", "cohort")] if len(scaling.grounds) > 1 else []
    columns += [
        Column("seeds", "seeds"),
        *(Column(metric.key, metric.name) for metric in metrics_of(View.REPORT, scaling.apr).values()),
    ]
    columns.append(Column("source", "source"))
    bases_first = sorted(scaling.cells, key=lambda cell: not cell.axes.get("params"))
    rows = [_result(scaling, cell, more) for cell in bases_first]
    rows += [_published(row, len(columns)) for row in PUBLISHED]
    title = "Test results of each cell, means over seeds with intervals of 95 %; below, published on MIMIC-IV"
    return Table("results", title, columns, rows, rule=len(scaling.cells))


def _result(scaling: Scaling, cell: Cell, more: Sequence[str]) -> list[Entry]:
    axes, base = cell.axes, bool(cell.axes.get(SIZE))
    row: list[Entry] = [str(axes[MODEL]), short(axes[SIZE]) if base else None]
    row += [
        None if axis.adapters_only and not base else axes.get(axis.key) if axis.number else str(axes.get(axis.key))
        for axis in COORDINATES
        if axis.key != SIZE
    ]
    row += [
        value if isinstance(value, int | float | str) and not isinstance(value, bool) else str(value)
        for value in map(axes.get, more)
    ]
    row += [scaling.grounds[cell.ground].cohort[:8]] if len(scaling.grounds) > 1 else []
    row.append(cell.seeds)
    row += [estimate(cell.metrics[name]) if name in cell.metrics else None for name in _metrics()]
    return [*row, "here"]


def _metrics() -> dict[str, Metric]:
    return metrics_of(View.REPORT)


def _published(row: Published, columns: int) -> list[Entry]:
    described: list[Entry] = [row.system, short(row.params) if row.params else None, row.max_len, None, row.labels]
    metrics = [_reported(row, name) for name in _metrics()]
    return [*described, *[None] * (columns - len(described) - len(metrics) - 1), *metrics, row.source.split(",")[0]]


def _reported(row: Published, name: str) -> Entry:
    value = row.metrics.get(name)
    if value is None or name != ACCURACY or not row.same_test:
        return value
    return Estimate(value, *sampling_interval(value))


def published_table() -> Table:
    """Lists where each published figure stands."""
    heads = {"system": "system", "labels": "labels", "figures": "figures", "source": "source"}
    rows: list[list[Entry]] = []
    for row in PUBLISHED:
        figures = ", ".join(f"{metric_name(name)} {value:.3f}" for name, value in row.metrics.items())
        rows.append([row.system, row.labels, figures, row.source + ("" if row.same_test else " (another test set)")])
    title = (
        "The published figures and their sources. None has an interval; that of an accuracy above is what its "
        f"{TEST_NOTES:,} test notes allow (binomial)"
    )
    return Table("published", title, [Column(*pair) for pair in heads.items()], rows)


def beside_table(scaling: Scaling) -> Table:
    """Compares cells that the paper has too with it: the same base, length and label scheme."""
    columns = [
        Column("cell", "cell"),
        Column("metric", "metric"),
        Column("here", "here"),
        Column("published", "published"),
    ]
    columns += [Column("difference", "difference"), Column("source", "source")]
    rows: list[list[Entry]] = []
    for index, cell in enumerate(scaling.cells):
        for row in published(str(cell.axes["model"]), str(cell.axes.get("labels"))):
            if row.max_len != cell.axes["max_len"] or not row.same_test:
                continue
            for name, value in row.metrics.items():
                if name in cell.metrics:
                    here = cell.metrics[name]
                    gap = Estimate(here.mean - value, here.low - value, here.high - value)
                    rows.append([name_of(scaling, index), metric_name(name), estimate(here), value, gap, row.source])
    title = "Cells that were published too, on other test notes; the differences take the published value for exact"
    return Table("beside_the_paper", title, columns, rows)


def metrics_table(scaling: Scaling) -> Table:
    """Lists every metric of every cell with its three intervals."""
    heads = ("cell", "metric", "seeds", "mean_over_seeds", "by_seeds", "by_patients", "by_both")
    rows: list[list[Entry]] = [
        [
            name_of(scaling, index), name, cell.seeds, measured.mean,
            *(Estimate(measured.mean, by.low, by.high) for by in (measured.seeds, measured.patients, measured.both)),
        ]
        for index, cell in enumerate(scaling.cells)
        for name, measured in cell.metrics.items()
    ]  # fmt: skip
    columns = [Column(head, head.replace("_", " "), 4) for head in heads]
    return Table("metrics", "Every metric of every cell, with intervals of 95 %", columns, rows, files_only=True)


def costs_table(scaling: Scaling, costs: Mapping[int, Cost]) -> Table:
    """Lists what each cell took."""
    heads = [Column("cell", "cell"), Column("runs", "runs"), Column("device", "on"), Column("hours", "hours a run")]
    heads += [Column("hours_in_all", "hours in all"), Column("tokens", "tokens read a run", 0)]
    heads += [Column("trained", "trained parameters", 0), Column("flop", "FLOP a run")]
    rows: list[list[Entry]] = []
    for index, cost in costs.items():
        numbers = scaling.cells[index].numbers
        sizes = [float(numbers.get(name, math.nan)) or math.nan for name in ("tokens_seen", "trained")]
        flop = numbers.get("flop", math.nan)
        rows.append(
            [
                name_of(scaling, index),
                cost.runs,
                cost.device,
                cost.hours_a_run,
                cost.hours,
                *sizes,
                f"{flop:.2e}" if flop > 0 else None,
            ]
        )
    title = "Cost: hours of training and test of one run, of all seeds, and tokens that training read"
    return Table("cost", title, heads, rows).useful()


def missing_table(scaling: Scaling) -> Table:
    """Lists runs that were asked for, or that the grid has, and that are not finished."""
    heads = {"words": "run", "standing": "standing", "name": "folder"}
    rows: list[list[Entry]] = [[run.words or run.name, run.standing, run.name] for run in scaling.missing]
    return Table("missing", "Runs that are not finished", [Column(*pair) for pair in heads.items()], rows).useful()


def report_tables(scaling: Scaling, costs: Mapping[int, Cost]) -> list[Table]:
    """Collects every table that has a row, in the report's order."""
    every = [
        results_table(scaling).useful(),
        beside_table(scaling),
        published_table(),
        differences_table(scaling),
        fits_table(scaling),
        predictions_table(scaling),
        held_out_table(scaling),
        costs_table(scaling, costs),
        missing_table(scaling),
        metrics_table(scaling),
    ]
    return [table for table in every if table.rows]
