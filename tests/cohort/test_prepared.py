import gzip
import itertools
import json
import shutil
from pathlib import Path

import polars as pl
import pytest

from src.cohort.flow import Shares, build
from src.cohort.prepared import SCHEMA, fingerprint, read_cohort
from src.cohort.split import Split, split_of
from src.shell.errors import UserError

SHARES = Shares(0, 0.1, 0.1)


def test_a_patient_is_in_one_split_only(cohort: Path) -> None:
    notes = pl.read_parquet(cohort / "notes.parquet")
    assert notes.group_by("subject_id").agg(pl.col("split").n_unique())["split"].max() == 1
    assert set(notes["split"]) == set(Split)


def test_shares_of_patients_are_what_was_asked_for() -> None:
    drawn = [split_of(number, 3, 0.2, 0.1) for number in range(20_000)]
    assert abs(drawn.count(Split.TEST) / 20_000 - 0.2) < 0.01
    assert abs(drawn.count(Split.VALIDATION) / 20_000 - 0.1) < 0.01


def test_the_flow_counts_every_exclusion(cohort: Path) -> None:
    record = json.loads((cohort / "cohort.json").read_text())
    steps = record["flow"]
    assert all(a["left"] - b["excluded"] == b["left"] for a, b in itertools.pairwise(steps))
    assert steps[-1]["left"] == sum(split["notes"] for split in record["splits"].values())
    assert steps[-1]["left"] == pl.read_parquet(cohort / "notes.parquet").height


def test_notes_have_the_documented_columns(cohort: Path) -> None:
    assert pl.read_parquet_schema(cohort / "notes.parquet") == SCHEMA


def test_labels_are_drgs_that_the_hospital_coded(cohort: Path, hospital: Path) -> None:
    notes = pl.read_parquet(cohort / "notes.parquet")
    rows = pl.read_csv(hospital / "hosp/drgcodes.csv.gz", infer_schema=False).filter(pl.col("drg_type") == "HCFA")
    assert set(notes["hadm_id"].cast(pl.String)) <= set(rows["hadm_id"])
    assert set(notes["drg"]) <= {drg.code for drg in read_cohort(cohort).labels}


def test_row_order_does_not_change_the_cohort(hospital: Path, tmp_path: Path) -> None:
    for name in ("note/discharge", "hosp/drgcodes"):
        table = pl.read_csv(hospital / f"{name}.csv.gz", infer_schema=False).reverse()
        (tmp_path / name).parent.mkdir(exist_ok=True)
        table.write_csv(tmp_path / f"{name}.csv")
    forward, back = (build(folder, SHARES)[0].sort("hadm_id") for folder in (hospital, tmp_path))
    assert fingerprint(forward) == fingerprint(back)


def test_a_missing_table_is_named(hospital: Path, tmp_path: Path) -> None:
    shutil.copytree(hospital / "note", tmp_path / "note")
    with pytest.raises(UserError, match=r"no hosp/drgcodes\.csv\.gz or \.csv"):
        build(tmp_path, SHARES)


def test_a_missing_column_is_named(hospital: Path, tmp_path: Path) -> None:
    shutil.copytree(hospital, tmp_path / "m")
    table = pl.read_csv(tmp_path / "m/hosp/drgcodes.csv.gz", infer_schema=False).drop("drg_type")
    (tmp_path / "m/hosp/drgcodes.csv.gz").write_bytes(gzip.compress(table.write_csv().encode()))
    with pytest.raises(UserError, match="no column drg_type"):
        build(tmp_path / "m", SHARES)


def test_an_error_about_a_damaged_file_shows_no_text_of_a_note(hospital: Path, tmp_path: Path) -> None:
    shutil.copytree(hospital, tmp_path / "m")
    text = gzip.decompress((tmp_path / "m/note/discharge.csv.gz").read_bytes()).decode()
    first, rest = text.split("\n", 1)
    (tmp_path / "m/note/discharge.csv.gz").write_bytes(gzip.compress((first + "\nx,SECRETWORD,y,z\n" + rest).encode()))
    with pytest.raises(UserError) as told:
        build(tmp_path / "m", SHARES)
    assert "discharge.csv.gz" in str(told.value)
    assert "SECRETWORD" not in str(told.value)
