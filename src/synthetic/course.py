"""Writes the brief hospital course of an admission, and says where in it the evidence stands."""

from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from random import Random
from typing import Any

import yaml

from src.synthetic.facts import Admission, Patient, allowed
from src.synthetic.grouper import level
from src.synthetic.knowledge import Condition, Knowledge
from src.synthetic.passage import Fact, Manner, Passage, Role, joined, mentioned
from src.synthetic.wording import fill, sentence

MEAN_LOG, SPREAD_LOG = 5.40, 0.92
"""Lengths in words are log-normal: 378 on average, 800 at the 90th percentile, as in MIMIC-IV."""

LATE, IMPLICIT = 0.80, 0.35
"""Chances that evidence of a severe condition stands in a late paragraph, and that it is only implicit."""


@dataclass(frozen=True)
class Paragraph:
    """Holds a paragraph, with the name of the condition that it is about."""

    passage: Passage
    about: str = ""
    implicit: bool = False

    @property
    def text(self) -> str:
        """Is the paragraph as the note has it."""
        return self.passage.text


@cache
def phrases() -> dict[str, list[str]]:
    """Reads sentences that fit any stay."""
    text = files("src.synthetic").joinpath("data/phrases.yaml").read_text("utf-8")
    return dict(yaml.load(text, Loader=yaml.CSafeLoader))


def write_course(stay: Admission, knowledge: Knowledge, random: Random) -> list[Paragraph]:
    """Writes the paragraphs of the hospital course, in order."""
    patient, principal = stay.patient, stay.principal
    severe = sum(level(code) == "MCC" for _, code in stay.documented)
    stretch = 0.32 * min(severe, 2) + 0.08 * min(len(stay.documented), 6) - (0.5 if principal.light else 0.0)
    length = min(1600.0, 2.718281828 ** (MEAN_LOG + SPREAD_LOG * random.gauss(0, 1) * 0.92 + stretch - 0.25))
    absent = not_present(stay, knowledge, random)
    opening, main = _opening(stay, absent, random), _main(stay, random)
    severe_ones = [pair for pair in stay.documented if level(pair[1]) == "MCC"]
    others = [pair for pair in stay.documented if level(pair[1]) != "MCC"]
    early = [_problem(*pair, patient, random) for pair in others if not pair[0].chronic]
    chronic = [_problem(*pair, patient, random) for pair in others if pair[0].chronic]
    late: list[Paragraph] = []
    for pair in severe_ones:
        (late if random.random() < LATE else early).append(_problem(*pair, patient, random))
    random.shuffle(early)
    if random.random() < 0.45:
        early = [main, *early]
    else:
        early = [
            *early,
            *(_filler(random.choice((0, 0, 40, 90) if length < 450 else (0, 90, 240)), patient.sex, random)),
            main,
        ]
    denied = random.sample(absent, min(len(absent), random.randint(0, 3)))
    negatives = [Paragraph(_absent(Manner.DENIED, [condition], random).as_sentence()) for condition in denied]
    budget = length - sum(len(paragraph.text.split()) for paragraph in (opening, *early, *late, *chronic, *negatives))
    filler = _filler(budget, patient.sex, random)
    half = len(filler) // 2 + len(filler) // 4
    for _ in range(int(budget > 60) + int(budget > 180) + int(budget > 300)):  # longer notes come back to their cause
        before, _, after = sentence(fill(random.choice(phrases()["again"]), random, patient.sex)).partition("WHAT")
        index = random.randint(half, len(filler))
        filler.insert(index, Paragraph(joined("", [before, principal_name(stay, random), after]), "principal"))
    middle = filler[:half] + negatives
    random.shuffle(middle)
    paragraphs = [opening, Paragraph(Passage("ACUTE ISSUES:")), *early, *middle, *late, *filler[half:]]
    if chronic:
        paragraphs += [Paragraph(Passage("CHRONIC ISSUES:")), *chronic]
    if stay.died:
        end = sentence(fill("{He} expired on ___ with family at the bedside", random, patient.sex))
        return [*paragraphs, Paragraph(Passage(end))]
    if budget > 40:
        issues = random.sample(phrases()["transitional"], 3)
        lines = ["TRANSITIONAL ISSUES:", *(fill(issue, random, patient.sex) for issue in issues)]
        paragraphs += [Paragraph(Passage(line)) for line in lines]
    return paragraphs


def not_present(stay: Admission, knowledge: Knowledge, random: Random) -> list[Condition]:
    """Draws conditions that this patient has not: the note may deny them, or tell of them as long past."""
    present = {code[:3] for _, code in stay.documented} | {code[:3] for code in stay.coded} | {stay.code[:3]}
    drawn = random.sample(list(knowledge.secondaries.values()), 14)
    return [
        condition
        for condition in drawn
        if not condition.chronic
        and not any(code[:3] in present for code in condition.codes)
        and all(allowed(condition, code, stay.principal, stay.code, stay.patient) for code in condition.codes)
    ] or [knowledge.secondaries["gout"]]


def _absent(manner: Manner, absent: list[Condition], random: Random) -> Passage:
    kind = {Manner.DENIED: "negative", Manner.HISTORY: "history"}[manner]
    before, _, after = random.choice(phrases()[kind]).partition("{what}")
    condition = random.choice(absent)
    fact = Fact(Role.ABSENT, condition.codes[0])
    return joined("", [before, mentioned(random.choice(condition.says), manner, fact), after])


def past(absent: list[Condition], random: Random) -> Passage:
    """Writes of a condition of long ago."""
    return _absent(Manner.HISTORY, absent, random)


def principal_name(stay: Admission, random: Random) -> Passage:
    """Draws a name of the principal diagnosis."""
    name = stay.principal.phrase(random, stay.patient.heldout)
    return mentioned(name, Manner.NAME, Fact(Role.PRINCIPAL, stay.code))


def secondary_name(condition: Condition, code: str, heldout: bool, random: Random) -> Passage:
    """Draws a name of a secondary diagnosis."""
    return mentioned(condition.phrase(random, heldout), Manner.NAME, Fact(Role.SECONDARY, code))


def complaint(stay: Admission, random: Random) -> Passage:
    """Draws what the patient came with, which may be the principal diagnosis by its name."""
    text = random.choice(stay.principal.complaint)
    if text not in stay.principal.says:
        return Passage(text)
    return mentioned(text, Manner.NAME, Fact(Role.PRINCIPAL, stay.code))


def _opening(stay: Admission, absent: list[Condition], random: Random) -> Paragraph:
    patient = stay.patient
    chronic = [
        secondary_name(condition, code, patient.heldout, random)
        for condition, code in stay.documented
        if condition.chronic and level(condition.codes[0]) != "MCC"
    ][:4]
    before = [*chronic, *(past(absent, random) for _ in range(random.randint(0, 2)))]
    who = (
        f"{stay.age} year old {'woman' if patient.sex == 'F' else 'man'}"
        if random.random() < 0.6
        else f"{stay.age}yo {patient.sex}"
    )
    named = random.random() < 0.3
    why = principal_name(stay, random) if named else complaint(stay, random)
    verb = random.choice(("who presented with", "admitted with", "p/w", "presenting with"))
    history: list[Passage | str] = ["with PMH of ", joined(", ", before), " "] if before else []
    return Paragraph(joined("", [f"{who} ", *history, f"{verb} ", why, "."]), "principal" if named else "")


def _main(stay: Admission, random: Random) -> Paragraph:
    patient, principal, fact = stay.patient, stay.principal, Fact(Role.PRINCIPAL, stay.code)
    parts = [joined("", ["# ", principal_name(stay, random), ":"])]
    if principal.found:
        evidence = sentence(fill(random.choice(principal.found), random, patient.sex))
        parts.append(mentioned(evidence, Manner.FINDING, fact))
    for codes, name in stay.procedures:
        if name not in ("vaginal delivery",) or random.random() < 0.8:
            parts.append(joined("", [fill("{He} underwent ", random, patient.sex), procedure(codes, name), " on ___."]))
    did = [
        text
        for text in principal.did
        if not (stay.died and any(word in text for word in ("discharge", "home", "rehab")))
    ]
    for text in random.sample(did, min(len(did), random.randint(1, 3))):
        treatment = sentence(fill(text, random, patient.sex))
        # What was done in the long tail, whose conditions have no findings, fits any of them.
        parts.append(mentioned(treatment, Manner.TREATMENT, fact) if principal.found else Passage(treatment))
    return Paragraph(joined(" ", parts), "principal")


def procedure(codes: tuple[str, ...], name: str) -> Passage:
    """Names a procedure."""
    return mentioned(name, Manner.NAME, Fact(Role.PROCEDURE, "+".join(codes)))


def _problem(condition: Condition, code: str, patient: Patient, random: Random) -> Paragraph:
    """Writes a paragraph of a secondary diagnosis: named, or told only by its evidence."""
    fact = Fact(Role.SECONDARY, code)
    evidence = mentioned(sentence(fill(random.choice(condition.found), random, patient.sex)), Manner.FINDING, fact)
    did = mentioned(sentence(fill(random.choice(condition.did), random, patient.sex)), Manner.TREATMENT, fact)
    if not condition.chronic and random.random() < IMPLICIT:
        mark = random.choice(("", "- ", "# Events: "))
        return Paragraph(joined("", [mark, evidence, " ", did]), condition.name, implicit=True)
    name = condition.phrase(random, patient.heldout)
    before, name, after = random.choice(
        (("# ", name, ": "), ("# ", name[0].upper() + name[1:], ". "), ("- ", name, " - "), ("", name.upper(), ": "))
    )
    whole: list[Passage | str] = [before, mentioned(name, Manner.NAME, fact), after]
    if random.random() < 0.6:
        whole += [evidence, " "]
    return Paragraph(joined("", [*whole, did]), condition.name)


def _filler(words: float, sex: str, random: Random) -> list[Paragraph]:
    paragraphs: list[Paragraph] = []
    while words > 12:
        count = min(random.randint(2, 7), max(1, int(words // 12)))
        lines = random.sample(phrases()["filler"], count)
        text = " ".join(sentence(fill(line, random, sex)) for line in lines)
        paragraphs.append(Paragraph(Passage(text)))
        words -= len(text.split())
    return paragraphs


def as_course(paragraphs: list[Paragraph]) -> Passage:
    """Joins the paragraphs to one passage; headings in capitals stand after a blank line."""
    return joined("\n", [joined("\n" if part.text.isupper() else "", ["", part.passage]) for part in paragraphs])


def first_word(paragraphs: list[Paragraph], about: str) -> int | None:
    """Counts the words before the first evidence of a condition; None when there is none."""
    before = 0
    for paragraph in paragraphs:
        if paragraph.about == about:
            return before
        before += len(paragraph.text.split())
    return None


def facts_of(paragraphs: list[Paragraph], stay: Admission) -> dict[str, Any]:
    """Counts for the gauge: places of MCC evidence, and how much of it is implicit."""
    positions = [first_word(paragraphs, condition.name) for condition, code in stay.documented if level(code) == "MCC"]
    implicit = {paragraph.about for paragraph in paragraphs if paragraph.implicit}
    return {
        "mcc": [position for position in positions if position is not None],
        "implicit": sum(condition.name in implicit for condition, code in stay.documented if level(code) == "MCC"),
    }
