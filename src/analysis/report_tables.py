"""The tables of a report on runs: cells beside the published, differences, fits, predictions, cost, what is missing."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from src.analysis.costs import Cost
from src.analysis.look import short
from src.analysis.paper import ACCURACY, PUBLISHED, Published, published, sampling_interval
from src.analysis.scaling import Cell, Difference, Interval, Measured, Scaling
from src.analysis.tables import Column, Entry, Estimate, Table
from src.analysis.view import METRICS, name_of

SHOWN = {
    "test/macro_f1": "macro-F1",
    "test/accuracy": "top-1",
    "test/top5": "top-5",
    "test/macro_auc": "macro-AUC",
    "test/base_accuracy": "base DRG",
    "test/severity_accuracy": "CC/MCC",
    "test/rule_accuracy": "by rule",
}
"""Metrics of the table of results."""

OVER = {"params": "size", "max_len": "context", "lora_r": "rank", "flop": "compute", "labels": "label scheme"}


def estimate(measured: Measured) -> Estimate:
    """The mean with the interval over seeds and patients."""
    return Estimate(measured.mean, measured.low, measured.high)


def results_table(scaling: Scaling) -> Table:
    """Every cell, and below the line what was published."""
    columns = [Column("system", "system"), Column("params", "parameters"), Column("max_len", "tokens")]
    columns += [Column("lora_r", "rank"), Column("labels", "labels")]
    more = [axis for axis in scaling.varied if axis not in ("params", "model", "max_len", "lora_r", "labels")]
    columns += [Column(axis, axis.replace("_", " ")) for axis in more]
    columns += [Column("ground", "cohort")] if len(scaling.grounds) > 1 else []
    columns += [Column("seeds", "seeds"), *(Column(name.removeprefix("test/"), head) for name, head in SHOWN.items())]
    columns.append(Column("source", "source"))
    rows = [_result(scaling, cell, more) for cell in scaling.cells]
    rows += [_published(row, len(columns)) for row in PUBLISHED]
    title = (
        "Test results of each cell, the mean over its seeds with its interval of 95 %; below them what was published"
    )
    return Table("results", title, columns, rows, rule=len(scaling.cells))


def _result(scaling: Scaling, cell: Cell, more: Sequence[str]) -> list[Entry]:
    axes, base = cell.axes, bool(cell.axes.get("params"))
    row: list[Entry] = [str(axes["model"]), short(axes["params"]) if base else None, axes["max_len"]]
    row += [axes.get("lora_r") if base else None, str(axes.get("labels"))]
    row += [_plain(axes.get(axis)) for axis in more]
    row += [scaling.grounds[cell.ground].cohort[:8]] if len(scaling.grounds) > 1 else []
    row.append(cell.seeds)
    row += [estimate(cell.metrics[name]) if name in cell.metrics else None for name in SHOWN]
    return [*row, "here"]


def _published(row: Published, columns: int) -> list[Entry]:
    told: list[Entry] = [row.system, short(row.params) if row.params else None, row.max_len, None, row.labels]
    metrics = [_reported(row, name) for name in SHOWN]
    source = (
        row.source + ("; computed from a ratio" if row.derived else "") + ("" if row.same_test else "; another test")
    )
    return [*told, *[None] * (columns - len(told) - len(metrics) - 1), *metrics, source]


def _reported(row: Published, name: str) -> Entry:
    value = row.metrics.get(name)
    if value is None or name != ACCURACY or not row.same_test:
        return value
    return Estimate(value, *sampling_interval(value))


def _plain(value: Any) -> Entry:
    return value if isinstance(value, int | float | str) and not isinstance(value, bool) else str(value)


def beside_table(scaling: Scaling) -> Table:
    """Cells that the paper has too: the same base, length and label scheme."""
    columns = [
        Column("cell", "cell"),
        Column("metric", "metric"),
        Column("here", "here"),
        Column("published", "published"),
    ]
    columns += [Column("difference", "difference"), Column("source", "source")]
    rows: list[list[Entry]] = []
    for at, cell in enumerate(scaling.cells):
        for row in published(str(cell.axes["model"]), str(cell.axes.get("labels"))):
            if row.max_len != cell.axes["max_len"] or not row.same_test:
                continue
            for name, value in row.metrics.items():
                if name in cell.metrics:
                    here = cell.metrics[name]
                    gap = Estimate(here.mean - value, here.low - value, here.high - value)
                    rows.append([name_of(scaling, at), SHOWN.get(name, name), estimate(here), value, gap, row.source])
    title = "Cells that were published too; the differences take the published value for exact"
    return Table("beside_the_paper", title, columns, rows)


def metrics_table(scaling: Scaling) -> Table:
    """Every metric of every cell with its three intervals."""
    heads = ("cell", "metric", "seeds", "mean_over_seeds", "by_seeds", "by_patients", "by_both")
    rows: list[list[Entry]] = [
        [
            name_of(scaling, at), name, cell.seeds, each.mean,
            *(_interval(each.mean, part) for part in (each.seeds, each.patients, each.both)),
        ]
        for at, cell in enumerate(scaling.cells)
        for name, each in cell.metrics.items()
    ]  # fmt: skip
    columns = [Column(head, head.replace("_", " "), 4) for head in heads]
    return Table("metrics", "Every metric of every cell, with intervals of 95 %", columns, rows, files_only=True)


def _interval(value: float, interval: Interval) -> Estimate:
    return Estimate(value, interval.low, interval.high)


def differences_table(scaling: Scaling) -> Table:
    """Paired differences of neighbouring cells."""
    heads = {"axis": "along", "one": "this", "other": "less this", "metric": "metric", "difference": "difference"}
    heads |= {"p": "p", "p_holm": "p (Holm)", "pairs": "seeds"}
    rows = [
        _difference(scaling, each)
        for each in sorted(scaling.differences, key=lambda each: each.metric != "test/macro_f1")
    ]
    paired = {each.how for each in scaling.differences} == {"predictions"}
    how = "paired by seed and patient" if paired else "paired by seed, not by patient"
    title = f"Differences between neighbouring cells, {how}, with intervals of 95 %"
    return Table("differences", title, [Column(*pair) for pair in heads.items()], rows)


def _difference(scaling: Scaling, each: Difference) -> list[Entry]:
    value = Estimate(each.value, each.both.low, each.both.high)
    names = (name_of(scaling, each.one), name_of(scaling, each.other))
    return [OVER.get(each.axis, each.axis), *names, _metric(each.metric), value, each.p, each.p_holm, each.pairs]


def _metric(name: str) -> str:
    return SHOWN.get(name) or METRICS.get(name) or name.replace("/", " ").replace("_", " ").replace("val", "validation")


def fits_table(scaling: Scaling) -> Table:
    """The parameters of each fit."""
    columns = [Column("metric", "metric"), Column("over", "over"), Column("fixed", "at"), Column("points", "cells")]
    columns += [Column(name, name) for name in "abcdf"]
    columns += [Column("residual", "residual", 4), Column("told", "parameters")]
    rows: list[list[Entry]] = [
        [
            _metric(fit.metric), _over(fit.over), _fixed(fit.fixed), len(fit.cells),
            *(_parameter(fit.parameters, name) for name in "abcdf"), fit.residual,
            "free" if fit.freedom == 0 else "told by the points" if fit.identified else "not all told by the points",
        ]
        for fit in scaling.fits
    ]  # fmt: skip
    title = (
        "Saturating power laws: a metric is a - b x^-c, or a - b x^-c - d z^-f over size and context together; a loss "
        "has plus for minus. x and z are in units of the cells' geometric mean"
    )
    return Table("fits", title, columns, rows).useful()


def _parameter(parameters: Mapping[str, Any], name: str) -> Entry:
    found = parameters.get(name)
    return None if found is None else Estimate(found.value, found.low, found.high)


def _over(over: Sequence[str]) -> str:
    return " and ".join(OVER.get(name, name) for name in over)


def _fixed(fixed: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={short(value) if name == 'params' else value}" for name, value in fixed.items())


def predictions_table(scaling: Scaling) -> Table:
    """What the fits say of cells that were not run."""
    heads = {"metric": "metric", "why": "for", "at": "at", "predicted": "predicted", "over": "by the fit over"}
    rows: list[list[Entry]] = [
        [
            _metric(each.metric), each.why, _fixed(each.at), Estimate(each.value, each.low, each.high),
            _over(scaling.fits[each.fit].over),
        ]
        for each in scaling.predictions
    ]  # fmt: skip
    title = "What the fits predict, with intervals of 95 % that hold the points' uncertainty, not the law's"
    return Table("predictions", title, [Column(*pair) for pair in heads.items()], rows)


def held_out_table(scaling: Scaling) -> Table:
    """How wrong the fits were about the largest cell."""
    heads = {"metric": "metric", "over": "fit over", "cell": "cell held out", "points": "cells in the fit"}
    heads |= {"predicted": "predicted", "measured": "measured", "error": "error", "no_growth": "best of the others"}
    rows: list[list[Entry]] = [
        [
            _metric(each.metric), _over(each.over), name_of(scaling, each.cell), each.points,
            Estimate(each.predicted, each.low, each.high), each.measured, each.error, each.no_growth,
        ]
        for each in scaling.held_out
    ]  # fmt: skip
    title = (
        "The largest cell as predicted from the others; to say that it gets no better predicts the best of the others"
    )
    return Table("held_out", title, [Column(*pair) for pair in heads.items()], rows)


def costs_table(scaling: Scaling, costs: Mapping[int, Cost]) -> Table:
    """What each cell took."""
    heads = [Column("cell", "cell"), Column("runs", "runs"), Column("device", "on"), Column("hours", "hours a run")]
    heads += [Column("hours_in_all", "hours in all"), Column("tokens", "tokens read a run", 0)]
    heads += [Column("trained", "trained parameters", 0), Column("flop", "FLOP a run")]
    rows: list[list[Entry]] = []
    for at, cost in costs.items():
        numbers = scaling.cells[at].numbers
        told = [float(numbers.get(name, math.nan)) for name in ("tokens_seen", "trained")]
        flop = numbers.get("flop", math.nan)
        rows.append(
            [
                name_of(scaling, at),
                cost.runs,
                cost.device,
                cost.hours_a_run,
                cost.hours,
                *told,
                f"{flop:.2e}" if flop > 0 else None,
            ]
        )
    title = "Cost: hours of training and test of one run, of all seeds, and tokens that training read"
    return Table("cost", title, heads, rows).useful()


def missing_table(scaling: Scaling) -> Table:
    """Runs that were asked for, or that the grid has, and that are not finished."""
    heads = {"words": "run", "standing": "standing", "name": "folder"}
    rows: list[list[Entry]] = [[each.words or each.name, each.standing, each.name] for each in scaling.missing]
    return Table("missing", "Runs that are not finished", [Column(*pair) for pair in heads.items()], rows).useful()


def report_tables(scaling: Scaling, costs: Mapping[int, Cost]) -> list[Table]:
    """Every table that has a row, in the report's order."""
    every = [
        results_table(scaling).useful(), beside_table(scaling), differences_table(scaling), fits_table(scaling),
        predictions_table(scaling), held_out_table(scaling), costs_table(scaling, costs), missing_table(scaling),
        metrics_table(scaling),
    ]  # fmt: skip
    return [table for table in every if table.rows]
