"""A scaling analysis as tables, as JSON, and as a short text."""

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from src.cli.files import atomic_write
from src.display.spreadsheet import write_csv
from src.scaling_analysis.result import Cell, Fit, Interval, Scaling

SHOWN = 24
"""Lines of a part of the text; the tables have all."""

Rows = list[dict[str, Any]]


def tables(found: Scaling) -> dict[str, Rows]:
    """Every table by its name, as rows of plain values; of what is not known, None."""
    return {
        "cells": [row for at in range(len(found.cells)) for row in _cell_rows(found, at)],
        "differences": [_difference_row(found, at) for at in range(len(found.differences))],
        "fits": [row for fit in found.fits for row in _fit_rows(fit)],
        "predictions": [
            {"over": _over(found.fits[each.fit]), "why": each.why, **each.at, "metric": each.metric}
            | {"predicted": each.value, "low": each.low, "high": each.high}
            for each in found.predictions
        ],
        "held_out": [
            {"over": "+".join(each.over), **_named(found.cells[each.cell], found), "metric": each.metric}
            | {"points": each.points, "predicted": each.predicted, "low": each.low, "high": each.high}
            | {"measured": each.measured, "error": each.error, "no_growth": each.no_growth}
            for each in found.held_out
        ],
        "missing": [dataclasses.asdict(each) for each in found.missing],
    }


def as_json(found: Scaling) -> dict[str, Any]:
    """All numbers, for a file; nan becomes null."""
    told: dict[str, Any] = {
        "seed": found.seed,
        "varied": list(found.varied),
        "grounds": [dataclasses.asdict(each) for each in found.grounds],
        "cells": [
            {**vars(each), "metrics": {name: _edged(told) for name, told in each.metrics.items()}}
            for each in found.cells
        ],
        "differences": [_edged(each) for each in found.differences],
        "fits": [_fit(each) for each in found.fits],
        "predictions": [dataclasses.asdict(each) for each in found.predictions],
        "held_out": [dataclasses.asdict(each) | {"error": each.error} for each in found.held_out],
        "missing": [dataclasses.asdict(each) for each in found.missing],
        "notes": list(found.notes),
    }
    return dict(_plain(told))


def as_text(found: Scaling, metrics: Sequence[str]) -> str:
    """What a terminal shows: the cells, their differences, fits, predictions, the cell held out, what is missing."""
    shown = [name for name in metrics if any(name in cell.metrics for cell in found.cells)]
    parts = [
        _cells_text(found, shown),
        _part("One step apart, the larger less the smaller, by patient and seed", _differences_text(found)),
        _part("Fits", [_fit_line(each) for each in found.fits if len(each.over) == 2 or _few(found)]),
        _part("Predicted", _predictions_text(found)),
        _part("The largest cell held out of the fit", _held_text(found)),
        _part(f"Missing: {len(found.missing)}", [_missing_line(each) for each in found.missing]),
        "\n".join(found.notes),
    ]
    return "\n\n".join(part for part in parts if part)


def write_scaling(found: Scaling, folder: Path) -> Path:
    """Writes `scaling.json` and a CSV for each table; the place of the former."""
    for name, rows in tables(found).items():
        heads = list(dict.fromkeys(key for row in rows for key in row))
        with atomic_write(folder / f"{name}.csv") as tmp:
            write_csv(tmp, heads or ["none"], [[row.get(head) for head in heads] for row in rows])
    with atomic_write(folder / "scaling.json") as tmp:
        tmp.write_text(json.dumps(as_json(found), indent=1, allow_nan=False) + "\n", "utf-8")
    return folder / "scaling.json"


def _cell_rows(found: Scaling, at: int) -> Rows:
    cell = found.cells[at]
    first = {"ground": cell.ground, "cell": at, **cell.axes, "runs": cell.seeds, **_plain(cell.numbers)}
    return [
        first
        | {"metric": name, "seeds": len(each.values), "mean": each.mean}
        | _plain(vars(each.both))
        | _edges("seeds", each.seeds)
        | _edges("patients", each.patients)
        for name, each in cell.metrics.items()
    ]


def _difference_row(found: Scaling, at: int) -> dict[str, Any]:
    each = found.differences[at]
    one, other = (found.cells[place] for place in (each.one, each.other))
    told: dict[str, Any] = {"metric": each.metric, "axis": each.axis, "of": _value(one, each.axis)}
    told |= {"less": _value(other, each.axis), **_named(one, found, without=each.axis)}
    told |= {"pairs": each.pairs, "difference": each.value, **_plain(vars(each.both))}
    told |= {**_edges("seeds", each.seeds), **_edges("patients", each.patients)}
    return told | {"p": _plain(each.p), "p_holm": _plain(each.p_holm), "patients_from": each.how}


def _fit_rows(fit: Fit) -> Rows:
    first = {"metric": fit.metric, "over": _over(fit), **fit.fixed, "points": len(fit.cells), "freedom": fit.freedom}
    first |= {"residual": fit.residual, "misfit": fit.misfit, "patients_from": fit.how}
    first |= {f"reference_{name}": value for name, value in zip(fit.over, fit.reference, strict=True)}
    return [first | {"parameter": name} | dataclasses.asdict(each) for name, each in fit.parameters.items()]


def _edged(each: Any) -> dict[str, Any]:
    """The fields of a value, and those of its intervals; `dataclasses.asdict` takes ten times as long."""
    return {name: vars(value) if isinstance(value, Interval) else value for name, value in vars(each).items()}


def _fit(fit: Fit) -> dict[str, Any]:
    hidden = ("draws", "best")
    told = {field.name: getattr(fit, field.name) for field in dataclasses.fields(fit) if field.name not in hidden}
    told["parameters"] = {name: dataclasses.asdict(each) for name, each in fit.parameters.items()}
    return told | {"identified": fit.identified, "formula": formula(fit)}


def formula(fit: Fit) -> str:
    """The law that was fitted, in words.

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


def _cells_text(found: Scaling, metrics: Sequence[str]) -> str:
    names = ["model", *(axis for axis in found.varied if axis != "params")]
    lines = []
    for ground, told in enumerate(found.grounds):
        cells = [cell for cell in found.cells if cell.ground == ground]
        head = [*names, "seeds", *metrics]
        rows = [
            [*(str(cell.axes.get(name)) for name in names), str(cell.seeds), *(_metric(cell, name) for name in metrics)]
            for cell in cells[: 3 * SHOWN]
        ]
        wide = [max(len(row[at]) for row in [head, *rows]) for at in range(len(head))]
        lines.append(
            f"cohort {told.cohort[:12]}, {told.protocol}: {told.train:,} training and {told.test:,} test notes; "
            f"{sum(cell.seeds for cell in cells):,} runs in {len(cells):,} cells"
        )
        aligned = (zip(row, wide, strict=True) for row in [head, *rows])
        lines += ["  ".join(f"{word:<{width}}" for word, width in row).rstrip() for row in aligned]
        if len(cells) > len(rows):
            lines.append(f"{len(cells) - len(rows):,} more cells")
    return "\n".join(lines)


def _metric(cell: Cell, name: str) -> str:
    each = cell.metrics.get(name)
    return "-" if each is None else f"{each.mean:.3f}{_between(each.both)}"


def _differences_text(found: Scaling) -> list[str]:
    lines = []
    for row in tables_of_differences(found):
        fixed = " ".join(f"{key}={value}" for key, value in row["fixed"].items())
        each = row["difference"]
        told = "" if math.isnan(each.p_holm) else f"  p {_chance(each.p_holm)}"
        told += "" if each.pairs > 1 else ", patients alone: one seed"
        between = f"{each.value:+.3f}{_between(each.both)}"
        lines.append(f"{each.metric}  {row['of']} - {row['less']}  {fixed}: {between}{told}")
    return lines


def tables_of_differences(found: Scaling) -> list[dict[str, Any]]:
    """Each difference with the two values of its axis, and the other axes that are the same on both sides."""
    return [
        {
            "of": _value(found.cells[each.one], each.axis),
            "less": _value(found.cells[each.other], each.axis),
            "fixed": _named(found.cells[each.one], found, without=each.axis),
            "difference": each,
        }
        for each in found.differences
    ]


def _fit_line(fit: Fit) -> str:
    fixed = "".join(f" {key}={value}" for key, value in fit.fixed.items())
    numbers = ", ".join(
        f"{name} {each.value:.3g} [{each.low:.3g}, {each.high:.3g}]" if each.identified else f"{name} not identified"
        for name, each in fit.parameters.items()
    )
    told = f"misfit {fit.misfit:.4f} ({fit.freedom} points to spare)" if fit.freedom else "no point to spare"
    return f"{formula(fit)}{fixed}: {numbers}; residual {fit.residual:.4f}, {told}"


def _predictions_text(found: Scaling) -> list[str]:
    chosen = [each for each in found.predictions if len(found.fits[each.fit].over) == 2] or found.predictions
    return [
        f"{each.metric}  {each.why}: {' '.join(f'{key}={_number(value)}' for key, value in each.at.items())}: "
        f"{each.value:.3f} [{each.low:.3f}, {each.high:.3f}]"
        for each in chosen
    ]


def _held_text(found: Scaling) -> list[str]:
    return [
        f"{each.metric} over {' and '.join(each.over)}, "
        f"{' '.join(f'{key}={value}' for key, value in _named(found.cells[each.cell], found).items())}: "
        f"predicted {each.predicted:.3f} [{each.low:.3f}, {each.high:.3f}], measured {each.measured:.3f}, "
        f"error {each.error:+.3f}; without growth {each.no_growth - each.measured:+.3f}"
        for each in found.held_out
    ]


def _missing_line(each: Any) -> str:
    return f"{each.words or each.name}: {each.standing}"


def _few(found: Scaling) -> bool:
    return len(found.fits) <= SHOWN


def _part(title: str, lines: Sequence[str]) -> str:
    if not lines:
        return ""
    more = [f"{len(lines) - SHOWN:,} more are in the tables"] if len(lines) > SHOWN else []
    return "\n  ".join([title, *lines[:SHOWN], *more])


def _named(cell: Cell, found: Scaling, without: str = "") -> dict[str, Any]:
    axes = [axis for axis in found.varied if axis != without]
    return {"model" if axis == "params" else axis: _value(cell, axis) for axis in axes}


def _value(cell: Cell, axis: str) -> Any:
    return cell.axes["model"] if axis == "params" else cell.axes.get(axis)


def _over(fit: Fit) -> str:
    return "+".join(fit.over)


def _edges(name: str, interval: Interval) -> dict[str, Any]:
    return {f"{name}_{edge}": value for edge, value in _plain(vars(interval)).items()}


def _between(interval: Interval) -> str:
    return "" if math.isnan(interval.low) else f" [{interval.low:.3f}, {interval.high:.3f}]"


def _chance(p: float) -> str:
    return "< 0.0001" if p < 1e-4 else f"{p:.2g}"


def _number(value: Any) -> str:
    if isinstance(value, float) and abs(value) >= 1e10:
        return f"{value:.3g}"
    return f"{value:,.0f}" if isinstance(value, float) else str(value)


def _plain(value: Any) -> Any:
    """Without nan, and with keys and sequences as JSON has them."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, list | tuple) else value
