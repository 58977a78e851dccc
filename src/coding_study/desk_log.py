"""Reads what coders did from the desk's log, row by row against the plan, and what the adjudicated DRGs are."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

import polars as pl

from src.cli.errors import UserError
from src.coding_study.allocation import Arm
from src.coding_study.study_plan import Plan, read_table


class Action(StrEnum):
    """Names what a coder did with a case."""

    ACCEPT = "accept"
    OVERRIDE = "override"
    DEFER = "defer"
    DECIDE = "decide"


LOG = (
    "when", "coder", "case", "arm", "period", "proposed", "decided", "action", "reason", "seconds", "shown", "model",
    "cohort",
)  # fmt: skip


@dataclass(frozen=True)
class Decisions:
    """Holds the last decision of every coder on every case.

    Attributes:
        rows: `coder`, `case`, `arm` and `period` (of the plan), `proposed`, `decided` (null when deferred), `action`,
            `seconds` (over all rows of the case), `week` (of the calendar, as 2026-W48) and `adjudicated` (null where
            it is not).
        remarks: what was left out, a sentence each.
    """

    rows: pl.DataFrame
    remarks: list[str]


def read_adjudicated(path: Path) -> dict[str, str]:
    """Reads the DRG of each case that was adjudicated.

    Raises:
        UserError: the file cannot be read, a row lacks its case, holds no DRG, or gives a case a second one.
    """
    drgs: dict[str, str] = {}
    for row, case, drg in read_table(path, ["case", "drg"]).rows():
        where = f"{path}: row {row}"
        if case is None or drg is None:
            raise UserError(f"{where} has no {'drg' if case else 'case'}; fill it in, or take the row out")
        code = _code(drg, where, "drg")
        if drgs.setdefault(case, code) != code:
            raise UserError(f"{where}: case {case} has DRG {code} here and {drgs[case]} above; leave one")
    return drgs


def read_log(path: Path, plan: Plan, adjudicated: Mapping[str, str]) -> Decisions:
    """Reads the log of a study.

    Raises:
        UserError: a row is damaged, is not of the plan, or contradicts it or another row.
    """
    rows = read_table(path, LOG)
    readings = plan.rows.select("coder", "case", "period", "arm").rows()
    planned = {(coder, case): (period, arm) for coder, case, period, arm in readings}
    if not any(pair in planned for pair in rows.select("coder", "case").rows()):
        raise UserError(f"{path}: no coder and case of it is in {plan.path}; is it the log of another study?")
    last: dict[tuple[str, str], dict[str, Any]] = {}
    first: dict[tuple[str, str], tuple[int, str | None]] = {}
    made_by: dict[str, tuple[int, str]] = {}
    for cells in rows.iter_rows(named=True):
        row, pair, where = cells["row"], (cells["coder"], cells["case"]), f"{path}: row {cells['row']}"
        _check_planned(where, cells, plan, planned)
        number, arm = first.setdefault(pair, (row, cells["arm"]))
        if arm != cells["arm"]:
            raise UserError(f"{where}: {pair[0]} reads case {pair[1]} in arm {cells['arm']}, in row {number} in {arm}; "
                            "a coder reads a case in one arm")  # fmt: skip
        for name in ("model", "cohort"):
            if (made := cells[name]) and (before := made_by.setdefault(name, (row, made)))[1] != made:
                raise UserError(
                    f"{where}: {name} is {made}, in row {before[0]} {before[1]}; is it a log of two studies?"
                )
        seconds = _seconds(cells["seconds"], where) + (last[pair]["seconds"] if pair in last else 0.0)
        period, arm = planned[pair]
        last[pair] = {
            "coder": pair[0], "case": pair[1], "arm": arm, "period": period, **_decision(cells, where),
            "seconds": seconds, "week": _week(cells["when"], where), "adjudicated": adjudicated.get(pair[1]),
        }  # fmt: skip
    if still := next((pair for pair, cells in last.items() if not cells["seconds"]), None):
        raise UserError(f"{path}: row {first[still][0]}: {still[0]} took 0 seconds for case {still[1]} in all; did the "
                        "desk's clock run?")  # fmt: skip
    texts = [pl.col(name).cast(pl.String) for name in ("proposed", "decided", "adjudicated")]
    table = pl.DataFrame(list(last.values()), infer_schema_length=None).with_columns(texts)
    return Decisions(table, _remarks(table, plan))


def _check_planned(
    where: str, cells: Mapping[str, str | None], plan: Plan, planned: Mapping[tuple[str, str], tuple[int, str]]
) -> None:
    coder, case = cells["coder"], cells["case"]
    if coder is None or case is None:
        raise UserError(f"{where} has no {'coder' if coder is None else 'case'}")
    if (coder, case) not in planned:
        for name, value in (("coder", coder), ("case", case)):
            if value not in set(plan.rows[name]):
                raise UserError(f"{where}: {name} {value} is not in {plan.path}; is it the log of another study?")
        raise UserError(f"{where}: {coder} was not given case {case} by {plan.path}")
    period, arm = planned[coder, case]
    if cells["period"] != str(period):
        raise UserError(f"{where}: {coder} reads case {case} in period {cells['period']}, planned is {period}")
    if plan.open and cells["arm"] != arm:
        raise UserError(f"{where}: {coder} reads case {case} in arm {cells['arm']}, planned is {arm}")
    if not plan.open and cells["arm"] not in (*Arm, *plan.arms, None):
        raise UserError(f"{where}: arm is {cells['arm']}; it must be {', '.join(Arm)}, or empty")


def _seconds(written: str | None, where: str) -> float:
    try:
        seconds = float(written or "")
    except ValueError:
        raise UserError(f"{where}: seconds is {written!r}; it must be a number" if written else
                        f"{where} has no seconds") from None  # fmt: skip
    if not 0 <= seconds < float("inf"):
        raise UserError(f"{where}: seconds is {written}; it must be at least 0")
    return seconds


def _week(written: str | None, where: str) -> str:
    try:
        year, week, _ = datetime.fromisoformat(written or "").isocalendar()
    except ValueError:
        raise UserError(f"{where}: when is {written or 'empty'}; it must be a time as 2026-11-28T18:00:00") from None
    return f"{year}-W{week:02d}"


def _decision(cells: Mapping[str, str | None], where: str) -> dict[str, str | None]:
    """Reads what was proposed, decided and done in a row; a deferred case is not decided."""
    action = cells["action"]
    if action not in set(Action):
        raise UserError(f"{where}: action is {action}; it must be one of {', '.join(Action)}")
    proposed = _code(cells["proposed"], where, "proposed") if cells["proposed"] else None
    decided = _code(cells["decided"], where, "decided") if cells["decided"] else None
    if action == Action.DEFER:
        return {"proposed": proposed, "decided": None, "action": action}
    if action == Action.ACCEPT:
        decided = decided or proposed
        if proposed is None or decided != proposed:
            raise UserError(f"{where}: accepts {proposed or 'no proposal'} and decides {decided}; they must be one DRG")
    if decided is None:
        raise UserError(f"{where}: action is {action}, and nothing is decided")
    return {"proposed": proposed, "decided": decided, "action": action}


def _code(written: str, where: str, column: str) -> str:
    if not (written.isascii() and written.isdecimal() and 0 < int(written) < 1000):
        raise UserError(f"{where}: {column} is {written!r}; an MS-DRG is a number from 001 to 999")
    return f"{int(written):03d}"


def _remarks(rows: pl.DataFrame, plan: Plan) -> list[str]:
    remarks = []
    if missing := plan.rows.height - rows.height:
        remarks.append(f"{missing:,} of {plan.rows.height:,} planned readings are not in the log, and are left out")
    if deferred := rows["decided"].null_count():
        remarks.append(f"readings deferred: {deferred:,}; they count in the share deferred, and nowhere else")
    lacking = rows.filter(pl.col("adjudicated").is_null())["case"].unique().sort().to_list()
    if lacking:
        names = ", ".join(lacking[:5]) + (", ..." if len(lacking) > 5 else "")
        remarks.append(
            f"cases not adjudicated: {len(lacking):,} ({names}); accuracy, changes and weights leave them out"
        )
    return remarks
