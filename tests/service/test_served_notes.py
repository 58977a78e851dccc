from pathlib import Path

import polars as pl
import pytest

from src.cli.errors import UserError
from src.coding_study.allocation import Arm
from src.cohort.familiar_words import FamiliarWords
from src.runs.kept_cohort import KeptCohort
from src.service.allotted_cases import Allotted, read_allocation
from src.service.served_notes import read_encounters

KEPT = KeptCohort({"sections": ["hospital_course"], "headings": [], "fewest_words": 1}, FamiliarWords())


def test_whole_notes_are_read_with_the_days_that_the_hospital_tells(hospital: Path) -> None:
    rows = read_encounters(hospital / "note" / "discharge.csv.gz", KEPT, hosp=hospital)
    assert rows["text"].str.contains("Discharge Medications:").mean() > 0.9
    stays = pl.read_csv(hospital / "hosp" / "admissions.csv.gz", schema_overrides={"hadm_id": pl.String})
    hours = pl.col("dischtime").str.to_datetime() - pl.col("admittime").str.to_datetime()
    days = dict(stays.select("hadm_id", hours.dt.total_minutes() / (24 * 60)).iter_rows())
    assert rows["days"].to_list() == pytest.approx([days[hadm] for hadm in rows["id"]])
    assert read_encounters(hospital / "note" / "discharge.csv.gz", KEPT)["days"].null_count() == rows.height


def test_an_allocation_gives_each_coder_their_cases_in_order(tmp_path: Path) -> None:
    path = tmp_path / "study.csv"
    path.write_text("case,coder,period,arm,order\nb,ann,2,alone,10\na,ann,1,assisted,9\na,bo,1,alone,1\n")
    allocation = read_allocation(path, {"a", "b"})
    assert {coder: list(cases.values()) for coder, cases in allocation.items()} == {
        "ann": [Allotted("a", 1, Arm.ASSISTED), Allotted("b", 2, Arm.ALONE)],
        "bo": [Allotted("a", 1, Arm.ALONE)],
    }


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("a,ann,1,both,1", "row 1: arm is 'both'; it must be assisted, alone"),
        ("a,ann,1,alone,first", "row 1: order is 'first'; it must be a number"),
        ("a,,1,alone,1", "row 1 has no coder"),
        ("x,ann,1,alone,1", "row 1: case x is not among the notes"),
        ("a,ann,1,alone,1\na,ann,2,assisted,2", "row 2: ann reads case a a second time"),
        ("a,ann,1,A,1", "its arms are masked; give the desk allocation.csv"),
    ],
)
def test_an_allocation_that_cannot_be_followed_is_named_with_its_row(row: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "study.csv"
    path.write_text(f"case,coder,period,arm,order\n{row}\n")
    with pytest.raises(UserError, match=rf"study=.*study\.csv: {message}"):
        read_allocation(path, {"a", "b"})
