from pathlib import Path

import pytest

from src.cli.errors import UserError
from src.coding_study.desk_log import LOG, read_adjudicated, read_log
from src.coding_study.study_plan import Plan, read_plan
from tests.coding_study.made_log import write_rows

ALLOCATION = [
    ["ann", 1, 1, "e1", "assisted"], ["ann", 2, 2, "e2", "alone"],
    ["bob", 1, 1, "e1", "alone"], ["bob", 2, 2, "e2", "assisted"],
]  # fmt: skip
GOOD = {
    "when": "2027-01-03T23:59:00+00:00", "coder": "ann", "case": "e1", "arm": "assisted", "period": "1",
    "proposed": "291", "decided": "292", "action": "override", "reason": "", "seconds": "30.5", "shown": "",
    "model": "m", "cohort": "c",
}  # fmt: skip


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    path = write_rows(tmp_path / "allocation.csv", ["coder", "period", "order", "case", "arm"], ALLOCATION)
    return read_plan(path, None)


def log_of(folder: Path, *changes: dict[str, str]) -> Path:
    return write_rows(folder / "log.csv", LOG, [list({**GOOD, **change}.values()) for change in changes])


def test_the_last_decision_counts_and_seconds_add_up(plan: Plan, tmp_path: Path) -> None:
    accepted = {"action": "accept", "decided": "", "proposed": "3", "seconds": "9.5"}
    path = log_of(tmp_path, {"action": "defer", "decided": ""}, {}, accepted)
    decisions = read_log(path, plan, {"e1": "003"})
    (row,) = decisions.rows.to_dicts()
    assert (row["decided"], row["seconds"], row["action"], row["adjudicated"]) == ("003", 70.5, "accept", "003")
    assert row["week"] == "2026-W53"
    assert decisions.remarks == ["3 of 4 planned readings are not in the log, and are left out"]


def test_what_was_deferred_at_last_is_not_decided(plan: Plan, tmp_path: Path) -> None:
    decisions = read_log(log_of(tmp_path, {}, {"action": "defer"}), plan, {})
    assert decisions.rows["decided"].to_list() == [None]
    assert decisions.remarks[1] == "readings deferred: 1; they count in the share deferred, and nowhere else"
    assert decisions.remarks[2].startswith("cases not adjudicated: 1 (e1); accuracy")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"coder": "zoe"}, "row 2: coder zoe is not in {plan}; is it the log of another study?"),
        ({"case": "e9"}, "row 2: case e9 is not in {plan}; is it the log of another study?"),
        ({"coder": ""}, "row 2 has no coder"),
        ({"period": "2"}, "row 2: ann reads case e1 in period 2, planned is 1"),
        ({"arm": "alone"}, "row 2: ann reads case e1 in arm alone, planned is assisted"),
        ({"when": "noon"}, "row 2: when is noon; it must be a time as 2026-11-28T18:00:00"),
        ({"when": ""}, "row 2: when is empty; it must be a time as 2026-11-28T18:00:00"),
        ({"seconds": "-1"}, "row 2: seconds is -1; it must be at least 0"),
        ({"seconds": "nan"}, "row 2: seconds is nan; it must be at least 0"),
        ({"seconds": "long"}, "row 2: seconds is 'long'; it must be a number"),
        ({"seconds": ""}, "row 2 has no seconds"),
        ({"action": "skip"}, "row 2: action is skip; it must be one of accept, override, defer, decide"),
        ({"decided": ""}, "row 2: action is override, and nothing is decided"),
        ({"decided": "29x"}, "row 2: decided is '29x'; an MS-DRG is a number from 001 to 999"),
        ({"action": "accept"}, "row 2: accepts 291 and decides 292; they must be one DRG"),
        ({"action": "accept", "proposed": ""}, "row 2: accepts no proposal and decides 292; they must be one DRG"),
        ({"model": "n"}, "row 2: model is n, in row 1 m; is it a log of two studies?"),
    ],
)
def test_a_row_that_cannot_be_is_named(change: dict[str, str], expected: str, plan: Plan, tmp_path: Path) -> None:
    with pytest.raises(UserError) as refusal:
        read_log(path := log_of(tmp_path, {}, change), plan, {})
    assert str(refusal.value) == f"{path}: {expected.format(plan=plan.path)}"


def test_a_case_that_was_given_to_others_is_refused(plan: Plan, tmp_path: Path) -> None:
    rows = [*ALLOCATION, ["bob", 2, 3, "e3", "assisted"]]
    path = write_rows(tmp_path / "more.csv", ["coder", "period", "order", "case", "arm"], rows)
    with pytest.raises(UserError, match="row 2: ann was not given case e3 by "):
        read_log(log_of(tmp_path, {}, {"case": "e3"}), read_plan(path, None), {})


def test_a_case_in_two_arms_is_refused_where_the_arms_are_masked(tmp_path: Path) -> None:
    letters = {"assisted": "A", "alone": "B"}
    masked = [[*row[:4], letters[str(row[4])]] for row in ALLOCATION]
    plan = read_plan(write_rows(tmp_path / "a.csv", ["coder", "period", "order", "case", "arm"], masked), None)
    with pytest.raises(UserError, match="row 2: ann reads case e1 in arm alone, in row 1 in assisted"):
        read_log(log_of(tmp_path, {}, {"arm": "alone"}), plan, {})
    with pytest.raises(UserError, match="row 1: arm is C; it must be assisted, alone, or empty"):
        read_log(log_of(tmp_path, {"arm": "C"}), plan, {})
    assert read_log(log_of(tmp_path, {"arm": ""}), plan, {}).rows["arm"].to_list() == ["A"]


def test_a_log_of_which_nothing_is_planned_is_of_another_study(plan: Plan, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no coder and case of it is in .*; is it the log of another study?"):
        read_log(log_of(tmp_path, {"coder": "zoe"}), plan, {})


def test_a_clock_that_never_ran_is_told(plan: Plan, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"row 1: ann took 0 seconds for case e1 in all; did the desk's clock run?"):
        read_log(log_of(tmp_path, {"seconds": "0"}, {"seconds": "0"}), plan, {})


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([["e1", "291"], ["", "292"]], "row 2 has no case"),
        ([["e1", "291"], ["e2", ""]], "row 2 has no drg; fill it in, or take the row out"),
        ([["e1", "291"], ["e1", "292"]], "row 2: case e1 has DRG 292 here and 291 above; leave one"),
        ([["e1", "291"], ["e2", "0"]], "row 2: drg is '0'; an MS-DRG is a number from 001 to 999"),
        ([["e1", "291"], ["e2", "291", "x"]], "row 2"),
        ([], "holds no rows below its header"),
    ],
)
def test_damaged_adjudications_are_named_by_row(rows: list[list[str]], expected: str, tmp_path: Path) -> None:
    with pytest.raises(UserError) as refusal:
        read_adjudicated(write_rows(tmp_path / "adjudicated.csv", ["case", "drg"], rows))
    assert expected in str(refusal.value)


def test_a_log_that_is_cut_within_a_row_is_refused(plan: Plan, tmp_path: Path) -> None:
    path = log_of(tmp_path, {}, {"case": "e2", "arm": "alone", "period": "2"})
    path.write_text(path.read_text("utf-8")[:-12], "utf-8")
    with pytest.raises(UserError, match="row 2"):
        read_log(path, plan, {})
