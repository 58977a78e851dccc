"""Writes whole discharge summaries in the order of MIMIC-IV's headings."""

from dataclasses import dataclass
from random import Random

from src.synthetic.course import (
    as_course,
    complaint,
    facts_of,
    not_present,
    past,
    phrases,
    principal_name,
    procedure,
    secondary_name,
    write_course,
)
from src.synthetic.facts import Admission
from src.synthetic.knowledge import Knowledge
from src.synthetic.passage import Fact, Manner, Mention, Passage, Role, joined, mentioned, reworded

DEFACED, OTHER_CASE, VERY_SHORT = 0.03, 0.02, 0.01
MARKS = 0.004
"""Share of the course's words that de-identification struck out."""


@dataclass(frozen=True)
class Note:
    """Holds a discharge summary and what the gauge wants to know of its hospital course."""

    text: str
    mentions: tuple[Mention, ...]
    words: int
    mcc_places: list[int]
    mcc_implicit: int


def write_note(stay: Admission, knowledge: Knowledge, random: Random) -> Note:
    """Renders the admission's facts; nothing in the note contradicts them."""
    paragraphs = write_course(stay, knowledge, random)
    course = _marked(as_course(paragraphs), random)
    evidence = facts_of(paragraphs, stay)
    if random.random() < VERY_SHORT:
        short = random.choice(("See operative note.", "Uneventful, see above.", "Please see ___ note for details."))
        course = Passage(short)
        evidence = {"mcc": [], "implicit": 0}
    heading = random.choice(OTHER_HEADINGS) if random.random() < 0.02 else "Medications on Admission:"
    sections = [
        *_admission(stay, knowledge, random),
        _section(_heading(random), course),
        _section(heading, MEDICATIONS),
        *_discharge(stay, random),
    ]
    whole = joined("\n", sections)
    return Note(whole.text, whole.mentions, len(course.text.split()), evidence["mcc"], evidence["implicit"])


ALLERGIES = ("No Known Allergies / Adverse Drug Reactions", "Penicillins", "Sulfa (Sulfonamide Antibiotics)")
FAMILY = ("CAD", "breast cancer", "diabetes", "stroke")
HOMES = ("Home", "Home With Service", "Extended Care\n \nFacility:\n___")
MEDICATIONS = "1. Acetaminophen 650 mg PO Q6H:PRN pain"
OTHER_HEADINGS = ("___ on Admission:", "___  on Admission:")


def _admission(stay: Admission, knowledge: Knowledge, random: Random) -> list[Passage | str]:
    """Writes the sections before the hospital course."""
    patient = stay.patient
    absent = not_present(stay, knowledge, random)
    before = [past(absent, random) for _ in range(random.randint(1, 3))]
    chronic = [secondary_name(*pair, patient.heldout, random) for pair in stay.documented if pair[0].chronic]
    with_what = joined(", ", [*chronic[:2], *before])
    vitals = f"VS: T 98.{random.randint(0, 9)} HR {random.randint(60, 98)} RR {random.randint(12, 20)}"
    blood = f"WBC-{random.randint(40, 110) / 10} Hgb-{random.randint(90, 145) / 10}* Plt ___"
    relative, _, rest = random.choice(phrases()["family"]).partition("{what}")
    family = mentioned(random.choice(FAMILY), Manner.FAMILY, Fact(Role.ABSENT, ""))
    done = joined("; ", [procedure(*pair) for pair in stay.procedures])
    return [
        " \nName:  ___                     Unit No:   ___\n ",
        "Admission Date:  ___              Discharge Date:   ___\n ",
        f"Date of Birth:  ___             Sex:   {patient.sex}\n ",
        f"Service: {stay.principal.service}\n ",
        _section("Allergies:", random.choice(ALLERGIES)),
        _section("Attending: ___.", ""),
        _section("Chief Complaint:", complaint(stay, random)),
        _section("Major Surgical or Invasive Procedure:", done if stay.procedures else "None"),
        _section(
            "History of Present Illness:",
            f"{stay.age} y/o {patient.sex} with ",
            with_what,
            " presenting with ",
            complaint(stay, random),
            ".",
        ),
        _section("Past Medical History:", joined("\n", [*chronic, *before])),
        _section("Social History:", "___"),
        _section("Family History:", relative, family, rest),
        _section("Physical Exam:", f"{vitals}\nGEN: examined with ___ on admission and discharge"),
        _section("Pertinent Results:", f"___ 06:{random.randint(10, 55)}AM BLOOD {blood}"),
    ]


def _discharge(stay: Admission, random: Random) -> list[Passage | str]:
    """Writes the sections after the medications on admission."""
    heldout = stay.patient.heldout
    diagnoses = [principal_name(stay, random)]
    diagnoses += [secondary_name(*pair, heldout, random) for pair in stay.documented if random.random() < 0.7]
    condition = "Mental Status: Clear and coherent.\nActivity Status: Ambulatory - Independent."
    wishes = "Dear ___,\n\nIt was a pleasure caring for you at ___."
    return [
        _section("Discharge Medications:", "None" if stay.died else MEDICATIONS),
        _section("Discharge Disposition:", "Expired" if stay.died else random.choice(HOMES)),
        _section("Discharge Diagnosis:", joined("\n", diagnoses)),
        _section("Discharge Condition:", "Expired" if stay.died else condition),
        _section("Discharge Instructions:", "" if stay.died else wishes),
        "Followup Instructions:\n___\n",
    ]


def _section(heading: str, *body: Passage | str) -> Passage:
    return joined("", [f"{heading}\n", *body, "\n "])


def _heading(random: Random) -> str:
    draw = random.random()
    if draw < DEFACED:
        return random.choice(("___ Hospital Course:", "Brief ___ Course:", "rief Hospital Course:"))
    if draw < DEFACED + OTHER_CASE:
        return random.choice(("BRIEF HOSPITAL COURSE:", "HOSPITAL COURSE:", "Brief hospital course:"))
    return "Brief Hospital Course:"


def _marked(course: Passage, random: Random) -> Passage:
    words = course.text.split(" ")
    for _ in range(round(len(words) * MARKS)):
        index = random.randrange(len(words))
        if words[index].isalpha() and words[index].islower():
            words[index] = "___"
    return reworded(course, words)
