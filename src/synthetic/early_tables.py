"""Writes the files that MIMIC-IV knows before discharge, with its exact names and columns."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from functools import cache
from random import Random
from typing import Any

from src.synthetic.emergency import (
    EmergencyStay,
    earlier_stay,
    medicine_rows,
    of_admission,
    triage_row,
    visit,
    vital_rows,
)
from src.synthetic.facts import Admission
from src.synthetic.knowledge import Knowledge
from src.synthetic.radiology import RadiologyReport, draw_reports, report_of_visit
from src.synthetic.timeline import Timeline, draw_timeline, seconds
from src.synthetic.wards import draw_moves, draw_services

EARLY_COLUMNS = {
    "note/radiology": "note_id subject_id hadm_id note_type note_seq charttime storetime text",
    "note/radiology_detail": "note_id subject_id field_name field_value field_ordinal",
    "ed/edstays": "subject_id hadm_id stay_id intime outtime gender race arrival_transport disposition",
    "ed/triage": "subject_id stay_id temperature heartrate resprate o2sat sbp dbp pain acuity chiefcomplaint",
    "ed/vitalsign": "subject_id stay_id charttime temperature heartrate resprate o2sat sbp dbp rhythm pain",
    "ed/medrecon": "subject_id stay_id charttime name gsn ndc etc_rn etccode etcdescription",
    "ed/diagnosis": "subject_id stay_id seq_num icd_code icd_version icd_title",
    "hosp/services": "subject_id hadm_id transfertime prev_service curr_service",
    "hosp/transfers": "subject_id hadm_id transfer_id eventtype careunit intime outtime",
}

WITHOUT_HADM = 0.33
"""Share of an admission's reports whose row does not say which admission: patient and time do."""

SECOND_STAY = 0.004
"""Share of admissions with a row of the emergency department that have a second one, which ended hours before."""

VISIT, EXAMINED = 0.35, 0.4
"""Share of admissions before which the patient was in the emergency department and went home, in MIMIC-IV above one;
and share of these visits with a report, which is of no admission."""


class EarlyTables:
    """Holds the open files of what is known early; a patient is written with the last of the patient's admissions."""

    def __init__(self, writers: Mapping[str, Any], knowledge: Knowledge, random: Random) -> None:
        """Takes a random source of its own, so that no other file changes with these."""
        self._writers, self._knowledge, self._random = writers, knowledge, random
        self._timelines: list[Timeline] = []
        self._stay_id = 30_000_000

    def add(self, stay: Admission) -> Timeline:
        """Draws an admission in time; those of a patient come one after the other."""
        if self._timelines and self._timelines[-1].stay.patient is not stay.patient:
            self.close()
        free = self._timelines[-1].left if self._timelines else None
        self._timelines.append(draw_timeline(stay, free, self._random))
        return self._timelines[-1]

    def close(self) -> None:
        """Writes what is there of the last patient."""
        reports: list[tuple[int | str, RadiologyReport]] = []
        free: datetime | None = None
        for index, timeline in enumerate(self._timelines):
            ids = [timeline.stay.patient.subject_id, timeline.stay.hadm_id]
            reports += self._before(timeline, free)
            until = self._timelines[index + 1].start if index + 1 < len(self._timelines) else datetime.max
            for report in draw_reports(timeline, self._knowledge, self._random):
                if report.charted < until:
                    hadm_id = "" if self._random.random() < WITHOUT_HADM else timeline.stay.hadm_id
                    reports.append((hadm_id, report))
            services = draw_services(timeline, self._random)
            for row in services:
                self._row("hosp/services", [*ids, *row])
            moves = draw_moves(timeline, services, self._random)
            for move, left in zip(moves, [*(move.when for move in moves[1:]), ""], strict=True):
                number = self._next_id()
                self._row("hosp/transfers", [*ids, number, move.event, move.unit, move.when, left])
                if move.event == "ED" and timeline.recorded:  # as in MIMIC-IV, the stay has the event's number
                    self._emergency(of_admission(timeline, self._random), number)
            free = timeline.left
        self._reports(reports)
        self._timelines = []

    def _before(self, timeline: Timeline, free: datetime | None) -> list[tuple[int | str, RadiologyReport]]:
        """Writes stays in the emergency department before the one of the admission; returns their reports."""
        random, reports = self._random, list[tuple[int | str, RadiologyReport]]()
        days = 200.0 if free is None else (timeline.start - free) / timedelta(days=1)
        if days > 6 and random.random() < VISIT:
            arrived = seconds(timeline.start, -24 * random.uniform(2.5, min(days - 2, 120)))
            home = visit(timeline.stay.patient, arrived, random)
            self._past(home)
            if random.random() < EXAMINED:
                reports.append(("", report_of_visit(home, random)))
        if days > 3 and timeline.recorded and random.random() < SECOND_STAY:
            self._past(earlier_stay(timeline, random))
        return reports

    def _past(self, stay: EmergencyStay) -> None:
        number = self._next_id()
        ids = [stay.patient.subject_id, stay.hadm_id, number]
        self._row("hosp/transfers", [*ids, "ED", "Emergency Department", stay.arrived, stay.left])
        self._emergency(stay, number)

    def _emergency(self, stay: EmergencyStay, stay_id: int) -> None:
        """Writes one stay in the emergency department into every file of `ed/`."""
        random, patient = self._random, stay.patient
        transport = random.choice(("AMBULANCE", "WALK IN", "WALK IN", "UNKNOWN"))
        who = [patient.sex, patient.race, transport, stay.disposition]
        self._row("ed/edstays", [patient.subject_id, stay.hadm_id, stay_id, stay.arrived, stay.left, *who])
        self._row("ed/triage", triage_row(stay, stay_id, random))
        for row in vital_rows(stay, stay_id, random):
            self._row("ed/vitalsign", row)
        for row in medicine_rows(stay, stay_id, random):
            self._row("ed/medrecon", row)
        for seq_num, code in enumerate(stay.codes, 1):
            self._row("ed/diagnosis", [patient.subject_id, stay_id, seq_num, code, 10, _title(self._knowledge, code)])

    def _reports(self, reports: list[tuple[int | str, RadiologyReport]]) -> None:
        """Writes a patient's reports in order of time, each addendum after its report with a link both ways."""
        subject_id = self._timelines[0].stay.patient.subject_id if self._timelines else 0
        number = 0
        for hadm_id, report in sorted(reports, key=lambda pair: pair[1].charted):
            number += 1
            note_id = f"{subject_id}-RR-{number}"
            whole = [note_id, subject_id, hadm_id, "RR", number, report.charted, report.stored, report.text]
            self._row("note/radiology", whole)
            details = list(zip(("exam_name", "exam_code", "cpt_code"), report.exam, strict=True))
            if report.addendum:
                number += 1
                addendum_id = f"{subject_id}-AR-{number}"
                rest = ["AR", number, report.charted, report.addendum_stored, report.addendum]
                self._row("note/radiology", [addendum_id, subject_id, hadm_id, *rest])
                details.append(("addendum_note_id", addendum_id))
                self._row("note/radiology_detail", [addendum_id, subject_id, "parent_note_id", note_id, 1])
            for name, value in details:
                self._row("note/radiology_detail", [note_id, subject_id, name, value, 1])

    def _next_id(self) -> int:
        self._stay_id += 1 + self._random.randrange(5)
        return self._stay_id

    def _row(self, table: str, values: list[Any]) -> None:
        self._writers[table].writerow(values)


@cache
def _title(knowledge: Knowledge, code: str) -> str:
    """Looks up a code's title; one that was divided since v34 has that of its first part."""
    titles = knowledge.titles
    return titles.get(code) or next((titles[part] for part in titles if part.startswith(code)), "")
