"""Draws which services cared for a patient, and where in the house."""

from datetime import datetime
from random import Random
from typing import NamedTuple

from src.synthetic.early_knowledge import by_code, early_knowledge
from src.synthetic.grouper import level
from src.synthetic.timeline import Timeline, seconds

FIRST_ELSEWHERE = 0.15
"""Share of patients from the emergency room whom medicine takes before the service that they belong to."""

INTENSIVE = 0.6
"""Share of MCCs that come up in the house and bring the patient to intensive care."""


class Move(NamedTuple):
    """Holds an event of `hosp/transfers`."""

    event: str
    unit: str
    when: datetime


def draw_services(timeline: Timeline, random: Random) -> list[tuple[datetime, str, str]]:
    """Draws time, service before (empty at first) and service of each change."""
    stay = timeline.stay
    service = by_code("services", stay.code) or early_knowledge()["services"][stay.principal.service]
    if timeline.left_emergency and service != "MED" and random.random() < FIRST_ELSEWHERE:
        when = seconds(timeline.admitted, random.uniform(8, 50))
        if when < timeline.left:
            return [(timeline.admitted, "", "MED"), (when, "MED", service)]
    return [(timeline.admitted, "", service)]


def draw_moves(timeline: Timeline, services: list[tuple[datetime, str, str]], random: Random) -> list[Move]:
    """Draws the patient's way through the house, from the emergency department to discharge.

    A ward is reached when the emergency department is left, some time after the admission. A severe complication
    may bring the patient to intensive care, for half a day to three days.
    """
    units, begin = early_knowledge()["units"], timeline.left_emergency or timeline.admitted
    moves = [Move("admit", random.choice(units[services[0][2]]), begin)]
    moves += [Move("transfer", random.choice(units[service]), max(when, begin)) for when, _, service in services[1:]]
    for problem in timeline.problems:
        if level(problem.code) == "MCC" and random.random() < INTENSIVE:
            service = services[-1][2]
            when = max(seconds(problem.onset, 1), seconds(begin, 1))
            back = seconds(when, random.uniform(12, 72))
            moves.append(Move("transfer", early_knowledge()["intensive"][service], when))
            moves.append(Move("transfer", random.choice(units[service]), back))
            break
    inside = sorted((move for move in moves if move.when < timeline.left), key=lambda move: move.when)
    first = [Move("ED", "Emergency Department", timeline.start)] if timeline.left_emergency else []
    return [*first, *inside, Move("discharge", "UNKNOWN", timeline.left)]
