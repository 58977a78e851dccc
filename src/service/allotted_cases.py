"""Follows a study: which coder sees which case, when, and whether with the proposal."""

from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from src.cli.errors import UserError
from src.coding_study.allocation import Arm
from src.coding_study.study_plan import COLUMNS, read_table


@dataclass(frozen=True)
class Allotted:
    """Holds one case of one coder."""

    case: str
    period: str
    arm: Arm
    """`alone` is without proposal and evidence."""


def read_allocation(path: Path, cases: Collection[str]) -> Mapping[str, Mapping[str, Allotted]]:
    """Reads a study's allocation, `allocation.csv` of its plan: each coder's cases in their order.

    Raises:
        UserError: the file lacks a column, an arm is another, a case is not there, or comes twice for a coder.
    """
    allotted: dict[str, dict[str, tuple[float, Allotted]]] = defaultdict(dict)
    for row in read_table(path, COLUMNS).iter_rows(named=True):
        where, coder, case = f"study={path}: row {row['row']}", row["coder"], row["case"]
        try:
            order, arm = float(row["order"]), Arm(row["arm"])
        except (TypeError, ValueError):
            raise UserError(f"{where}: needs an arm of {' or '.join(Arm)}, and a number as order") from None
        if coder is None or case not in cases:
            raise UserError(f"{where}: names no coder, or case {case} is not among the notes that the desk was given")
        if case in allotted[coder]:
            raise UserError(f"{where}: {coder} has case {case} twice; a coder sees a case once")
        allotted[coder][case] = order, Allotted(case, row["period"] or "", arm)
    return {
        coder: {case: entry for case, (_, entry) in sorted(cases_of.items(), key=lambda item: item[1][0])}
        for coder, cases_of in allotted.items()
    }
