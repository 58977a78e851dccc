"""Writes the hospital's files with MIMIC-IV's exact names, columns and types, and beside the notes their evidence."""

import csv
import gzip
import io
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

from src.synthetic.apr_rows import apr_rows
from src.synthetic.decisive import Decides, decisive
from src.synthetic.descriptions import described
from src.synthetic.discharge_summary import Note
from src.synthetic.facts import Admission
from src.synthetic.known_evidence import COLUMNS as EVIDENCE_COLUMNS

COLUMNS = {
    "note/discharge": "note_id subject_id hadm_id note_type note_seq charttime storetime text",
    "note/evidence": " ".join(EVIDENCE_COLUMNS),
    "hosp/drgcodes": "subject_id hadm_id drg_type drg_code description drg_severity drg_mortality",
    "hosp/admissions": "subject_id hadm_id admittime dischtime deathtime admission_type admit_provider_id "
    "admission_location discharge_location insurance language marital_status race edregtime edouttime "
    "hospital_expire_flag",
    "hosp/patients": "subject_id gender anchor_age anchor_year anchor_year_group dod",
    "hosp/diagnoses_icd": "subject_id hadm_id seq_num icd_code icd_version",
    "hosp/procedures_icd": "subject_id hadm_id seq_num chartdate icd_code icd_version",
}

WITHOUT_NOTE, WITHOUT_HCFA, TWO_HCFA, DUPLICATE = 0.05, 0.08, 0.012, 0.003


class Tables:
    """Holds the open files of one hospital, a writer each."""

    def __init__(self, writers: dict[str, Any], random: Random) -> None:
        self._writers, self._random = writers, random
        self._last: Note | None = None
        self._patient: tuple[Admission, list[Admission]] | None = None
        self.notes = 0

    def add(self, stay: Admission, note: Note, emergency: tuple[str, str] = ("", "")) -> None:
        """Writes every row of one admission; the rows of a patient wait for the last admission.

        Args:
            stay: the admission.
            note: its discharge summary.
            emergency: `edregtime` and `edouttime`, empty where they are not known.
        """
        random, ids = self._random, [stay.patient.subject_id, stay.hadm_id]
        left = stay.admitted + timedelta(days=stay.days)
        earlier = self._patient[1] if self._patient and self._patient[0].patient is stay.patient else []
        if random.random() >= WITHOUT_NOTE:
            copied = self._last is not None and random.random() < DUPLICATE
            self._last = written = self._last if self._last is not None and copied else note
            self.notes += 1
            number = len(earlier) + 1
            stored = left + timedelta(hours=random.randrange(1, 60))
            note_id, day = f"{ids[0]}-DS-{number}", f"{left:%Y-%m-%d} 00:00:00"
            self._row("note/discharge", [note_id, *ids, "DS", number, day, _time(stored), written.text])
            self._evidence_rows(stay, note_id, written, copied)
        self._drg_rows(stay, ids)
        self._admission_row(stay, ids, left, emergency)
        for seq_num, code in enumerate([stay.code, *stay.coded], 1):
            self._row("hosp/diagnoses_icd", [*ids, seq_num, code, 10])
        for seq_num, code in enumerate([code for codes, _ in stay.procedures for code in codes], 1):
            self._row(
                "hosp/procedures_icd",
                [*ids, seq_num, f"{stay.admitted + timedelta(days=min(1, stay.days)):%Y-%m-%d}", code, 10],
            )
        if earlier:
            earlier.append(stay)
        else:
            self.close()
            self._patient = (stay, [stay])

    def close(self) -> None:
        """Writes the last patient."""
        if self._patient:
            first, stays = self._patient
            who, last = first.patient, stays[-1]
            died = f"{last.admitted + timedelta(days=last.days):%Y-%m-%d}" if last.died else ""
            self._row("hosp/patients", [who.subject_id, who.sex, who.age, who.year, who.year_group, died])

    def _row(self, table: str, values: list[Any]) -> None:
        self._writers[table].writerow(values)

    def _evidence_rows(self, stay: Admission, note_id: str, note: Note, copied: bool) -> None:
        """Writes where the note mentions what; the text of another admission decides nothing of this one."""
        decided = {} if copied else decisive(stay)
        codes = {stay.code, *stay.coded, *(code for codes, _ in stay.procedures for code in codes)}
        for mention in note.mentions:
            fact = mention.fact
            coded = int(set(fact.code.split("+")) <= codes)
            decides = decided.get(fact, Decides.NOTHING)
            spot = [note_id, stay.hadm_id, mention.start, mention.end]
            self._row("note/evidence", [*spot, fact.role, fact.code, mention.manner, coded, decides])

    def _drg_rows(self, stay: Admission, ids: list[int]) -> None:
        random = self._random
        if random.random() >= WITHOUT_HCFA:
            self._row("hosp/drgcodes", [*ids, "HCFA", *described(stay.drg, random), "", ""])
            if random.random() < TWO_HCFA:
                second = random.choice((stay.drg, "981", "948"))
                self._row("hosp/drgcodes", [*ids, "HCFA", *described(second, random), "", ""])
        kind = "APR " if random.random() < 0.2 else "APR"
        for last in (952, 4, 4):  # rows of type APR were once random: without these draws all later bytes would change
            random.randint(1, last)
        for row in apr_rows(stay):
            self._row("hosp/drgcodes", [*ids, kind, *row])

    def _admission_row(self, stay: Admission, ids: list[int], left: datetime, emergency: tuple[str, str]) -> None:
        random, elective = self._random, stay.principal.elective
        old = stay.age >= 65
        self._row(
            "hosp/admissions",
            [
                *ids,
                _time(stay.admitted),
                _time(left),
                _time(left) if stay.died else "",
                "ELECTIVE" if elective else random.choice(("EW EMER.", "URGENT", "OBSERVATION ADMIT")),
                f"P{random.randrange(10**5):05d}",
                "PHYSICIAN REFERRAL" if elective else "EMERGENCY ROOM",
                "DIED" if stay.died else random.choice(("HOME", "HOME HEALTH CARE", "SKILLED NURSING FACILITY")),
                "Medicare" if old else random.choice(("Other", "Medicaid")),
                random.choice(("ENGLISH",) * 9 + ("?",)),
                random.choice(("MARRIED", "SINGLE", "WIDOWED", "DIVORCED", "")),
                stay.patient.race,
                *emergency,
                int(stay.died),
            ],
        )


def _time(when: datetime) -> str:
    return f"{when:%Y-%m-%d %H:%M:%S}"


@contextmanager
def open_tables(folder: Path, random: Random) -> Iterator[Tables]:
    """Yields the tables of a hospital in `folder`; the bytes depend on what is written alone."""
    with open_writers(folder, COLUMNS) as writers:
        tables = Tables(writers, random)
        yield tables
        tables.close()


@contextmanager
def open_writers(folder: Path, columns: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    """Yields a writer for each table, each with its header written."""
    with ExitStack() as stack:
        writers = {}
        for name, header in columns.items():
            path = folder / f"{name}.csv.gz"
            path.parent.mkdir(exist_ok=True)
            raw = stack.enter_context(path.open("wb"))
            # mtime and name are left out of the header: the same rows give the same bytes.
            packed = stack.enter_context(gzip.GzipFile("", "wb", compresslevel=3, fileobj=raw, mtime=0))
            lines = stack.enter_context(io.TextIOWrapper(packed, "utf-8", newline=""))
            writers[name] = csv.writer(lines, lineterminator="\n")
            writers[name].writerow(header.split())
        yield writers
