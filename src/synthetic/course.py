"""Writes the brief hospital course of an admission, and says where in it the evidence stands."""

from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from random import Random
from typing import Any

import yaml

from src.synthetic.facts import Admission, allowed
from src.synthetic.grouper import level
from src.synthetic.knowledge import Condition, Knowledge
from src.synthetic.wording import fill, sentence

MEAN_LOG, SPREAD_LOG = 5.40, 0.92
"""Lengths in words are log-normal: 378 on average, 800 at the 90th percentile, as in MIMIC-IV."""

LATE, IMPLICIT = 0.80, 0.35
"""Chances that evidence of a severe condition stands in a late paragraph, and that it is only implicit."""


@dataclass(frozen=True)
class Paragraph:
    """Holds a paragraph, with the names of the conditions it gives evidence of."""

    text: str
    about: str = ""
    implicit: bool = False


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
    early = [
        _problem(condition, patient.heldout, patient.sex, random) for condition, _ in others if not condition.chronic
    ]
    chronic = [
        _problem(condition, patient.heldout, patient.sex, random) for condition, _ in others if condition.chronic
    ]
    late: list[Paragraph] = []
    for condition, _ in severe_ones:
        (late if random.random() < LATE else early).append(_problem(condition, patient.heldout, patient.sex, random))
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
    negatives = [Paragraph(sentence(_absent("negative", [condition], random))) for condition in denied]
    budget = length - sum(len(paragraph.text.split()) for paragraph in (opening, *early, *late, *chronic, *negatives))
    filler = _filler(budget, patient.sex, random)
    half = len(filler) // 2 + len(filler) // 4
    for _ in range(int(budget > 60) + int(budget > 180) + int(budget > 300)):  # longer notes come back to their cause
        again = fill(random.choice(phrases()["again"]), random, patient.sex)
        filler.insert(
            random.randint(half, len(filler)),
            Paragraph(sentence(again.replace("WHAT", principal.phrase(random, patient.heldout))), "principal"),
        )
    middle = filler[:half] + negatives
    random.shuffle(middle)
    paragraphs = [opening, Paragraph("ACUTE ISSUES:"), *early, *middle, *late, *filler[half:]]
    if chronic:
        paragraphs += [Paragraph("CHRONIC ISSUES:"), *chronic]
    if stay.died:
        return [
            *paragraphs,
            Paragraph(sentence(fill("{He} expired on ___ with family at the bedside", random, patient.sex))),
        ]
    if budget > 40:
        issues = random.sample(phrases()["transitional"], 3)
        paragraphs += [
            Paragraph("TRANSITIONAL ISSUES:"),
            *(Paragraph(fill(issue, random, patient.sex)) for issue in issues),
        ]
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


def _absent(kind: str, absent: list[Condition], random: Random) -> str:
    return random.choice(phrases()[kind]).replace("{what}", random.choice(random.choice(absent).says))


def past(absent: list[Condition], random: Random) -> str:
    """Writes of a condition of long ago."""
    return _absent("history", absent, random)


def _opening(stay: Admission, absent: list[Condition], random: Random) -> Paragraph:
    patient = stay.patient
    chronic = [
        condition.phrase(random, patient.heldout)
        for condition, _ in stay.documented
        if condition.chronic and level(condition.codes[0]) != "MCC"
    ][:4]
    before = ", ".join([*chronic, *(past(absent, random) for _ in range(random.randint(0, 2)))])
    who = (
        f"{stay.age} year old {'woman' if patient.sex == 'F' else 'man'}"
        if random.random() < 0.6
        else f"{stay.age}yo {patient.sex}"
    )
    named = random.random() < 0.3
    why = stay.principal.phrase(random, patient.heldout) if named else random.choice(stay.principal.complaint)
    verb = random.choice(("who presented with", "admitted with", "p/w", "presenting with"))
    return Paragraph(
        f"{who} {'with PMH of ' + before + ' ' if before else ''}{verb} {why}.", "principal" if named else ""
    )


def _main(stay: Admission, random: Random) -> Paragraph:
    patient, principal = stay.patient, stay.principal
    parts = [f"# {principal.phrase(random, patient.heldout)}:"]
    if principal.found:
        parts.append(sentence(fill(random.choice(principal.found), random, patient.sex)))
    for _, name in stay.procedures:
        if name not in ("vaginal delivery",) or random.random() < 0.8:
            parts.append(sentence(fill("{He} underwent " + name + " on ___", random, patient.sex)))
    did = [
        text
        for text in principal.did
        if not (stay.died and any(word in text for word in ("discharge", "home", "rehab")))
    ]
    for text in random.sample(did, min(len(did), random.randint(1, 3))):
        parts.append(sentence(fill(text, random, patient.sex)))
    return Paragraph(" ".join(parts), "principal")


def _problem(condition: Condition, heldout: bool, sex: str, random: Random) -> Paragraph:
    """Writes a paragraph of a secondary diagnosis: named, or told only by its evidence."""
    evidence = sentence(fill(random.choice(condition.found), random, sex))
    did = sentence(fill(random.choice(condition.did), random, sex))
    if not condition.chronic and random.random() < IMPLICIT:
        return Paragraph(f"{random.choice(('', '- ', '# Events: '))}{evidence} {did}", condition.name, implicit=True)
    name = condition.phrase(random, heldout)
    heading = random.choice((f"# {name}: ", f"# {name[0].upper() + name[1:]}. ", f"- {name} - ", f"{name.upper()}: "))
    return Paragraph(f"{heading}{evidence if random.random() < 0.6 else ''} {did}".replace("  ", " "), condition.name)


def _filler(words: float, sex: str, random: Random) -> list[Paragraph]:
    paragraphs: list[Paragraph] = []
    while words > 12:
        count = min(random.randint(2, 7), max(1, int(words // 12)))
        lines = random.sample(phrases()["filler"], count)
        text = " ".join(sentence(fill(line, random, sex)) for line in lines)
        paragraphs.append(Paragraph(text))
        words -= len(text.split())
    return paragraphs


def as_course(paragraphs: list[Paragraph]) -> str:
    """Joins the paragraphs to one text; headings in capitals stand after a blank line."""
    return "\n".join("\n" + paragraph.text if paragraph.text.isupper() else paragraph.text for paragraph in paragraphs)


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
