"""Writes by hand the few rows of MIMIC-IV that a test of horizons is about."""

import csv
from pathlib import Path
from typing import Any

VITAL = "temperature,heartrate,resprate,o2sat,sbp,dbp"

HEADERS = {
    "note/discharge": "note_id,subject_id,hadm_id,note_type,note_seq,charttime,storetime,text",
    "note/radiology": "note_id,subject_id,hadm_id,note_type,note_seq,charttime,storetime,text",
    "note/radiology_detail": "note_id,subject_id,field_name,field_value,field_ordinal",
    "hosp/drgcodes": "subject_id,hadm_id,drg_type,drg_code,description,drg_severity,drg_mortality",
    "hosp/admissions": "subject_id,hadm_id,admittime,dischtime,deathtime,admission_type,admission_location,"
    "discharge_location,insurance,language,race,edregtime,edouttime,hospital_expire_flag",
    "hosp/services": "subject_id,hadm_id,transfertime,prev_service,curr_service",
    "hosp/transfers": "subject_id,hadm_id,transfer_id,eventtype,careunit,intime,outtime",
    "ed/edstays": "subject_id,hadm_id,stay_id,intime,outtime,gender,race,arrival_transport,disposition",
    "ed/triage": f"subject_id,stay_id,{VITAL},pain,acuity,chiefcomplaint",
    "ed/vitalsign": f"subject_id,stay_id,charttime,{VITAL},rhythm,pain",
    "ed/medrecon": "subject_id,stay_id,charttime,name,gsn,ndc,etc_rn,etccode,etcdescription",
    "ed/diagnosis": "subject_id,stay_id,seq_num,icd_code,icd_version,icd_title",
}

SUMMARY = """Chief Complaint:
chest pain, case {hadm_id}

Major Surgical or Invasive Procedure:
valve replaced

History of Present Illness:
He woke with pain.

Physical Exam:
ADMISSION EXAM: murmur
DISCHARGE PHYSICAL EXAM:
sternum healing

Pertinent Results:
troponin rose

Brief Hospital Course:
His valve was replaced, case {hadm_id}.

Medications on Admission:
lisinopril

Discharge Medications:
warfarin

Discharge Diagnosis:
aortic stenosis
"""

LATER = ["replaced", "healing", "troponin", "warfarin", "stenosis"]
"""Words of the summary that were not known before discharge."""


class Ward:
    """Takes rows of tables, and writes them all; what a row does not say is empty."""

    def __init__(self) -> None:
        self.rows: dict[str, list[dict[str, Any]]] = {name: [] for name in HEADERS}

    def add(self, table: str, **row: Any) -> None:
        """Adds a row of a table."""
        self.rows[table].append(row)

    def admit(self, hadm_id: int, subject_id: int = 7, *, text: str = SUMMARY, **times: str) -> None:
        """Adds an admission through the emergency department on January 1, with its summary and DRG."""
        usual = {
            "admittime": "2150-01-01 10:00:00", "dischtime": "2150-01-06 12:00:00",
            "edregtime": "2150-01-01 06:00:00", "edouttime": "2150-01-01 10:30:00",
        }  # fmt: skip
        ids: dict[str, Any] = {"subject_id": subject_id, "hadm_id": hadm_id}
        whole = {**usual, **times}
        self.add("hosp/admissions", **ids, **whole)
        self.add("hosp/drgcodes", **ids, drg_type="HCFA", drg_code="291", description="HEART FAILURE & SHOCK W MCC")
        # As MIMIC-IV has it: midnight of the day of discharge.
        midnight = f"{whole['dischtime'][:10]} 00:00:00"
        note = {"note_id": f"{subject_id}-DS-{hadm_id}", "note_type": "DS", "charttime": midnight}
        self.add("note/discharge", **ids, **note, text=text.replace("{hadm_id}", str(hadm_id)))

    def visit(self, stay_id: int, hadm_id: int | str, complaint: str, intime: str = "2150-01-01 06:05:00") -> None:
        """Adds an emergency stay with its triage."""
        self.add("ed/edstays", subject_id=7, hadm_id=hadm_id, stay_id=stay_id, intime=intime, disposition="ADMITTED")
        vitals = {"temperature": "98.1", "heartrate": "88.0", "pain": "7", "acuity": "2.0"}
        self.add("ed/triage", subject_id=7, stay_id=stay_id, **vitals, chiefcomplaint=complaint)

    def report(self, text: str, charttime: str, storetime: str, hadm_id: int | str = "", subject_id: int = 7) -> None:
        """Adds a radiology report."""
        note_id = f"{subject_id}-RR-{len(self.rows['note/radiology']) + 1}"
        ids = {"note_id": note_id, "subject_id": subject_id}
        self.add("note/radiology", **ids, hadm_id=hadm_id, charttime=charttime, storetime=storetime, text=text)

    def write(self, folder: Path, *leave_out: str) -> Path:
        """Writes every table below `folder`, but those that are left out."""
        for name, header in HEADERS.items():
            if name in leave_out or name.split("/")[0] in leave_out:
                continue
            path = folder / f"{name}.csv"
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("w", newline="", encoding="utf-8") as file:
                writer = csv.DictWriter(file, header.split(","), restval="")
                writer.writeheader()
                writer.writerows(self.rows[name])
        return folder
