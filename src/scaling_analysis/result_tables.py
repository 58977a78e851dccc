"""Writes a scaling analysis as tables, as JSON, and as a short text."""

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from src.cli.files import atomic_write
from src.display.spreadsheet import write_csv
from src.display.tables import p_value
from src.scaling_analysis.result import Cell, Fit, Interval, Scaling

SHOWN = 24
"""Lines of a part of the text; the tables have all."""

Rows = list[dict[str, Any]]


def tables(scaling: Scaling) -> dict[str, Rows]:
    """Returns every table by its name, as rows of plain values; what is not known is None."""
    return {
        "cells": [row for index in range(len(scaling.cells)) for row in _cell_rows(scaling, index)],
        "differences": [_difference_row(scaling, index) for index in range(len(scaling.differences))],
        "fits": [row for fit in scaling.fits for row in _fit_rows(fit, scaling)],
        "predictions": [
            {
                "over": _over(scaling.fits[prediction.fit]),
                "why": prediction.why,
                **_cohort(scaling, scaling.fits[prediction.fit].ground),
                **prediction.at,
                "metric": prediction.metric,
            }
            | {"predicted": prediction.value, "low": prediction.low, "high": prediction.high}
            for prediction in scaling.predictions
        ],
        "held_out": [
            {
                "over": "+".join(held_out.over),
                **_named(scaling.cells[held_out.cell], scaling),
                "metric": held_out.metric,
            }
            | {"points": held_out.points, "predicted": held_out.predicted, "low": held_out.low, "high": held_out.high}
            | {"measured": held_out.measured, "error": held_out.error, "no_growth": held_out.no_growth}
            for held_out in scaling.held_out
        ],
        "missing": [dataclasses.asdict(run) for run in scaling.missing],
    }


def as_json(scaling: Scaling) -> dict[str, Any]:
    """Collects all numbers for a file; nan becomes null."""
    content: dict[str, Any] = {
        "seed": scaling.seed,
        "varied": list(scaling.varied),
        "grounds": [dataclasses.asdict(ground) for ground in scaling.grounds],
        "cells": [
            {**vars(cell), "metrics": {name: _edged(measured) for name, measured in cell.metrics.items()}}
            for cell in scaling.cells
        ],
        "differences": [_edged(difference) for difference in scaling.differences],
        "fits": [_fit(fit) for fit in scaling.fits],
        "predictions": [dataclasses.asdict(prediction) for prediction in scaling.predictions],
        "held_out": [dataclasses.asdict(held_out) | {"error": held_out.error} for held_out in scaling.held_out],
        "missing": [dataclasses.asdict(run) for run in scaling.missing],
        "notes": list(scaling.notes),
    }
    return dict(_plain(content))


def as_text(scaling: Scaling, metrics: Sequence[str]) -> str:
    """Writes what a terminal shows: cells, their differences, fits, predictions, the cell held out, what is missing."""
    shown = [name for name in metrics if any(name in cell.metrics for cell in scaling.cells)]
    few = len(scaling.fits) <= SHOWN
    parts = [
        _cells_text(scaling, shown),
        _part("One step apart, the larger less the smaller, by patient and seed", _differences_text(scaling)),
        _part("Fits", [_fit_line(fit, scaling) for fit in scaling.fits if len(fit.over) == 2 or few]),
        _part("Predicted", _predictions_text(scaling)),
        _part("The largest cell held out of the fit", _held_text(scaling)),
        _part(
            f"Missing: {len(scaling.missing)}", [f"{run.words or run.name}: {run.standing}" for run in scaling.missing]
        ),
        "\n".join(scaling.notes),
    ]
    return "\n\n".join(part for part in parts if part)


def write_scaling(scaling: Scaling, folder: Path) -> Path:
    """Writes `scaling.json` and a CSV for each table; returns the path of the former."""
    for name, rows in tables(scaling).items():
        heads = list(dict.fromkeys(key for row in rows for key in row))
        with atomic_write(folder / f"{name}.csv") as tmp:
            write_csv(tmp, heads or ["none"], [[row.get(head) for head in heads] for row in rows])
    with atomic_write(folder / "scaling.json") as tmp:
        tmp.write_text(json.dumps(as_json(scaling), indent=1, allow_nan=False) + "\n", "utf-8")
    return folder / "scaling.json"


def _cell_rows(scaling: Scaling, index: int) -> Rows:
    cell = scaling.cells[index]
    first = {"ground": cell.ground, "cell": index, **cell.axes, "runs": cell.seeds, **_plain(cell.numbers)}
    return [
        first
        | {"metric": name, "seeds": len(measured.values), "mean": measured.mean}
        | _plain(vars(measured.both))
        | _edges("seeds", measured.seeds)
        | _edges("patients", measured.patients)
        for name, measured in cell.metrics.items()
    ]


def _difference_row(scaling: Scaling, index: int) -> dict[str, Any]:
    difference = scaling.differences[index]
    larger, smaller = scaling.cells[difference.one], scaling.cells[difference.other]
    row: dict[str, Any] = {"metric": difference.metric, "axis": difference.axis, "of": _value(larger, difference.axis)}
    row |= {"less": _value(smaller, difference.axis), **_named(larger, scaling, without=difference.axis)}
    row |= {"pairs": difference.pairs, "difference": difference.value, **_plain(vars(difference.both))}
    row |= {**_edges("seeds", difference.seeds), **_edges("patients", difference.patients)}
    return row | {"p": _plain(difference.p), "p_holm": _plain(difference.p_holm), "patients_from": difference.how}


def _fit_rows(fit: Fit, scaling: Scaling) -> Rows:
    first = {"metric": fit.metric, "over": _over(fit), **_cohort(scaling, fit.ground), **fit.fixed}
    first |= {"points": len(fit.cells), "freedom": fit.freedom, "residual": fit.residual, "misfit": fit.misfit}
    first["patients_from"] = fit.how
    first |= {f"reference_{name}": value for name, value in zip(fit.over, fit.reference, strict=True)}
    return [first | {"parameter": name} | dataclasses.asdict(parameter) for name, parameter in fit.parameters.items()]


def _edged(row: Any) -> dict[str, Any]:
    """Lists the fields of a value and those of its intervals; `dataclasses.asdict` takes ten times as long."""
    return {name: vars(value) if isinstance(value, Interval) else value for name, value in vars(row).items()}


def _fit(fit: Fit) -> dict[str, Any]:
    hidden = ("draws", "best")
    fields = {field.name: getattr(fit, field.name) for field in dataclasses.fields(fit) if field.name not in hidden}
    fields["parameters"] = {name: dataclasses.asdict(parameter) for name, parameter in fit.parameters.items()}
    return fields | {"identified": fit.identified, "formula": formula(fit)}


def formula(fit: Fit) -> str:
    """Writes the law that was fitted as a formula.

    >>> from src.scaling_analysis.result import Fit
    >>> formula(Fit(0, "val/loss", ("params",), {}, (), (2000.0,), {}, 0, 0.0, 0.0, True, "recorded", True, None, None))
    'val/loss = a + b (params / 2,000)^-c'
    """
    sign, letters = "+" if fit.falls else "-", iter(("b", "c", "d", "f"))
    terms = (
        f" {sign} {next(letters)} ({name} / {_number(reference)})^-{next(letters)}"
        for name, reference in zip(fit.over, fit.reference, strict=True)
    )
    return f"{fit.metric} = a{''.join(terms)}"


def _cells_text(scaling: Scaling, metrics: Sequence[str]) -> str:
    names = ["model", *(axis for axis in scaling.varied if axis != "params")]
    lines = []
    for ground, dataset in enumerate(scaling.grounds):
        cells = [cell for cell in scaling.cells if cell.ground == ground]
        head = [*names, "seeds", *metrics]
        rows = [
            [*(str(cell.axes.get(name)) for name in names), str(cell.seeds), *(_metric(cell, name) for name in metrics)]
            for cell in cells[: 3 * SHOWN]
        ]
        wide = [max(len(row[index]) for row in [head, *rows]) for index in range(len(head))]
        lines.append(
            f"cohort {dataset.cohort[:12]}, {dataset.protocol}: {dataset.train:,} training and "
            f"{dataset.test:,} test notes; {sum(cell.seeds for cell in cells):,} runs in {len(cells):,} cells"
        )
        aligned = (zip(row, wide, strict=True) for row in [head, *rows])
        lines += ["  ".join(f"{word:<{width}}" for word, width in row).rstrip() for row in aligned]
        if len(cells) > len(rows):
            lines.append(f"{len(cells) - len(rows):,} more cells")
    return "\n".join(lines)


def _metric(cell: Cell, name: str) -> str:
    measured = cell.metrics.get(name)
    return "-" if measured is None else f"{measured.mean:.3f}{_between(measured.both)}"


def _differences_text(scaling: Scaling) -> list[str]:
    lines = []
    for row in tables_of_differences(scaling):
        fixed = " ".join(f"{key}={value}" for key, value in row["fixed"].items())
        difference = row["difference"]
        remarks = "" if math.isnan(difference.p_holm) else f"  p {p_value(difference.p_holm)}"
        remarks += "" if difference.pairs > 1 else ", patients alone: one seed"
        between = f"{difference.value:+.3f}{_between(difference.both)}"
        lines.append(f"{difference.metric}  {row['of']} - {row['less']}  {fixed}: {between}{remarks}")
    return lines


def tables_of_differences(scaling: Scaling) -> list[dict[str, Any]]:
    """Joins each difference with the two values of its axis and the axes that are the same on both sides."""
    return [
        {
            "of": _value(scaling.cells[difference.one], difference.axis),
            "less": _value(scaling.cells[difference.other], difference.axis),
            "fixed": _named(scaling.cells[difference.one], scaling, without=difference.axis),
            "difference": difference,
        }
        for difference in scaling.differences
    ]


def _fit_line(fit: Fit, scaling: Scaling) -> str:
    fixed = "".join(f" {key}={value}" for key, value in {**_cohort(scaling, fit.ground), **fit.fixed}.items())
    numbers = ", ".join(
        f"{name} {parameter.value:.3g} [{parameter.low:.3g}, {parameter.high:.3g}]"
        if parameter.identified
        else f"{name} not identified"
        for name, parameter in fit.parameters.items()
    )
    misfit = f"misfit {fit.misfit:.4f} ({fit.freedom} points to spare)" if fit.freedom else "no point to spare"
    return f"{formula(fit)}{fixed}: {numbers}; residual {fit.residual:.4f}, {misfit}"


def _predictions_text(scaling: Scaling) -> list[str]:
    shown = [
        prediction for prediction in scaling.predictions if len(scaling.fits[prediction.fit].over) == 2
    ] or scaling.predictions
    lines = []
    for prediction in shown:
        point = {**_cohort(scaling, scaling.fits[prediction.fit].ground), **prediction.at}
        words = " ".join(f"{key}={_number(value)}" for key, value in point.items())
        between = f"[{prediction.low:.3f}, {prediction.high:.3f}]"
        lines.append(f"{prediction.metric}  {prediction.why}: {words}: {prediction.value:.3f} {between}")
    return lines


def _held_text(scaling: Scaling) -> list[str]:
    return [
        f"{held_out.metric} over {' and '.join(held_out.over)}, "
        f"{' '.join(f'{key}={value}' for key, value in _named(scaling.cells[held_out.cell], scaling).items())}: "
        f"predicted {held_out.predicted:.3f} [{held_out.low:.3f}, {held_out.high:.3f}], "
        f"measured {held_out.measured:.3f}, error {held_out.error:+.3f}; "
        f"without growth {held_out.no_growth - held_out.measured:+.3f}"
        for held_out in scaling.held_out
    ]


def _part(title: str, lines: Sequence[str]) -> str:
    if not lines:
        return ""
    more = [f"{len(lines) - SHOWN:,} more are in the tables"] if len(lines) > SHOWN else []
    return "\n  ".join([title, *lines[:SHOWN], *more])


def _named(cell: Cell, scaling: Scaling, without: str = "") -> dict[str, Any]:
    axes = {"model" if axis == "params" else axis: _value(cell, axis) for axis in scaling.varied if axis != without}
    return {**_cohort(scaling, cell.ground), **axes}


def _cohort(scaling: Scaling, ground: int) -> dict[str, str]:
    """Names the cohort in a row, where there are several."""
    return {"cohort": scaling.grounds[ground].cohort[:12]} if len(scaling.grounds) > 1 else {}


def _value(cell: Cell, axis: str) -> Any:
    return cell.axes["model"] if axis == "params" else cell.axes.get(axis)


def _over(fit: Fit) -> str:
    return "+".join(fit.over)


def _edges(name: str, interval: Interval) -> dict[str, Any]:
    return {f"{name}_{edge}": value for edge, value in _plain(vars(interval)).items()}


def _between(interval: Interval) -> str:
    return "" if math.isnan(interval.low) else f" [{interval.low:.3f}, {interval.high:.3f}]"


def _number(value: Any) -> str:
    if isinstance(value, float) and abs(value) >= 1e10:
        return f"{value:.3g}"
    return f"{value:,.0f}" if isinstance(value, float) else str(value)


def _plain(value: Any) -> Any:
    """Replaces nan by None, and keys and sequences by those that JSON has."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _plain(element) for key, element in value.items()}
    return [_plain(element) for element in value] if isinstance(value, list | tuple) else value
