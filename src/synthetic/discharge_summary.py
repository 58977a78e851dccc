"""Writes whole discharge summaries in the order of MIMIC-IV's headings."""

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
    """Holds a discharge summary and what the gauge wants to know of its hospital course."""

    text: str
    words: int
    mcc_places: list[int]
    mcc_implicit: int


def write_note(stay: Admission, knowledge: Knowledge, random: Random) -> Note:
    """Renders the admission's facts; nothing in the note contradicts them."""
    paragraphs = write_course(stay, knowledge, random)
    course = _marked(as_course(paragraphs), random)
    evidence = facts_of(paragraphs, stay)
    if random.random() < VERY_SHORT:
        course = random.choice(("See operative note.", "Uneventful, see above.", "Please see ___ note for details."))
        evidence = {"mcc": [], "implicit": 0}
    heading = random.choice(OTHER_HEADINGS) if random.random() < 0.02 else "Medications on Admission:"
    sections = [
        *_admission(stay, knowledge, random),
        _section(_heading(random), course),
        _section(heading, MEDICATIONS),
        *_discharge(stay, random),
    ]
    return Note("\n".join(sections), len(course.split()), evidence["mcc"], evidence["implicit"])


ALLERGIES = ("No Known Allergies / Adverse Drug Reactions", "Penicillins", "Sulfa (Sulfonamide Antibiotics)")
FAMILY = ("CAD", "breast cancer", "diabetes", "stroke")
HOMES = ("Home", "Home With Service", "Extended Care\n \nFacility:\n___")
MEDICATIONS = "1. Acetaminophen 650 mg PO Q6H:PRN pain"
OTHER_HEADINGS = ("___ on Admission:", "___  on Admission:")


def _admission(stay: Admission, knowledge: Knowledge, random: Random) -> list[str]:
    """Writes the sections before the hospital course."""
    patient, principal = stay.patient, stay.principal
    absent = not_present(stay, knowledge, random)
    before = [past(absent, random) for _ in range(random.randint(1, 3))]
    chronic = [condition.phrase(random, patient.heldout) for condition, _ in stay.documented if condition.chronic]
    who = f"{stay.age} y/o {patient.sex} with {', '.join([*chronic[:2], *before])}"
    vitals = f"VS: T 98.{random.randint(0, 9)} HR {random.randint(60, 98)} RR {random.randint(12, 20)}"
    blood = f"WBC-{random.randint(40, 110) / 10} Hgb-{random.randint(90, 145) / 10}* Plt ___"
    family = random.choice(phrases()["family"]).replace("{what}", random.choice(FAMILY))
    return [
        " \nName:  ___                     Unit No:   ___\n ",
        "Admission Date:  ___              Discharge Date:   ___\n ",
        f"Date of Birth:  ___             Sex:   {patient.sex}\n ",
        f"Service: {principal.service}\n ",
        _section("Allergies:", random.choice(ALLERGIES)),
        _section("Attending: ___.", ""),
        _section("Chief Complaint:", random.choice(principal.complaint)),
        _section("Major Surgical or Invasive Procedure:", "; ".join(name for _, name in stay.procedures) or "None"),
        _section("History of Present Illness:", f"{who} presenting with {random.choice(principal.complaint)}."),
        _section("Past Medical History:", "\n".join([*chronic, *before])),
        _section("Social History:", "___"),
        _section("Family History:", family),
        _section("Physical Exam:", f"{vitals}\nGEN: examined with ___ on admission and discharge"),
        _section("Pertinent Results:", f"___ 06:{random.randint(10, 55)}AM BLOOD {blood}"),
    ]


def _discharge(stay: Admission, random: Random) -> list[str]:
    """Writes the sections after the medications on admission."""
    heldout = stay.patient.heldout
    diagnoses = [stay.principal.phrase(random, heldout)]
    diagnoses += [secondary.phrase(random, heldout) for secondary, _ in stay.documented if random.random() < 0.7]
    condition = "Mental Status: Clear and coherent.\nActivity Status: Ambulatory - Independent."
    wishes = "Dear ___,\n\nIt was a pleasure caring for you at ___."
    return [
        _section("Discharge Medications:", "None" if stay.died else MEDICATIONS),
        _section("Discharge Disposition:", "Expired" if stay.died else random.choice(HOMES)),
        _section("Discharge Diagnosis:", "\n".join(diagnoses)),
        _section("Discharge Condition:", "Expired" if stay.died else condition),
        _section("Discharge Instructions:", "" if stay.died else wishes),
        "Followup Instructions:\n___\n",
    ]


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
        index = random.randrange(len(words))
        if words[index].isalpha() and words[index].islower():
            words[index] = "___"
    return " ".join(words)
