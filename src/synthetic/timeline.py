"""Draws when an admission's facts come about: arrival, the way through the emergency department, complications."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from math import log
from random import Random

from src.synthetic.facts import Admission
from src.synthetic.knowledge import Condition

WITHOUT_ED_ROW = 0.297
"""Share of admissions from the emergency room of which MIMIC-IV-ED has no row."""

PRESENT = 0.4
"""Share of acute secondary diagnoses that the patient comes with; the rest come up during the stay."""

BEFORE, AFTER = (log(255), 0.65), (log(95), 0.7)
"""Minutes from registration to admission, and on to leaving the department: log-normal, medians of MIMIC-IV's demo."""

LONGEST_BEFORE, LONGEST_AFTER = 1200.0, 420.0
"""Minutes; the shortest stay of the hospital is longer than the second."""


@dataclass(frozen=True)
class Problem:
    """Holds an acute secondary diagnosis with the time at which it comes up."""

    condition: Condition
    code: str
    onset: datetime


@dataclass(frozen=True, eq=False)
class Timeline:
    """Holds an admission in time, in whole seconds."""

    stay: Admission
    start: datetime
    """Registration in the emergency department, or the admission where there was none."""
    admitted: datetime
    left: datetime
    left_emergency: datetime | None
    """None where the patient was admitted without it."""
    recorded: bool
    """Whether `ed/` has the stay in the emergency department."""
    problems: list[Problem]


def draw_timeline(stay: Admission, free: datetime | None, random: Random) -> Timeline:
    """Draws the times of an admission, all within it.

    Args:
        stay: the admission, whose own times stay as they are.
        free: when the patient's admission before ended, from which the patient may come again; None at the first.
        random: the source of every choice.
    """
    admitted = stay.admitted.replace(microsecond=0)
    left = (stay.admitted + timedelta(days=stay.days)).replace(microsecond=0)
    start, left_emergency = admitted, None
    if not stay.principal.elective:
        before = min(LONGEST_BEFORE, random.lognormvariate(*BEFORE))
        after = min(LONGEST_AFTER, random.lognormvariate(*AFTER))
        start = seconds(admitted, -before / 60)
        if free is not None and start <= free:
            start = free + (admitted - free) // 2
            start = start.replace(microsecond=0) if start.replace(microsecond=0) >= free else admitted
        left_emergency = seconds(admitted, after / 60)
    hours = (left - start) / timedelta(hours=1)
    problems = []
    for condition, code in stay.documented:
        if not condition.chronic:
            onset = seconds(start, 1 if random.random() < PRESENT else random.uniform(0.05, 0.8) * hours)
            problems.append(Problem(condition, code, onset))
    recorded = left_emergency is not None and random.random() >= WITHOUT_ED_ROW
    return Timeline(stay, start, admitted, left, left_emergency, recorded, problems)


def seconds(when: datetime, hours: float) -> datetime:
    """Adds hours to a time, in whole seconds."""
    return when + timedelta(seconds=round(hours * 3600))
