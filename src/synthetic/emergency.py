"""Draws what an emergency department writes down: triage, vital signs, medicines at home, diagnoses after the stay."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from random import Random
from typing import Any

from src.synthetic.early_knowledge import by_code, early_knowledge
from src.synthetic.facts import Admission, Patient
from src.synthetic.grouper import level
from src.synthetic.knowledge import Condition
from src.synthetic.timeline import Timeline, seconds

VAGUE = 0.18
"""Share of patients whose chief complaint says nothing of what they have."""

UNMEASURED, NOT_TAKEN = 0.03, 0.03
"""Shares of triages without any vital sign, and of single vital signs that are missing from a set."""

SYMPTOM_CODED, CODED_TOO = 0.3, 0.5
"""Shares of stays of which a symptom was coded in place of the diagnosis, and of problems that were coded with it."""

WELL = {
    "temperature": (98.1, 0.5),
    "heartrate": (82.0, 11.0),
    "resprate": (17.0, 1.6),
    "o2sat": (97.8, 1.2),
    "sbp": (132.0, 17.0),
    "dbp": (76.0, 11.0),
}
"""Vital signs of a well patient: mean and standard deviation; degrees Fahrenheit, per minute, percent, mmHg."""

SYMPTOMS = ("R079", "R0602", "R109", "R509", "R531", "R4182", "R42", "R112")
VAGUE_COMPLAINTS = ("Transfer", "Weakness", "Unwell", "Abnormal labs", "s/p Fall", "Dyspnea", "Pain")


@dataclass(frozen=True)
class EmergencyStay:
    """Holds one stay in the emergency department."""

    patient: Patient
    hadm_id: int | str
    """Empty where the patient went home, or was not admitted from this stay."""
    arrived: datetime
    left: datetime
    complaint: str
    acuity: int
    signs: dict[str, float]
    """What the condition adds to the vital signs of a well patient."""
    disposition: str
    rhythm: str
    chronic: Sequence[str]
    """ICD-10-CM codes of what the patient has for long."""
    codes: Sequence[str]
    """ICD-10-CM codes that were given after the stay."""


def of_admission(timeline: Timeline, random: Random) -> EmergencyStay:
    """Draws the stay that an admission came from: its complaint and vital signs fit the principal diagnosis."""
    stay = timeline.stay
    assert timeline.left_emergency is not None
    present = [problem.code for problem in timeline.problems if problem.onset <= timeline.left_emergency]
    signs = dict(by_code("signs", stay.code) or {})
    for code in present[:2]:
        for name, more in (by_code("signs", code) or {}).items():
            signs[name] = signs.get(name, 0) + more / 2
    chronic = [code for condition, code in stay.documented if condition.chronic]
    severe = stay.died or any(level(code) == "MCC" for code in present)
    return EmergencyStay(
        stay.patient,
        stay.hadm_id,
        timeline.start,
        timeline.left_emergency,
        _complaint(stay.principal, random),
        random.choices((1, 2, 3, 4), (18, 60, 22, 0) if severe else (3, 32, 60, 5))[0],
        signs,
        "ADMITTED",
        "Atrial Fibrillation" if any(code.startswith("I48") for code in (stay.code, *chronic)) else "Sinus Rhythm",
        chronic,
        _coded(stay, present, random),
    )


def earlier_stay(timeline: Timeline, random: Random) -> EmergencyStay:
    """Draws a second stay of the same admission, some hours before: the patient left, and came back worse."""
    arrived = seconds(timeline.start, -random.uniform(8, 30))
    stay = timeline.stay
    return EmergencyStay(
        stay.patient,
        stay.hadm_id,
        arrived,
        seconds(arrived, random.uniform(2, 7)),
        _complaint(stay.principal, random),
        3,
        {},
        random.choice(("LEFT AGAINST MEDICAL ADVICE", "TRANSFER")),
        "",
        [code for condition, code in stay.documented if condition.chronic],
        [random.choice(SYMPTOMS)],
    )


def visit(patient: Patient, arrived: datetime, random: Random) -> EmergencyStay:
    """Draws a stay after which the patient went home: of no admission, and of something else."""
    complaint, code = random.choice(early_knowledge()["visits"])
    left = seconds(arrived, min(20.0, random.lognormvariate(1.4, 0.5)))
    disposition = random.choices(("HOME", "LEFT WITHOUT BEING SEEN", "ELOPED"), (92, 5, 3))[0]
    acuity = random.choices((2, 3, 4, 5), (15, 55, 26, 4))[0]
    return EmergencyStay(patient, "", arrived, left, complaint, acuity, {}, disposition, "", [], [code])


def symptoms_of(principal: Condition) -> list[str]:
    """Lists complaints of a condition that do not name it: the name is for a work-up to find."""
    return [text for text in principal.complaint if text not in principal.says] or ["weakness"]


def _complaint(principal: Condition, random: Random) -> str:
    """Draws what triage writes: a symptom of the condition, seldom two."""
    if random.random() < VAGUE:
        return random.choice(VAGUE_COMPLAINTS)
    symptoms = symptoms_of(principal)
    text = ", ".join(random.sample(symptoms, min(len(symptoms), 2 if random.random() < 0.25 else 1)))
    return text[:1].upper() + text[1:]


def _coded(stay: Admission, present: Sequence[str], random: Random) -> list[str]:
    """Draws the codes of the department's bill, written after the stay: the truth that a forecast must not read."""
    first = random.choice(SYMPTOMS) if random.random() < SYMPTOM_CODED else stay.code
    return [first, *(code for code in present if code != first and random.random() < CODED_TOO)]


def vital_signs(stay: EmergencyStay, share: float, random: Random) -> list[float | str]:
    """Draws one set, in the order of `WELL`; what was not taken is empty.

    Args:
        stay: the stay in the emergency department.
        share: how much of what the condition adds is still to be seen, from 0 to 1.
        random: the source of every choice.
    """
    values: list[float | str] = []
    for name, (mean, deviation) in WELL.items():
        more = stay.signs.get("sbp" if name == "dbp" else name, 0.0) * (0.5 if name == "dbp" else 1.0)
        value = random.gauss(mean, deviation) + share * more
        if random.random() < NOT_TAKEN:
            values.append("")
        elif name == "temperature":
            values.append(round(value, 1))
        else:
            values.append(float(max(round(min(value, 100.0 if name == "o2sat" else 260.0)), 4)))
    return values


def pain(random: Random) -> str:
    """Draws what MIMIC-IV holds as text: mostly a number, and words where nobody could be asked."""
    return (
        random.choice(("0", "0", "0", "3", "5", "6", "7", "8", "10", "unable", "")) if random.random() < 0.97 else "13"
    )


def triage_row(stay: EmergencyStay, stay_id: int, random: Random) -> list[Any]:
    """Draws a row of `ed/triage`, which has no time of its own."""
    signs = [""] * len(WELL) if random.random() < UNMEASURED else vital_signs(stay, 1.0, random)
    acuity = "" if random.random() < NOT_TAKEN else stay.acuity
    return [stay.patient.subject_id, stay_id, *signs, pain(random), acuity, stay.complaint]


def vital_rows(stay: EmergencyStay, stay_id: int, random: Random) -> list[list[Any]]:
    """Draws the rows of `ed/vitalsign`: sets within the stay, by and by nearer to those of a well patient."""
    rows: list[list[Any]] = []
    when, share = seconds(stay.arrived, random.uniform(0.1, 1.5)), 0.9
    while when < stay.left and len(rows) < 8:
        signs = vital_signs(stay, share, random)
        rhythm = stay.rhythm if random.random() < 0.05 else ""
        rows.append([stay.patient.subject_id, stay_id, when, *signs, rhythm, pain(random)])
        when, share = seconds(when, random.uniform(0.7, 3)), share * 0.8
    return rows


def medicine_rows(stay: EmergencyStay, stay_id: int, random: Random) -> list[list[Any]]:
    """Draws the rows of `ed/medrecon`: what the patient takes at home, written down at one time."""
    if random.random() < 0.2:
        return []
    when = stay.arrived + (stay.left - stay.arrived) * random.uniform(0.1, 0.9)
    when = when.replace(microsecond=0)
    kinds = [kind for code in ("", *stay.chronic) for kind in by_code("medicines", code) or []]
    kinds = list({kind[0]: kind for kind in kinds}.values())
    return [
        [stay.patient.subject_id, stay_id, when, name, gsn, ndc, 1, etc, description]
        for name, gsn, ndc, etc, description in kinds
        if random.random() < 0.8
    ]
