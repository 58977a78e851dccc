"""Draws patients and their admissions as facts, before a word is written."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from random import Random

from src.cohort.split import Split, split_of
from src.synthetic.grouper import group, level
from src.synthetic.knowledge import Condition, Knowledge, clinical

CURATED, MEDICAL_TAIL = 0.635, 0.22
"""Shares of admissions from the curated conditions and the medical tail; the rest are from the surgical tail."""

NOT_CODED, NOT_WRITTEN = 0.04, 0.03
"""Coding noise: documented diagnoses that no coder coded, and coded ones that the summary leaves out."""


@dataclass(frozen=True, eq=False)
class Patient:
    """Holds a patient."""

    subject_id: int
    sex: str
    age: int
    """At the first admission, years."""
    year: int
    year_group: str
    race: str
    heldout: bool
    """The notes may use phrasings that no training patient's notes use."""


@dataclass(frozen=True, eq=False)
class Admission:
    """Holds one admission and everything its note tells."""

    patient: Patient
    hadm_id: int
    age: int
    admitted: datetime
    days: float
    died: bool
    principal: Condition
    code: str
    procedures: list[tuple[tuple[str, ...], str]]
    """ICD-10-PCS codes of each, and how the note names it."""
    documented: list[tuple[Condition, str]]
    """Secondary diagnoses that the note tells of, with their codes."""
    coded: list[str]
    """Secondary diagnoses that were coded, in order."""
    drg: str


def admissions(knowledge: Knowledge, count: int, random: Random, heldout: tuple[int, float]) -> Iterator[Admission]:
    """Yields `count` admissions, those of a patient one after the other.

    Args:
        knowledge: what conditions there are.
        count: how many admissions.
        random: the source of every choice.
        heldout: split seed and share of patients whose notes may use held-out phrasings.
    """
    done = number = 0
    while done < count:
        number += 1
        patient = _patient(number, random, heldout)
        chronic: list[tuple[Condition, str]] = []
        when = datetime(patient.year, 1, 1) + timedelta(hours=random.randrange(8760))
        for _ in range(min(count - done, 1 + int(random.expovariate(1.6) * 1.2))):
            stay = None
            while stay is None:
                stay = _admission(knowledge, patient, done, when, chronic, random)
            yield stay
            done += 1
            if stay.died:
                break
            chronic = [(condition, code) for condition, code in stay.documented if condition.chronic]
            when = stay.admitted + timedelta(days=stay.days + random.expovariate(1 / 150))


def _patient(number: int, random: Random, heldout: tuple[int, float]) -> Patient:
    # Steps of seven with a draw in each: ids stay distinct and ascending, and count nobody.
    subject_id = 10_000_000 + number * 7 + random.randrange(7)
    year = random.randrange(2110, 2200)
    group_start = random.choice((2008, 2011, 2014, 2017))
    race = random.choices(
        ("WHITE", "BLACK/AFRICAN AMERICAN", "HISPANIC OR LATINO", "ASIAN", "OTHER", "UNKNOWN"),
        (66, 14, 6, 4, 5, 5),
    )[0]
    seed, share = heldout
    return Patient(
        subject_id,
        "F" if random.random() < 0.52 else "M",
        min(91, max(18, round(random.gauss(60, 18)))),
        year,
        f"{group_start} - {group_start + 2}",
        race,
        split_of(subject_id, seed, share, 0.0) is Split.TEST,
    )


def _admission(
    knowledge: Knowledge,
    patient: Patient,
    number: int,
    when: datetime,
    chronic: list[tuple[Condition, str]],
    random: Random,
) -> Admission | None:
    age = min(91, patient.age + when.year - patient.year)
    principal, code, procedures = _principal(knowledge, patient, age, random)
    if principal is None:
        return None
    documented = _secondaries(knowledge, patient, principal, code, chronic, random)
    coded = [secondary for _, secondary in documented if random.random() > NOT_CODED] + [
        extra for extra in principal.extra if extra != code
    ]
    for condition, secondary in documented:
        coded += [extra for extra in condition.extra if secondary in coded]
    documented = [pair for pair in documented if pair[1] not in coded or random.random() > NOT_WRITTEN]
    severe = any(level(secondary) == "MCC" for _, secondary in documented)
    died = random.random() < min(0.5, principal.dies + (0.03 if severe else 0.0)) and not principal.light
    pcs = [procedure for codes, _ in procedures for procedure in codes]
    coded = list(dict.fromkeys(coded))
    drg = group(code, coded, pcs, sex=patient.sex, alive=not died)
    if drg is None:
        return None
    days = max(0.6, random.gammavariate(2.2, principal.stay / 2.2) * (1.3 if severe else 1.0))
    return Admission(
        patient,
        20_000_000 + number * 11 + random.randrange(11),
        age,
        when,
        days,
        died,
        principal,
        code,
        procedures,
        documented,
        coded,
        drg,
    )


def _principal(
    knowledge: Knowledge, patient: Patient, age: int, random: Random
) -> tuple[Condition | None, str, list[tuple[tuple[str, ...], str]]]:
    draw = random.random()
    if draw < CURATED:
        condition = random.choices(knowledge.principals, [row.weight for row in knowledge.principals])[0]
        if (condition.sex and condition.sex != patient.sex) or not condition.ages[0] <= age <= condition.ages[1]:
            return None, "", []
        done = [knowledge.procedures[name] for name, chance in condition.procedures.items() if random.random() < chance]
        return (
            condition,
            condition.code(random),
            [(random.choice(procedure.choices), random.choice(procedure.says)) for procedure in done],
        )
    done_codes: tuple[str, ...] = ()
    if draw < CURATED + MEDICAL_TAIL:
        family = random.choice(knowledge.medical_tail)
    else:
        family, done_codes = random.choice(knowledge.surgical_tail)
    code = random.choice(family[:: max(1, len(family) // 12)])  # a dozen codes of each family are in use
    title = knowledge.titles[code]
    if not _suits(title, code, patient, age):
        return None, "", []
    name = clinical(title)
    done_code = random.choice(done_codes[:: max(1, len(done_codes) // 8)]) if done_codes else ""
    surgical: list[tuple[tuple[str, ...], str]] = (
        [((done_code,), clinical(knowledge.titles[done_code]))] if done_code else []
    )
    tail = Condition(
        name=name,
        codes=(code,),
        code_weights=(1.0,),
        says=(name,),
        heldout=(),
        guards=(code[:3],),
        service="SURGERY" if surgical else "MEDICINE",
        complaint=("pain", "weakness", "fever", "referral", name),
        stay=5,
        did=_TAIL_DID,
        light=code[0] == "O",
    )
    return tail, code, surgical


_TAIL_DID = (
    "specialists were consulted and their recommendations followed",
    "symptoms improved with supportive care",
    "imaging was reviewed with the consulting team",
    "{He} was monitored closely and progressed as expected",
)


def _suits(title: str, code: str, patient: Patient, age: int) -> bool:
    female = (
        code[0] == "O"
        or code[:2] in ("N7", "N8", "N9")
        or any(word in title for word in ("female", "ovar", "uter", "cervix", "vagin"))
    )
    male = code[:3] in (
        "N40",
        "N41",
        "N42",
        "N43",
        "N44",
        "N45",
        "N46",
        "N47",
        "N48",
        "N49",
        "N50",
        "N51",
        "N52",
        "N53",
    ) or any(word in title for word in (" male", "prostat", "penis", "testi", "scrot"))
    if code[0] == "O" and not 18 <= age <= 46:
        return False
    return not (female and patient.sex == "M") and not (male and patient.sex == "F" and "female" not in title)


def _secondaries(
    knowledge: Knowledge,
    patient: Patient,
    principal: Condition,
    code: str,
    chronic: list[tuple[Condition, str]],
    random: Random,
) -> list[tuple[Condition, str]]:
    """Draws secondary diagnoses: companions of the principal one, chronic ones from before, and others."""
    secondaries: dict[str, tuple[Condition, str]] = {}

    def add(condition: Condition, its: str) -> None:
        others = [code, *(present for _, present in secondaries.values())]
        if allowed(condition, its, principal, code, patient) and not any(_exclude(its, present) for present in others):
            secondaries.setdefault(condition.name, (condition, its))

    for condition, its in chronic:
        if random.random() < 0.9:
            add(condition, its)
    for name, chance in principal.companions.items():
        if random.random() < chance:
            add(knowledge.secondaries[name], knowledge.secondaries[name].code(random))
    light = principal.light
    sick = 0.0 if light else random.random()
    more = random.choices(range(8), (30, 40, 20, 10, 0, 0, 0, 0) if light else (6, 12, 18, 20, 18, 12, 8, 6))[0]
    names, weights = _drawn(knowledge, 2 if sick > 0.72 else 0 if light or sick < 0.3 else 1)
    for name in random.choices(names, weights, k=more):
        add(knowledge.secondaries[name], knowledge.secondaries[name].code(random))
    pairs = list(secondaries.values())
    random.shuffle(pairs)
    return pairs


_ONE_OF = (("E10", "E11", "E13"), ("E43", "E44", "E66", "R64"), ("I11", "I10", "I13"))
"""Families of which a patient has one at most."""


def _exclude(first: str, second: str) -> bool:
    """Says whether two codes repeat or contradict each other."""
    return first[:3] == second[:3] or any(first[:3] in family and second[:3] in family for family in _ONE_OF)


_DRAWN: dict[int, tuple[list[str], list[float]]] = {}


def _drawn(knowledge: Knowledge, sick: int) -> tuple[list[str], list[float]]:
    if sick not in _DRAWN:
        factor = {"MCC": (0.0, 0.35, 2.6)[sick], "CC": (0.25, 1.0, 1.2)[sick], "": 1.0}
        rows = knowledge.secondaries
        _DRAWN[sick] = list(rows), [condition.weight * factor[level(condition.codes[0])] for condition in rows.values()]
    return _DRAWN[sick]


def allowed(condition: Condition, its: str, principal: Condition, code: str, patient: Patient) -> bool:
    """Says whether a condition may stand beside the principal diagnosis without contradicting or repeating it."""
    if condition.sex and condition.sex != patient.sex:
        return False
    if condition.needs and not code.startswith(condition.needs):
        return False
    return its[:3] != code[:3] and not its.startswith(principal.guards or (code[:3],))
