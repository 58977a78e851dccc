"""Follows a study: which coder sees which case, when, and whether with the proposal."""

from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from src.cli.errors import UserError
from src.coding_study.allocation import Arm
from src.coding_study.study_plan import read_plan


@dataclass(frozen=True)
class Allotted:
    """Holds one case of one coder."""

    case: str
    period: int
    arm: Arm
    """`alone` is without proposal and evidence."""


def read_allocation(path: Path, cases: Collection[str]) -> Mapping[str, Mapping[str, Allotted]]:
    """Reads a study's allocation, `allocation.csv` of its plan: each coder's cases in their order.

    Raises:
        UserError: the file is none of a plan, its arms are masked, or a case is not among those of the desk.
    """
    try:
        plan = read_plan(path, None)
    except UserError as error:
        raise UserError(f"study={error}") from None
    if not plan.open:
        raise UserError(f"study={path}: its arms are masked; give the desk allocation.csv of the same plan")
    if (foreign := plan.rows.filter(~pl.col("case").is_in(list(cases)))).height:
        row = foreign.row(0, named=True)
        raise UserError(
            f"study={path}: row {row['row']}: case {row['case']} is not among the notes that the desk was given"
        )
    allotted: dict[str, dict[str, Allotted]] = defaultdict(dict)
    for coder, case, period, arm in plan.rows.sort("order").select("coder", "case", "period", "arm").rows():
        allotted[coder][case] = Allotted(case, period, Arm(arm))
    return dict(allotted)
