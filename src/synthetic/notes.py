"""Whole discharge summaries in the order of MIMIC-IV's headings."""

from dataclasses import dataclass
from random import Random

from src.synthetic.course import as_course, facts_of, not_present, past, phrases, write_course
from src.synthetic.facts import Admission
from src.synthetic.knowledge import Knowledge

DEFACED, OTHER_CASE, VERY_SHORT = 0.03, 0.02, 0.01
MARKS = 0.004
"""Share of the course's words that de-identification struck out."""


@dataclass(frozen=True)
class Note:
    """A discharge summary and what the gauge wants to know of its hospital course."""

    text: str
    words: int
    mcc_places: list[int]
    mcc_implicit: int


def write_note(stay: Admission, known: Knowledge, random: Random) -> Note:
    """Renders the admission's facts; nothing in the note contradicts them."""
    blocks = write_course(stay, known, random)
    course = _marked(as_course(blocks), random)
    told = facts_of(blocks, stay)
    if random.random() < VERY_SHORT:
        course = random.choice(("See operative note.", "Uneventful, see above.", "Please see ___ note for details."))
        told = {"mcc": [], "implicit": 0}
    absent = not_present(stay, known, random)
    before = [past(absent, random) for _ in range(random.randint(1, 3))]
    patient, principal = stay.patient, stay.principal
    chronic = [one.phrase(random, patient.heldout) for one, _ in stay.documented if one.chronic]
    history = f"{stay.age} y/o {patient.sex} with {', '.join([*chronic[:2], *before])} presenting with {random.choice(principal.complaint)}."
    diagnoses = [principal.phrase(random, patient.heldout)] + [
        one.phrase(random, patient.heldout) for one, _ in stay.documented if random.random() < 0.7
    ]
    done = "; ".join(name for _, name in stay.procedures) or "None"
    family = random.choice(phrases()["family"]).replace(
        "{what}", random.choice(("CAD", "breast cancer", "diabetes", "stroke"))
    )
    wbc, hgb = random.randint(40, 110) / 10, random.randint(90, 145) / 10
    parts = [
        f" \nName:  ___                     Unit No:   ___\n \nAdmission Date:  ___              Discharge Date:   ___\n \n"
        f"Date of Birth:  ___             Sex:   {patient.sex}\n \nService: {principal.service}\n",
        _section(
            "Allergies:",
            random.choice(
                ("No Known Allergies / Adverse Drug Reactions", "Penicillins", "Sulfa (Sulfonamide Antibiotics)")
            ),
        ),
        _section("Attending: ___.", ""),
        _section("Chief Complaint:", random.choice(principal.complaint)),
        _section("Major Surgical or Invasive Procedure:", done),
        _section("History of Present Illness:", history),
        _section("Past Medical History:", "\n".join([*chronic, *before])),
        _section("Social History:", "___"),
        _section("Family History:", family),
        _section(
            "Physical Exam:",
            f"VS: T 98.{random.randint(0, 9)} HR {random.randint(60, 98)} RR {random.randint(12, 20)}\nGEN: examined with ___ on admission and discharge",
        ),
        _section("Pertinent Results:", f"___ 06:{random.randint(10, 55)}AM BLOOD WBC-{wbc} Hgb-{hgb}* Plt ___"),
        _section(_heading(random), course),
        _section(
            "Medications on Admission:" if random.random() > 0.02 else "___ on Admission:",
            "1. Acetaminophen 650 mg PO Q6H:PRN pain",
        ),
        _section("Discharge Medications:", "1. Acetaminophen 650 mg PO Q6H:PRN pain"),
        _section(
            "Discharge Disposition:",
            "Expired"
            if stay.died
            else random.choice(("Home", "Home With Service", "Extended Care\n \nFacility:\n___")),
        ),
        _section("Discharge Diagnosis:", "\n".join(diagnoses)),
        _section(
            "Discharge Condition:",
            "Expired"
            if stay.died
            else "Mental Status: Clear and coherent.\nActivity Status: Ambulatory - Independent.",
        ),
        _section(
            "Discharge Instructions:", "" if stay.died else "Dear ___,\n\nIt was a pleasure caring for you at ___."
        ),
        "Followup Instructions:\n___\n",
    ]
    return Note("\n".join(parts), len(course.split()), told["mcc"], told["implicit"])


def _section(heading: str, body: str) -> str:
    return f"{heading}\n{body}\n "


def _heading(random: Random) -> str:
    draw = random.random()
    if draw < DEFACED:
        return random.choice(("___ Hospital Course:", "Brief ___ Course:", "rief Hospital Course:"))
    if draw < DEFACED + OTHER_CASE:
        return random.choice(("BRIEF HOSPITAL COURSE:", "HOSPITAL COURSE:", "Brief hospital course:"))
    return "Brief Hospital Course:"


def _marked(course: str, random: Random) -> str:
    words = course.split(" ")
    for _ in range(round(len(words) * MARKS)):
        place = random.randrange(len(words))
        if words[place].isalpha() and words[place].islower():
            words[place] = "___"
    return " ".join(words)
