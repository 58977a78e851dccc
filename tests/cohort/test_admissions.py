from pathlib import Path

import polars as pl
import pytest

from src.cli.errors import UserError
from src.cohort.admissions import SCHEMA, read_admissions, write_admissions

STAYS = """subject_id,hadm_id,admittime,dischtime,deathtime,admission_type,admission_location,insurance,language,race
1,10,2150-01-01 00:00:00,2150-01-03 12:00:00,,URGENT,PHYSICIAN REFERRAL,Medicare,ENGLISH,WHITE
2,20,2160-05-01 00:00:00,,,ELECTIVE,,Other,?,ASIAN - CHINESE
3,30,2160-05-01 00:00:00,2160-05-02 00:00:00,,ELECTIVE,CLINIC,Other,?,OTHER
"""
FILES = {
    "admissions": STAYS,
    "patients": "subject_id,gender,anchor_age,anchor_year,anchor_year_group\n1,F,60,2148,2011 - 2013\n2,M,44,2160,\n",
    "diagnoses_icd": "subject_id,hadm_id,seq_num,icd_code,icd_version\n1,10,10,E119 ,10\n1,10,2,I10,10\n1,10,1,389,9\n",
    "procedures_icd": "subject_id,hadm_id,seq_num,chartdate,icd_code,icd_version\n1,10,1,2150-01-01,02703DZ,10\n",
    "services": "hadm_id,transfertime,prev_service,curr_service\n10,2150-01-02,MED,CMED\n10,2150-01-01,,MED\n",
}
COHORT = pl.DataFrame({"hadm_id": [10, 20]})


def hosp(folder: Path, **files: str) -> str:
    (folder / "hosp").mkdir()
    for name, text in files.items():
        (folder / "hosp" / f"{name}.csv").write_text(text)
    return str(folder)


def test_facts_stand_beside_each_admission_of_the_cohort(tmp_path: Path) -> None:
    write_admissions(tmp_path, hosp(tmp_path, **FILES), COHORT)
    found = read_admissions(tmp_path)
    assert found is not None
    first, second = found.to_dicts()
    assert first == {
        "hadm_id": 10,
        "sex": "F",
        "age": 62,
        "race": "WHITE",
        "insurance": "Medicare",
        "language": "ENGLISH",
        "admission_type": "URGENT",
        "admission_location": "PHYSICIAN REFERRAL",
        "days": 2.5,
        "services": ["MED", "CMED"],
        "diagnoses": ["9:389", "10:I10", "10:E119"],
        "procedures": ["10:02703DZ"],
    }
    assert (second["age"], second["days"], second["admission_location"], second["services"]) == (44, None, None, None)


def test_missing_tables_leave_nulls_and_no_admissions_leave_no_file(tmp_path: Path) -> None:
    source = hosp(tmp_path, admissions=STAYS.replace("race", "ethnicity"))
    write_admissions(tmp_path, source, COHORT)
    found = read_admissions(tmp_path)
    assert found is not None
    assert found.schema == SCHEMA
    assert found["race"].to_list() == ["WHITE", "ASIAN - CHINESE"]
    assert found.select("sex", "age", "services", "diagnoses").null_count().sum_horizontal().item() == 8
    (tmp_path / "none").mkdir()
    write_admissions(tmp_path / "none", str(tmp_path / "none"), COHORT)
    write_admissions(tmp_path / "none", None, COHORT)
    assert read_admissions(tmp_path / "none") is None


def test_a_table_without_a_column_is_named(tmp_path: Path) -> None:
    source = hosp(tmp_path, **FILES | {"diagnoses_icd": "subject_id,hadm_id\n1,10\n"})
    with pytest.raises(UserError, match=r"diagnoses_icd.csv: no column seq_num, icd_code, icd_version"):
        write_admissions(tmp_path, source, COHORT)


def test_prepare_writes_the_facts_of_a_hospital(cohort: Path) -> None:
    found = read_admissions(cohort)
    notes = pl.read_parquet(cohort / "notes.parquet", columns=["hadm_id"])
    assert found is not None
    assert found["hadm_id"].to_list() == notes["hadm_id"].to_list()
    assert set(found["sex"]) == {"F", "M"}
    assert found["age"].is_between(18, 100).all()
    assert (found["diagnoses"].list.len() > 0).all()
