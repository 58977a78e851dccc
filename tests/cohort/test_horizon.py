from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from src.cli.errors import UserError
from src.cohort.prepared import read_cohort
from tests.cohort.conftest import Prepare
from tests.cohort.ward import LATER, Ward

Texts = Callable[..., dict[str, dict[int, str]]]

NO_TEST = ["test_share=0", "validation_share=0", "data.words=1"]


@pytest.fixture
def texts(tmp_path: Path, prepare: Prepare) -> Texts:
    """The texts of each horizon, by admission."""

    def run(ward: Ward, *horizons: str) -> dict[str, dict[int, str]]:
        folder = ward.write(tmp_path / "mimic")
        prepare(f"data.dir={folder}", f"horizon=[{','.join(horizons)}]", *NO_TEST)
        written = {name: read_cohort(tmp_path / "cohort-1" / "horizons" / name) for name in horizons}
        return {
            name: dict(pl.read_parquet(cohort.folder / "notes.parquet").select("hadm_id", "text").iter_rows())
            for name, cohort in written.items()
        }

    return run


def steps(tmp_path: Path, horizon: str) -> dict[str, int]:
    record: dict[str, Any] = dict(read_cohort(tmp_path / "cohort-1" / "horizons" / horizon).record)
    return {step["step"]: step["excluded"] for step in record["flow"]}


def test_hours_show_all_that_was_charted_up_to_them_in_order_of_time(texts: Texts) -> None:
    ward = Ward()
    ward.admit(20)
    ward.visit(30, 20, "chest pain")
    ward.add("ed/vitalsign", stay_id=30, charttime="2150-01-01 08:00:00", heartrate="91", sbp="130", rhythm="sinus")
    for name in ("aspirin", "lisinopril", "aspirin"):
        ward.add("ed/medrecon", stay_id=30, charttime="2150-01-01 07:00:00", name=name)
    ward.report("Lungs clear.\n", "2150-01-01 07:30:00", "2150-01-01 09:10:00", 20)
    ward.add("note/radiology_detail", note_id="7-RR-1", subject_id=7, field_name="exam_name",
             field_value="CHEST (PA AND LAT)", field_ordinal="1")  # fmt: skip
    ward.add("note/radiology_detail", note_id="7-RR-1", subject_id=7, field_name="cpt_code",
             field_value="71020", field_ordinal="1")  # fmt: skip
    ward.add("hosp/services", hadm_id=20, transfertime="2150-01-01 10:00:00", curr_service="MED")
    ward.add("hosp/services", hadm_id=20, transfertime="2150-01-03 10:00:00", curr_service="CSURG")
    ward.add("hosp/transfers", hadm_id=20, eventtype="admit", careunit="Medicine", intime="2150-01-01 10:30:00")
    ward.add("hosp/transfers", hadm_id=20, eventtype="discharge", careunit="UNKNOWN", intime="2150-01-01 11:00:00")
    told = texts(ward, "24h", "ed", "triage")
    triage = "Hour 0, triage: chief complaint chest pain, acuity 2.0, temperature 98.1, heart rate 88.0, pain 7"
    assert told["triage"][20] == triage
    assert told["24h"][20] == "\n".join(
        [
            triage,
            "Hour 1, medicines at home: aspirin, lisinopril",
            "Hour 2, vital signs: heart rate 91, systolic pressure 130, rhythm sinus",
            "Hour 3, radiology, CHEST (PA AND LAT):\nLungs clear.",
            "Hour 4, service: MED",
            "Hour 4, care unit: Medicine",
        ]
    )
    assert told["ed"] == told["24h"]


def test_a_report_is_known_when_it_is_stored_and_not_when_it_is_charted(texts: Texts, tmp_path: Path) -> None:
    ward = Ward()
    ward.admit(20)
    ward.report("first", "2150-01-02 05:00:00", "2150-01-02 06:00:00", 20)
    ward.report("second", "2150-01-02 05:30:00", "2150-01-02 06:00:01", 20)
    ward.report("third", "2150-01-02 07:00:00", "2150-01-01 07:00:00", 20)  # stored before it was made
    ward.report("fourth", "2150-01-01 07:00:00", "", 20)
    told = texts(ward, "24h", "25h")
    assert told["24h"][20] == "Hour 24, radiology:\nfirst"
    assert told["25h"][20].count("radiology") == 3
    assert "fourth" not in told["25h"][20]
    assert read_cohort(tmp_path / "cohort-1" / "horizons" / "24h").record["remarks"] == [
        "1 radiology reports have no charttime or no storetime: no horizon shows them"
    ]


def test_hour_0_is_the_registration_in_the_emergency_department_else_the_admission(texts: Texts) -> None:
    ward = Ward()
    ward.admit(20)
    ward.admit(21, edregtime="", edouttime="")
    for hadm_id in (20, 21):
        ward.report("film", "2150-01-01 11:30:00", "2150-01-01 11:30:00", hadm_id)
    told = texts(ward, "6h")
    assert told["6h"] == {20: "Hour 5, radiology:\nfilm", 21: "Hour 1, radiology:\nfilm"}


def test_a_summary_is_charted_at_midnight_and_not_known_then(texts: Texts) -> None:
    ward = Ward()
    ward.admit(20, dischtime="2150-01-02 09:00:00")  # its charttime is 18 hours after registration
    ward.report("film", "2150-01-01 07:00:00", "2150-01-01 07:00:00", 20)
    assert texts(ward, "24h")["24h"] == {20: "Hour 1, radiology:\nfilm"}


def test_nothing_of_later_sections_or_emergency_diagnoses_is_in_any_horizon(texts: Texts) -> None:
    ward = Ward()
    ward.admit(20)
    ward.visit(30, 20, "chest pain")
    ward.add("ed/diagnosis", stay_id=30, seq_num="1", icd_code="I350", icd_title="stenosis")
    told = texts(ward, "triage", "ed", "24h", "admission")
    seen = [text[20] for text in told.values()]
    assert [text for text in seen if any(word in text for word in [*LATER, "ADMITTED", "I350"])] == []
    assert told["admission"][20].splitlines()[1:] == [
        "Hour 4, admission note:", "Chief complaint:", "chest pain, case 20", "History of present illness:",
        "He woke with pain.", "Medications on admission:", "lisinopril", "Physical exam:", "ADMISSION EXAM: murmur",
    ]  # fmt: skip
    assert "He woke" not in told["24h"][20]


def test_a_report_without_hadm_id_is_of_the_admission_of_its_time_once(texts: Texts, tmp_path: Path) -> None:
    ward = Ward()
    ward.admit(20)
    # The second begins before the first has ended.
    ward.admit(21, edregtime="", admittime="2150-01-06 08:00:00", dischtime="2150-01-20 10:00:00")
    ward.admit(22, 8)
    for name, day in (("before", "2149-12-30"), ("first", "2150-01-02"), ("both", "2150-01-06")):
        ward.report(name, f"{day} 09:00:00", f"{day} 09:00:00")
    ward.report("between", "2150-02-01 09:00:00", "2150-02-01 09:00:00")
    ward.report("of 22", "2150-01-02 09:00:00", "2150-01-02 09:00:00", 22, 8)
    told = texts(ward, "100h")["100h"]
    assert told == {20: "Hour 27, radiology:\nfirst", 21: "Hour 1, radiology:\nboth", 22: "Hour 27, radiology:\nof 22"}
    assert read_cohort(tmp_path / "cohort-1" / "horizons" / "100h").record["remarks"] == [
        "2 radiology reports without hadm_id are of the admission of their patient and time"
    ]


def test_a_report_of_an_admission_that_has_no_note_goes_to_no_other(texts: Texts) -> None:
    ward = Ward()
    ward.admit(20)
    ward.admit(21, admittime="2150-01-01 12:00:00", edregtime="")
    ward.rows["note/discharge"].pop()
    ward.report("of 21", "2150-01-01 13:00:00", "2150-01-01 13:00:00")
    ward.report("of 20", "2150-01-01 11:00:00", "2150-01-01 11:00:00")
    assert texts(ward, "24h")["24h"] == {20: "Hour 5, radiology:\nof 20"}


def test_a_report_charted_after_discharge_is_in_no_horizon(texts: Texts) -> None:
    ward = Ward()
    ward.admit(20, dischtime="2150-01-02 12:00:00")
    ward.report("early", "2150-01-01 09:00:00", "2150-01-01 09:00:00", 20)
    ward.report("late", "2150-01-02 13:00:00", "2150-01-02 13:00:00", 20)
    ward.report("late too", "2150-01-01 23:00:00", "2150-01-02 13:00:00")
    told = texts(ward, "29h", "ed")
    assert told == {"29h": {20: "Hour 3, radiology:\nearly"}, "ed": {20: "Hour 3, radiology:\nearly"}}


def test_of_several_emergency_stays_triage_shows_the_first_and_hours_show_those_begun(texts: Texts) -> None:
    ward = Ward()
    ward.admit(20)
    ward.visit(31, 20, "worse pain", "2150-01-01 09:00:00")
    ward.visit(30, 20, "chest pain")
    ward.visit(32, "", "another year", "2149-01-01 09:00:00")
    told = texts(ward, "triage", "2h", "24h")
    assert [told[name][20].count("triage") for name in ("triage", "2h", "24h")] == [1, 1, 2]
    assert "chest pain" in told["triage"][20]
    assert told["24h"][20].index("chest pain") < told["24h"][20].index("worse pain")
    assert "another year" not in told["24h"][20]


def test_an_emergency_admission_without_an_emergency_stay_is_out_of_triage_alone(texts: Texts, tmp_path: Path) -> None:
    ward = Ward()
    ward.admit(20)
    ward.admit(21)
    ward.visit(30, 20, "chest pain")
    ward.add(
        "hosp/transfers", hadm_id=21, eventtype="ED", careunit="Emergency Department", intime="2150-01-01 06:00:00"
    )
    told = texts(ward, "triage", "ed", "24h")
    assert [sorted(text) for text in told.values()] == [[20], [20, 21], [20, 21]]
    assert told["ed"][21] == "Hour 0, care unit: Emergency Department"
    assert steps(tmp_path, "triage")["with a stay in ed/edstays"] == 1


def test_an_admission_past_the_emergency_department_has_no_horizon_of_it(texts: Texts, tmp_path: Path) -> None:
    ward = Ward()
    ward.admit(20)
    ward.admit(21, edregtime="", edouttime="")
    for hadm_id in (20, 21):
        ward.add("hosp/services", hadm_id=hadm_id, transfertime="2150-01-01 10:00:00", curr_service="MED")
    told = texts(ward, "ed", "24h")
    assert (sorted(told["ed"]), sorted(told["24h"])) == ([20], [20, 21])
    assert steps(tmp_path, "ed")["with an edouttime in hosp/admissions"] == 1


def test_who_has_gone_home_or_died_at_a_horizon_is_out_of_it_and_listed(texts: Texts, tmp_path: Path) -> None:
    ward = Ward()
    ward.admit(20)
    ward.admit(21, dischtime="2150-01-02 06:00:00")
    ward.admit(22, deathtime="2150-01-01 20:00:00")  # the discharge was written days later
    ward.admit(23)
    for stay_id, hadm_id in ((30, 20), (31, 21), (32, 22)):
        ward.visit(stay_id, hadm_id, "chest pain")
    told = texts(ward, "24h", "12h")
    assert (sorted(told["24h"]), sorted(told["12h"])) == ([20], [20, 21, 22])
    assert steps(tmp_path, "24h") == {
        "notes of the cohort": 0, "with times in hosp/admissions": 0,
        "in the house still at 24h": 2, "with something known at 24h": 1,
    }  # fmt: skip
    listed = pl.read_csv(tmp_path / "cohort-1" / "horizons" / "24h" / "excluded.csv")
    assert listed.select("note_id", "excluded").rows() == [
        ("7-DS-21", "not in the house still at 24h"), ("7-DS-22", "not in the house still at 24h"),
        ("7-DS-23", "not with something known at 24h"),
    ]  # fmt: skip


def test_an_admission_without_times_is_out_of_every_horizon(texts: Texts, tmp_path: Path) -> None:
    ward = Ward()
    ward.admit(20)
    ward.admit(21)
    ward.rows["hosp/admissions"].pop()
    for stay_id, hadm_id in ((30, 20), (31, 21)):
        ward.visit(stay_id, hadm_id, "chest pain")
    assert sorted(texts(ward, "triage")["triage"]) == [20]
    assert steps(tmp_path, "triage")["with times in hosp/admissions"] == 1


@pytest.mark.parametrize(
    ("table", "column", "value", "reason"),
    [
        ("hosp/admissions", "admittime", "1/2/2150 6:00", "admissions.csv: row 1: admittime is no time as 2180-05-06"),
        ("note/radiology", "storetime", "noon", "radiology.csv: row 1: storetime is no time as 2180-05-06"),
        ("ed/triage", "stay_id", "first", "triage.csv: row 1: stay_id is no whole number"),
    ],
)
def test_a_cell_of_another_kind_is_told_by_its_row(
    table: str, column: str, value: str, reason: str, texts: Texts, tmp_path: Path
) -> None:
    ward = Ward()
    ward.admit(20)
    ward.visit(30, 20, "chest pain")
    ward.report("film", "2150-01-01 11:30:00", "2150-01-01 11:30:00", 20)
    ward.rows[table][0][column] = value
    with pytest.raises(UserError, match=reason):
        texts(ward, "24h")
    assert [path.name for path in tmp_path.iterdir()] == ["mimic"]
