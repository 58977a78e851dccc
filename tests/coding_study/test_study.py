from pathlib import Path

import polars as pl
import pytest

from src.cli.errors import UserError
from src.coding_study.study_plan import read_plan, write_plan
from src.coding_study.study_results import result_tables
from src.display.tables import Column, Estimate, Table
from src.study import StudyAnalyseConfig, StudyPlanConfig, analyse, plan
from tests.coding_study.made_log import ASSUMED, made_allocation, made_cases, write_log

POWER = Table("power", "", [Column("outcome", "outcome")], [("log seconds",)])


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("study")
    allocation = made_allocation(12, 30)
    write_plan(folder / "plan", allocation, POWER, 0)
    write_log(folder, allocation)
    return folder


def analysed(study: Path, out: Path, key: bool, version: str = "v34") -> Path:
    files = [str(study / "log.csv"), str(study / "adjudicated.csv"), str(study / "plan" / "analyst.csv")]
    key_file = str(study / "plan" / "key.json") if key else None
    analyse(StudyAnalyseConfig(*files, key=key_file, version=version, table5=None, out=str(out)))
    return out


def test_a_study_tells_the_effects_that_its_coders_were_given(
    study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = analysed(study, tmp_path / "result", key=True)
    tables = {"coders", "proposals", "seconds", "shares", "weeks", "weights"}
    assert {path.name for path in out.iterdir()} == {f"{name}.csv" for name in tables} | {"coders.svg", "study.html"}
    seconds, shares = pl.read_csv(out / "seconds.csv"), pl.read_csv(out / "shares.csv")
    assert seconds["ratio_low"][0] < ASSUMED.ratio < seconds["ratio_high"][0]
    assert seconds["difference_low"][1] < ASSUMED.seconds * (ASSUMED.ratio - 1) < seconds["difference_high"][1]
    assert shares["difference_low"][0] < ASSUMED.gain < shares["difference_high"][0]
    assert shares["readings"].to_list() == [360] * 4
    page = (out / "study.html").read_text("utf-8")
    assert "360 of 360 planned" in page
    assert "<svg" in page
    assert f"study: {out / 'study.html'}" in capsys.readouterr().out


def test_a_study_of_a_version_without_weights_at_hand_has_none_and_says_so(
    study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        pl.read_csv(analysed(study, tmp_path / "v34", key=True) / "weights.csv").null_count().sum_horizontal()[0] == 0
    )
    capsys.readouterr()
    out = analysed(study, tmp_path / "v41", key=True, version="v41")
    assert "weights are unknown: FY 2024, the year of MS-DRG v41" in capsys.readouterr().out
    assert "MS-DRG v41" in (out / "study.html").read_text("utf-8")
    with pytest.raises(UserError, match="version=v99: no such MS-DRG version"):
        analysed(study, tmp_path / "v99", key=True, version="v99")


def test_masked_arms_stay_masked(study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = analysed(study, tmp_path / "result", key=False)
    texts = [capsys.readouterr().out, *(path.read_text("utf-8") for path in out.iterdir())]
    assert not any("assisted" in text or "proposal" in text.replace("what became of proposals", "") for text in texts)
    assert "The arms are masked; key= opens them" in texts[0]
    assert not (out / "proposals.csv").exists()


def test_a_later_analysis_replaces_an_earlier_one_and_nothing_else(study: Path, tmp_path: Path) -> None:
    out = analysed(study, analysed(study, tmp_path / "result", key=True), key=False)
    assert not (out / "proposals.csv").exists()
    with pytest.raises(UserError, match="holds something else; name another with out="):
        analysed(study, study / "plan", key=True)
    assert (study / "plan" / "key.json").is_file()


def test_proposals_weights_and_agreement_are_counted_by_hand(tmp_path: Path) -> None:
    (tmp_path / "plan.csv").write_text(
        "coder,period,order,case,arm\n"
        "ann,1,1,e1,assisted\nann,1,2,e2,assisted\nann,2,3,e3,alone\nann,2,4,e4,alone\n"
        "bob,1,1,e3,alone\nbob,1,2,e4,alone\nbob,2,3,e1,assisted\nbob,2,4,e2,assisted\n"
    )
    planned = read_plan(tmp_path / "plan.csv", None)
    decided = ["002", "001", "001", "001", "001", "002", "001", None]
    cases = planned.rows["case"].to_list()
    rows = planned.rows.with_columns(
        proposed=pl.lit("002"),
        decided=pl.Series(decided),
        action=pl.Series(["accept", "override", *["decide"] * 4, "override", "defer"]),
        seconds=pl.Series([10.0, 20, 30, 40, 50, 60, 70, 80]),
        week=pl.Series(["2026-W01"] * 6 + ["2026-W02"] * 2),
        adjudicated=pl.Series(["002" if case == "e2" else "001" for case in cases]),
    )
    tables = {table.name: table.rows for table in result_tables(rows, planned, {"001": 1.0, "002": 3.0})}

    def values(row: int) -> list[float | None]:
        return [cell.value if isinstance(cell, Estimate) else None for cell in tables["proposals"][row][1:3]]

    assert values(0)[1] == pytest.approx(1 / 3)  # of three decisions one accepts
    assert values(1)[1] == pytest.approx(2 / 3)
    assert values(2) == [pytest.approx(1 / 4), pytest.approx(1 / 2)]  # wrong and decided as proposed
    assert values(3) == [pytest.approx(3 / 4), pytest.approx(1 / 2)]
    assert values(4)[1] == pytest.approx(1)  # ann overrides the right proposal for e2
    assert [(week, cell.value, *counts) for week, cell, *counts in tables["weeks"] if isinstance(cell, Estimate)] == [
        ("2026-W01", 0.5, 1, 2), ("2026-W02", 0.0, 1, 1)
    ]  # fmt: skip
    shifts = [cell.value for cell in (tables["weights"][0][1], tables["weights"][1][1]) if isinstance(cell, Estimate)]
    assert shifts == [pytest.approx(0.5), pytest.approx(0.0)]
    deferred = tables["shares"][1][2]
    assert isinstance(deferred, Estimate)
    assert deferred.value == pytest.approx(1 / 4)


def config(tmp_path: Path, **changes: object) -> StudyPlanConfig:
    made_cases(12).write_csv(tmp_path / "cases.csv")
    values = {"cases": str(tmp_path / "cases.csv"), "coders": ["ann", "bob"], "cases_each": None, "seed": 0}
    return StudyPlanConfig(**{**values, "out": str(tmp_path / "plan"), "studies": 100, "assume": ASSUMED, **changes})


def test_a_plan_says_its_power_and_what_was_assumed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan(config(tmp_path))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "24 readings of 12 cases by 2 coders"
    assert lines[3].startswith("log seconds          -0.357")
    assert lines[6].startswith("assumed: seconds 600, ratio 0.7")
    assert lines[7].startswith(f"for the desk: {tmp_path / 'plan' / 'allocation.csv'}; for the analyst: ")


def test_too_few_cases_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="12 cases have words and MDC, 14 are needed"):
        plan(config(tmp_path, cases_each=14))
    assert not (tmp_path / "plan").exists()
