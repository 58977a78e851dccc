import gzip
from pathlib import Path

import polars as pl
import pytest

from src.cli.errors import UserError
from src.coding_study.allocation import Arm
from src.service.allotted_cases import Allotted, read_allocation
from src.service.encounters import read_encounters


def test_every_form_of_notes_gives_the_same_encounters(tmp_path: Path) -> None:
    rows = pl.DataFrame({"id": ["a", "b"], "text": ["One,\ntwo.", "Three."]})
    rows.write_csv(tmp_path / "n.csv")
    (tmp_path / "n.csv.gz").write_bytes(gzip.compress((tmp_path / "n.csv").read_bytes()))
    rows.write_ndjson(tmp_path / "n.jsonl")
    rows.write_parquet(tmp_path / "n.parquet")
    (tmp_path / "n").mkdir()
    for name, text in rows.rows():
        (tmp_path / "n" / f"{name}.txt").write_text(text)
    for name in ("n.csv", "n.csv.gz", "n.jsonl", "n.parquet", "n"):
        assert read_encounters(tmp_path / name).rows() == [("a", "One,\ntwo.", None), ("b", "Three.", None)], name


def test_days_in_house_are_read_and_of_mimics_notes_the_last_counts(tmp_path: Path) -> None:
    (tmp_path / "n.csv").write_text("hadm_id,text,days\n7,first,2\n7,second,2\n8,other,x\n")
    assert read_encounters(tmp_path / "n.csv").rows() == [("7", "second", 2.0), ("8", "other", None)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name,text\na,b\n", "has no column id; name its columns id and text"),
        ("id,text\na,b\na,c\n", "row 1: its id is missing, or comes twice"),
        ("id,text\na,b\n,c\n", "row 2: its id is missing, or comes twice"),
        ("", "cannot be read"),
    ],
)
def test_notes_that_cannot_be_listed_are_named(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "n.csv").write_text(text)
    with pytest.raises(UserError, match=rf"notes=.*n\.csv: {message}"):
        read_encounters(tmp_path / "n.csv")


def test_an_allocation_gives_each_coder_their_cases_in_order(tmp_path: Path) -> None:
    path = tmp_path / "study.csv"
    path.write_text("case,coder,period,arm,order\nb,ann,2,alone,10\na,ann,1,assisted,9\na,bo,1,alone,1\n")
    allocation = read_allocation(path, {"a", "b"})
    assert {coder: list(cases.values()) for coder, cases in allocation.items()} == {
        "ann": [Allotted("a", "1", Arm.ASSISTED), Allotted("b", "2", Arm.ALONE)],
        "bo": [Allotted("a", "1", Arm.ALONE)],
    }


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("a,ann,1,both,1", "row 1: needs an arm of assisted or alone, and a number as order"),
        ("a,ann,1,alone,first", "row 1: needs an arm"),
        ("x,ann,1,alone,1", "row 1: names no coder, or case x is not among the notes"),
        ("a,ann,1,alone,1\na,ann,2,assisted,2", "row 2: ann has case a twice"),
    ],
)
def test_an_allocation_that_cannot_be_followed_is_named_with_its_row(row: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "study.csv"
    path.write_text(f"case,coder,period,arm,order\n{row}\n")
    with pytest.raises(UserError, match=rf"study=.*study\.csv: {message}"):
        read_allocation(path, {"a", "b"})
