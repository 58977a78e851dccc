"""Writes the radiology reports of an admission: what is suspected before it is proven, and what is ruled out."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from math import log
from random import Random

from src.synthetic.course import not_present
from src.synthetic.early_knowledge import by_code, early_knowledge
from src.synthetic.emergency import EmergencyStay, symptoms_of
from src.synthetic.facts import Admission, Patient, allowed
from src.synthetic.grouper import level
from src.synthetic.knowledge import Condition, Knowledge
from src.synthetic.timeline import Timeline, seconds
from src.synthetic.wording import fill, sentence

RIGHT_AT_FIRST, RIGHT_LATER = 0.65, 0.85
"""Chances that the principal diagnosis is among the first report's two suspicions, and that it is the second's one."""

LIGHT = 0.35
"""How often a report is written of those who are hardly ill, of what it is of others."""

AFTER_DISCHARGE, ADDENDUM = 0.02, 0.015
"""Shares of admissions with a report charted after discharge, and of reports with an addendum."""

STORED, LONGEST_STORED = (log(2), 1.1), 72.0
"""Hours from an exam (`charttime`) to its signed report (`storetime`): log-normal, so some lie across any horizon."""


@dataclass(frozen=True)
class RadiologyReport:
    """Holds a report; an addendum has the `charttime` of its exam, and is known only when it is stored itself."""

    charted: datetime
    stored: datetime
    exam: tuple[str, str, str]
    """Its name, its code in the department, its CPT code."""
    text: str
    addendum: str = ""
    addendum_stored: datetime | None = None


@dataclass(frozen=True)
class _Plan:
    """Holds what a report is to say before it is written."""

    charted: datetime
    code: str
    """ICD-10-CM code of what is looked for, which decides where."""
    reason: str
    impression: tuple[str, ...]
    further: bool = False
    """Whether a better exam than the first is taken."""


def draw_reports(timeline: Timeline, knowledge: Knowledge, random: Random) -> list[RadiologyReport]:
    """Writes the reports of an admission, from its start to its end, and seldom one after it."""
    stay = timeline.stay
    plans = [
        *_of_principal(timeline, knowledge, random),
        *_of_problems(timeline, random),
        *_ruled_out(timeline, knowledge, random),
    ]
    if random.random() < 0.25:
        when = seconds(timeline.start, random.uniform(0.4, 0.95) * _hours(timeline))
        plans.append(_Plan(when, stay.code, "interval change", (_said("routine", random),)))
    plans = [plan for plan in plans if plan.charted < timeline.left]
    if not stay.died and random.random() < AFTER_DISCHARGE:
        when = seconds(timeline.left, random.uniform(0.5, 12))
        plans.append(_Plan(when, stay.code, "follow up after discharge", (_said("routine", random),)))
    return [_written(plan, stay.patient, _principal(stay, random), random) for plan in plans]


def report_of_visit(visit: EmergencyStay, random: Random) -> RadiologyReport:
    """Writes the report of an exam of somebody whom the emergency department sent home."""
    when = visit.arrived + (visit.left - visit.arrived) * random.uniform(0.2, 0.9)
    plan = _Plan(when.replace(microsecond=0), visit.codes[0], visit.complaint.lower(), (_said("routine", random),))
    return _written(plan, visit.patient, "no fracture", random)


def _of_principal(timeline: Timeline, knowledge: Knowledge, random: Random) -> Iterator[_Plan]:
    """Plans the work-up: two suspicions on arrival, the likelier one within a day or so, then proof.

    Who comes for a planned admission is known from the start; what was done is known on the day after.
    """
    stay, start = timeline.stay, timeline.start
    principal, share, heldout = stay.principal, LIGHT if stay.principal.light else 1.0, stay.patient.heldout
    rivals = _rivals(stay, knowledge)
    first, second = (rival.phrase(random, heldout) for rival in random.sample(rivals, 2))
    if random.random() < 0.78 * share:
        when, reason = seconds(start, random.uniform(0.3, 3)), random.choice(symptoms_of(principal))
        if principal.elective:
            yield _Plan(when, stay.code, f"{_principal(stay, random)}, pre-op", (_said("routine", random),))
        else:
            pair = [_principal(stay, random), first] if random.random() < RIGHT_AT_FIRST else [first, second]
            random.shuffle(pair)
            yield _Plan(when, stay.code, reason, (_said("open", random, *pair),))
    if random.random() < 0.6 * share:
        name = _principal(stay, random) if random.random() < RIGHT_LATER else second
        reason = random.choice(principal.found or symptoms_of(principal))
        when = seconds(start, random.uniform(7, 23))
        yield _Plan(when, stay.code, _filled(reason, stay, random), (_said("likely", random, name),), True)
    if random.random() < 0.65 * share:
        name = _principal(stay, random)
        impression = (_said("proof", random, name), _said("absent", random, first))
        yield _Plan(seconds(start, random.uniform(20, 46)), stay.code, name, impression, True)
    for _, done in stay.procedures:
        if random.random() < 0.6:
            when = seconds(timeline.admitted, 24 + random.uniform(2, 18))
            yield _Plan(when, stay.code, f"s/p {done}", (_said("routine", random),))


def _of_problems(timeline: Timeline, random: Random) -> Iterator[_Plan]:
    """Plans the reports of complications that are CC or MCC: a question as one comes up, and hours later its proof."""
    stay = timeline.stay
    for problem in timeline.problems:
        if level(problem.code) and random.random() < 0.7:
            condition, when = problem.condition, seconds(problem.onset, random.uniform(0.5, 4))
            evidence = _filled(random.choice(condition.found), stay, random)
            name = condition.phrase(random, stay.patient.heldout)
            yield _Plan(when, problem.code, evidence, (_said("doubt", random, name),))
            if random.random() < 0.75:
                when = seconds(when, random.uniform(5, 30))
                yield _Plan(when, problem.code, name, (_said("proof", random, name),), True)


def _ruled_out(timeline: Timeline, knowledge: Knowledge, random: Random) -> Iterator[_Plan]:
    """Plans a suspicion of what the patient has not got, and the report that takes it back."""
    if random.random() < 0.3 * (LIGHT if timeline.stay.principal.light else 1.0):
        condition = not_present(timeline.stay, knowledge, random)[0]
        name, code = random.choice(condition.says), condition.codes[0]
        when = seconds(timeline.start, random.uniform(1, 0.6 * _hours(timeline)))
        yield _Plan(when, code, random.choice(("fever", "pain", "clinical change")), (_said("doubt", random, name),))
        when = seconds(when, random.uniform(5, 24))
        yield _Plan(when, code, f"question of {name}", (_said("absent", random, name),), True)


def _hours(timeline: Timeline) -> float:
    return (timeline.left - timeline.start) / timedelta(hours=1)


def _principal(stay: Admission, random: Random) -> str:
    return stay.principal.phrase(random, stay.patient.heldout)


def _filled(text: str, stay: Admission, random: Random) -> str:
    return fill(text, random, stay.patient.sex).rstrip(".")


@cache
def _of_region(knowledge: Knowledge, region: str) -> list[Condition]:
    """Lists the principal conditions that are looked for in a region; those of the chest where it has none."""
    return [row for row in knowledge.principals if by_code("regions", row.codes[0]) == region and not row.elective]


def _rivals(stay: Admission, knowledge: Knowledge) -> list[Condition]:
    """Lists at least two conditions of the same region that the patient has not got: a report may deny them."""
    present = {code[:3] for code in (stay.code, *stay.coded, *(code for _, code in stay.documented))}
    rivals: list[Condition] = []
    for region in dict.fromkeys((by_code("regions", stay.code), "chest", "abdomen")):
        rivals += [
            condition
            for condition in _of_region(knowledge, region)
            if not any(code[:3] in present for code in condition.codes)
            and all(allowed(condition, code, stay.principal, stay.code, stay.patient) for code in condition.codes)
        ]
        if len(rivals) >= 2:
            break
    return rivals


def _said(kind: str, random: Random, what: str = "", otherwise: str = "") -> str:
    """Draws a sentence of an impression."""
    text = fill(random.choice(early_knowledge()[kind]), random, "")
    return sentence(text.replace("WHAT ELSE", otherwise).replace("WHAT", what))


def _written(plan: _Plan, patient: Patient, name: str, random: Random) -> RadiologyReport:
    """Writes a report in the sections of MIMIC-IV's; `name` is what a late addendum may tell of."""
    exams = early_knowledge()["exams"][by_code("regions", plan.code)]
    exam, exam_code, cpt, technique = random.choice(exams[1:] or exams) if plan.further else exams[0]
    stored = seconds(plan.charted, min(LONGEST_STORED, random.lognormvariate(*STORED)))
    who = "woman" if patient.sex == "F" else "man"
    findings = " ".join(fill(text, random, "") for text in random.sample(early_knowledge()["neutral"], 3))
    text = (
        f"EXAMINATION:  {exam}\n\nINDICATION:  ___ year old {who} with {plan.reason} // evaluate\n\n"
        f"TECHNIQUE:  {technique}\n\nCOMPARISON:  ___\n\nFINDINGS: \n\n{findings}\n\nIMPRESSION: \n\n"
    )
    text += "\n".join(f"{number}.  {line}" for number, line in enumerate(plan.impression, 1)) + "\n"
    kind = (exam, exam_code, cpt)
    if random.random() >= ADDENDUM:
        return RadiologyReport(plan.charted, stored, kind, text)
    later = seconds(stored, random.uniform(1, 30))
    return RadiologyReport(plan.charted, stored, kind, text, f"ADDENDUM  {_said('addendum', random, name)}\n", later)
