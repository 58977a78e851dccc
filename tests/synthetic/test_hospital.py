import csv
import gzip
import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from random import Random

import pytest

from src.synthetic.apr_rows import apr_rows
from src.synthetic.course import not_present, write_course
from src.synthetic.discharge_summary import write_note
from src.synthetic.early_tables import EARLY_COLUMNS
from src.synthetic.facts import Admission, admissions
from src.synthetic.grouper import group, level
from src.synthetic.hospital_tables import COLUMNS
from src.synthetic.knowledge import knowledge

HEADINGS = [
    "Name:", "Admission Date:", "Date of Birth:", "Service:", "Allergies:", "Attending:", "Chief Complaint:",
    "Major Surgical or Invasive Procedure:", "History of Present Illness:", "Past Medical History:", "Social History:",
    "Family History:", "Physical Exam:", "Pertinent Results:", "Brief Hospital Course:", "Medications on Admission:",
    "Discharge Medications:", "Discharge Disposition:", "Discharge Diagnosis:", "Discharge Condition:",
    "Discharge Instructions:", "Followup Instructions:",
]  # fmt: skip


@pytest.fixture(scope="module")
def stays() -> list[Admission]:
    return list(admissions(knowledge(), 600, Random(8), (0, 0.1)))


def rows(folder: Path, table: str) -> list[dict[str, str]]:
    with gzip.open(folder / f"{table}.csv.gz", "rt", encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))


def test_tables_have_the_columns_of_mimic_iv(hospital: Path) -> None:
    for table, columns in COLUMNS.items():
        assert list(rows(hospital, table)[0]) == columns.split()


def test_the_same_seed_gives_the_same_bytes(hospital: Path, tmp_path: Path, command: Callable[..., object]) -> None:
    command("src.hospital", f"out={tmp_path / 'again'}", "admissions=900", "seed=5")
    for table in [*COLUMNS, *EARLY_COLUMNS]:
        a, b = ((folder / f"{table}.csv.gz").read_bytes() for folder in (hospital, tmp_path / "again"))
        assert hashlib.sha256(a).digest() == hashlib.sha256(b).digest()


def test_headings_stand_in_order(stays: list[Admission]) -> None:
    text = next(
        n.text for n in (write_note(s, knowledge(), Random(4)) for s in stays) if "Brief Hospital Course:" in n.text
    )
    places = [text.index(heading) for heading in HEADINGS]
    assert places == sorted(places)


def test_drgs_follow_from_the_coded_diagnoses_and_procedures(stays: list[Admission]) -> None:
    for stay in stays:
        done = [code for codes, _ in stay.procedures for code in codes]
        assert stay.drg == group(stay.code, stay.coded, done, sex=stay.patient.sex, alive=not stay.died)


def test_no_note_denies_what_the_patient_has(stays: list[Admission]) -> None:
    random = Random(2)
    for stay in stays:
        denied = {code[:3] for one in not_present(stay, knowledge(), random) for code in one.codes}
        has = {code[:3] for _, code in stay.documented} | set(stay.coded) | {stay.code[:3]}
        assert not denied & has or denied == {"M10"}


def test_a_dead_patient_gets_no_transitional_issues(stays: list[Admission]) -> None:
    dead = [stay for stay in stays if stay.died]
    assert dead
    for stay in dead:
        text = "\n".join(paragraph.text for paragraph in write_course(stay, knowledge(), Random(1)))
        assert "expired" in text
        assert "TRANSITIONAL" not in text


def test_held_out_phrasings_are_in_no_training_patients_notes(stays: list[Admission]) -> None:
    known = knowledge()
    names = {phrase for one in known.principals for phrase in one.heldout} - {
        p for one in known.principals for p in one.says
    }
    trained = [stay for stay in stays if not stay.patient.heldout]
    tested = [stay for stay in stays if stay.patient.heldout]
    assert not any(stay.principal.phrase(Random(n), stay.patient.heldout) in names for n, stay in enumerate(trained))
    assert any(stay.principal.phrase(Random(n), stay.patient.heldout) in names for n, stay in enumerate(tested))


def test_every_severe_diagnosis_that_is_documented_is_in_the_note(stays: list[Admission]) -> None:
    for stay in stays:
        told = {paragraph.about for paragraph in write_course(stay, knowledge(), Random(3))}
        assert {one.name for one, _ in stay.documented} <= told


def test_drg_rows_hold_the_flaws_of_mimic_iv(hospital: Path) -> None:
    table = rows(hospital, "hosp/drgcodes")
    kinds = Counter(row["drg_type"] for row in table)
    assert set(kinds) == {"HCFA", "APR", "APR "}
    hcfa = Counter(row["hadm_id"] for row in table if row["drg_type"] == "HCFA")
    assert 0 < 900 - len(hcfa) < 150
    assert max(hcfa.values()) == 2
    assert all(len(row["description"]) <= 80 and len(row["drg_code"]) == 3 for row in table)


def test_rows_of_type_apr_follow_from_the_same_facts(stays: list[Admission]) -> None:
    written = [(stay, row) for stay in stays for row in islice(apr_rows(stay), 1) if row[2] not in ("", 0)]
    assert len(written) > 0.95 * len(stays)
    for stay, (code, described, severity, mortality) in written:
        levels = Counter(map(level, stay.coded))
        assert code.isdecimal()
        assert len(code) == 3
        assert described == described.upper()[:70]
        assert (severity == 4) is (levels["MCC"] > 1)
        assert (severity == 1) is (not levels["MCC"] and not levels["CC"])
        assert mortality in (1, 2, 3, 4)
    called = defaultdict(set)
    for _, (code, described, _, _) in written:
        called[code].add(described)
    assert max(map(len, called.values())) > 1
    assert [list(apr_rows(stay)) for stay in stays[:50]] == [list(apr_rows(stay)) for stay in stays[:50]]


def test_patients_come_back_and_every_table_names_known_patients(hospital: Path) -> None:
    patients = {row["subject_id"] for row in rows(hospital, "hosp/patients")}
    stays = Counter(row["subject_id"] for row in rows(hospital, "hosp/admissions"))
    assert set(stays) == patients
    assert max(stays.values()) > 2
    assert {row["subject_id"] for row in rows(hospital, "note/discharge")} <= patients


def test_the_hospital_is_as_hard_as_it_says(hospital: Path) -> None:
    told = json.loads((hospital / "hospital.json").read_text())
    assert 340 <= told["words_mean"] <= 416
    assert 0.05 <= told["coding_noise"] <= 0.08
    assert 0.2 <= told["mcc_after_word_400"] <= 0.4
    assert told["mcc_implicit"] > 0.2


def test_a_folder_that_holds_something_is_left_alone(hospital: Path, command: Callable[..., object]) -> None:
    before = sorted(hospital.rglob("*"))
    done = command("src.hospital", f"out={hospital}", "admissions=100", ok=False)
    assert "not empty" in str(done)
    assert sorted(hospital.rglob("*")) == before
