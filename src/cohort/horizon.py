"""Says what a horizon is: a time of each admission, which kinds of text it shows, and which tables tell them.

Time horizons (triage, ed, hours) show what was charted up to them. The summary is written at discharge, its sections
on the admission too: `admission` alone shows those, beside triage.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from src.config.prepare import NamedHorizon, hours_of

TRIAGE, MEDICINES, VITALS, SERVICE, UNIT, REPORT = (
    "triage", "medicines at home", "vital signs", "service", "care unit", "radiology",
)  # fmt: skip
ADMISSION_NOTE = "admission note"

KINDS = (TRIAGE, MEDICINES, VITALS, SERVICE, UNIT, REPORT, ADMISSION_NOTE)
"""Kinds of text, in the order in which those of one time stand."""

TRIAGE_TABLES = (("hosp", "admissions"), ("ed", "edstays"), ("ed", "triage"))
TIMED_TABLES = (
    *TRIAGE_TABLES,
    ("ed", "medrecon"),
    ("ed", "vitalsign"),
    ("hosp", "services"),
    ("hosp", "transfers"),
    ("note", "radiology"),
    ("note", "radiology_detail"),
)


@dataclass(frozen=True)
class Horizon:
    """Stands for a time before discharge."""

    name: str
    latest_first: bool = False
    """Its texts begin with the latest piece."""

    @property
    def hours(self) -> int | None:
        """Counts its hours from the start of an admission; None where it is an event."""
        return hours_of(self.name)

    @property
    def kinds(self) -> tuple[str, ...]:
        """Names the kinds of text that it shows."""
        if self.name == NamedHorizon.TRIAGE:
            return (TRIAGE,)
        if self.name == NamedHorizon.ADMISSION:
            return TRIAGE, ADMISSION_NOTE
        return KINDS[:-1]

    @property
    def tables(self) -> tuple[tuple[str, str], ...]:
        """Names the tables that tell them, beside the summaries."""
        return TIMED_TABLES if REPORT in self.kinds else TRIAGE_TABLES

    @property
    def end(self) -> pl.Expr:
        """Gives its time from the columns of `src.cohort.stays.read_stays`; null where an admission has none."""
        if self.hours is not None:
            return pl.col("start") + pl.duration(hours=self.hours)
        events = {NamedHorizon.TRIAGE: "triaged", NamedHorizon.ED: "edouttime", NamedHorizon.ADMISSION: "admittime"}
        return pl.col(events[NamedHorizon(self.name)])

    @property
    def reached(self) -> str | None:
        """Says what an admission has that has such a time; None where every one has."""
        if self.name == NamedHorizon.TRIAGE:
            return "with a stay in ed/edstays"
        return "with an edouttime in hosp/admissions" if self.name == NamedHorizon.ED else None


def early_horizons(names: Sequence[str], latest_first: bool = False) -> list[Horizon]:
    """Lists the horizons before discharge, in the order named."""
    return [Horizon(name, latest_first) for name in names if name != NamedHorizon.DISCHARGE]
