"""Lays out an analysis of scaling: steps between neighbours, fits, what they predict, and how wrong they were."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from src.display.catalog import axis_of, metric_name
from src.display.tables import Column, Entry, Estimate, Table
from src.reporting.series import METRICS, name_of
from src.scaling_analysis.result import Difference, Fit, HeldOut, Prediction, Scaling


def differences_table(scaling: Scaling) -> Table:
    """Lists the paired differences of neighbouring cells."""
    heads = {"axis": "along", "one": "this", "other": "less this", "metric": "metric", "difference": "difference"}
    heads |= {"p": "p", "p_holm": "p (Holm)", "pairs": "seeds"}
    steps = sorted(scaling.differences, key=_first)
    rows = [_difference(scaling, step) for step in steps]
    paired = {step.how for step in scaling.differences if step.metric.startswith("test/")} == {"predictions"}
    pairing = "paired by seed and patient" if paired else "paired by seed, not by patient"
    title = f"Differences between neighbouring cells, {pairing}, with intervals of 95 %"
    columns = [Column(name, head, chance=name in ("p", "p_holm")) for name, head in heads.items()]
    table = Table("differences", title, columns, rows)
    return _by_cohort(scaling, table, [step.ground for step in steps])


def _by_cohort(scaling: Scaling, table: Table, grounds: Iterable[int]) -> Table:
    """Adds a column that tells the cohorts of the rows apart, where there are several."""
    if len(scaling.grounds) < 2:
        return table
    cohorts = [scaling.grounds[ground].cohort[:8] for ground in grounds]
    rows = [[cohort, *row] for cohort, row in zip(cohorts, table.rows, strict=True)]
    return replace(table, columns=[Column("ground", "cohort"), *table.columns], rows=rows)


def _difference(scaling: Scaling, step: Difference) -> list[Entry]:
    value = Estimate(step.value, step.both.low, step.both.high)
    names = (name_of(scaling, step.one), name_of(scaling, step.other))
    return [axis_of(step.axis).name, *names, metric_name(step.metric), value, step.p, step.p_holm, step.pairs]


def _first(entry: Difference | Fit | Prediction | HeldOut) -> int:
    """Ranks the field's metrics first."""
    return list(METRICS).index(entry.metric) if entry.metric in METRICS else len(METRICS)


def fits_table(scaling: Scaling) -> Table:
    """Lists the parameters of each fit."""
    columns = [Column("metric", "metric"), Column("over", "over"), Column("fixed", "at"), Column("points", "cells")]
    columns += [Column(name, name) for name in "abcdf"]
    columns += [Column("misfit", "misfit", 4), Column("told", "parameters")]
    fits = sorted(scaling.fits, key=_first)
    rows: list[list[Entry]] = [
        [
            metric_name(fit.metric), _over(fit.over), point(fit.fixed), len(fit.cells),
            *(
                Estimate(number.value, number.low, number.high) if (number := fit.parameters.get(name)) else None
                for name in "abcdf"
            ),
            fit.misfit if fit.freedom else None,
            "free" if fit.freedom == 0 else "told by the points" if fit.identified else "not all told by the points",
        ]
        for fit in fits
    ]  # fmt: skip
    title = (
        "Saturating power laws: a metric is a - b x^-c, or a - b x^-c - d z^-f over size and context together; a loss "
        "has plus for minus. x and z are in units of the cells' geometric mean; the misfit is the standard deviation "
        "that the law leaves of the points beyond their own uncertainty"
    )
    return _by_cohort(scaling, Table("fits", title, columns, rows).useful(), [fit.ground for fit in fits])


def _over(over: Sequence[str]) -> str:
    return " and ".join(axis_of(name).name for name in over)


def point(coordinates: Mapping[str, Any]) -> str:
    """Describes a place in the grid in words.

    >>> point({"params": 4.9e6, "max_len": 768.0, "labels": "two"})
    'size 4.9M, context 768, label scheme two'
    """
    axes = {axis_of(key): value for key, value in coordinates.items()}
    return ", ".join(f"{axis.name} {axis.shown(value)}" for axis, value in axes.items())


def predictions_table(scaling: Scaling) -> Table:
    """Lists what the fits say of cells that were not run."""
    heads = {"metric": "metric", "why": "for", "at": "at", "predicted": "predicted", "over": "by the fit over"}
    predictions = sorted(scaling.predictions, key=_first)
    rows: list[list[Entry]] = [
        [
            metric_name(prediction.metric), prediction.why, point(prediction.at),
            Estimate(prediction.value, prediction.low, prediction.high), _over(scaling.fits[prediction.fit].over),
        ]
        for prediction in predictions
    ]  # fmt: skip
    title = "What the fits predict, with intervals of 95 % that hold the points' uncertainty and the fit's misfit"
    table = Table("predictions", title, [Column(*pair) for pair in heads.items()], rows)
    return _by_cohort(scaling, table, [scaling.fits[prediction.fit].ground for prediction in predictions])


def held_out_table(scaling: Scaling) -> Table:
    """Lists how wrong the fits were about the largest cell."""
    heads = {"metric": "metric", "over": "fit over", "cell": "cell held out", "points": "cells in the fit"}
    heads |= {"predicted": "predicted", "measured": "measured", "error": "error", "no_growth": "best of the others"}
    largest = sorted(scaling.held_out, key=_first)
    rows: list[list[Entry]] = [
        [
            metric_name(held_out.metric), _over(held_out.over), name_of(scaling, held_out.cell), held_out.points,
            Estimate(held_out.predicted, held_out.low, held_out.high), held_out.measured, held_out.error,
            held_out.no_growth,
        ]
        for held_out in largest
    ]  # fmt: skip
    title = (
        "The largest cell as predicted from the others; to say that it gets no better predicts the best of the others"
    )
    table = Table("held_out", title, [Column(*pair) for pair in heads.items()], rows)
    return _by_cohort(scaling, table, [held_out.ground for held_out in largest])
