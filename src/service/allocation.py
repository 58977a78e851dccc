"""Follows a study: which coder sees which case, when, and whether with the proposal."""

from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from src.cli.errors import UserError

ARMS = ("assisted", "alone")
NEEDED = ("case", "coder", "period", "arm", "order")


@dataclass(frozen=True)
class Allotted:
    """Holds one case of one coder."""

    case: str
    period: str
    arm: str
    """`assisted`, or `alone`: without proposal and evidence."""


def read_allocation(path: Path, cases: Collection[str]) -> Mapping[str, Mapping[str, Allotted]]:
    """Reads a study's allocation: each coder's cases in their order.

    Raises:
        UserError: the file lacks a column, an arm is another, a case is not there, or comes twice for a coder.
    """
    try:
        rows = pl.read_csv(path, infer_schema=False)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise UserError(f"study={path}: cannot be read ({type(error).__name__}); it is CSV") from None
    if lacking := [name for name in NEEDED if name not in rows.columns]:
        raise UserError(f"study={path}: has no column {', '.join(lacking)}; it needs {', '.join(NEEDED)}")
    orders = rows["order"].cast(pl.Float64, strict=False)
    allotted: dict[str, dict[str, Allotted]] = defaultdict(dict)
    for number, (row, order) in enumerate(zip(rows.iter_rows(named=True), orders, strict=True), 1):
        coder, case = row["coder"] or "", row["case"] or ""
        where = f"study={path}: row {number}"
        if row["arm"] not in ARMS or order is None or not coder:
            raise UserError(f"{where}: needs a coder, an arm of {' or '.join(ARMS)}, and a number as order")
        if case not in cases:
            raise UserError(f"{where}: case {case} is not among the notes; give the notes that the study was drawn of")
        if case in allotted[coder]:
            raise UserError(f"{where}: {coder} has case {case} twice; a coder sees a case once")
        allotted[coder][case] = Allotted(case, row["period"] or "", row["arm"])
    places = {(row["coder"], row["case"]): order for row, order in zip(rows.to_dicts(), orders, strict=True)}
    return {
        coder: {case: cases_of[case] for case in sorted(cases_of, key=lambda case: places[coder, case])}
        for coder, cases_of in allotted.items()
    }
