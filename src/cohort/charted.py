"""Gathers what was charted of admissions: every piece of text with when it was known, the texts on disk."""

from collections.abc import Sequence

import polars as pl

from src.cohort.admission_note import admission_note
from src.cohort.chart_tables import VITAL_SIGNS, Tables, read_texts, rows_of
from src.cohort.horizon import ADMISSION_NOTE, KINDS, MEDICINES, REPORT, SERVICE, TRIAGE, UNIT, VITALS
from src.cohort.mimic import TIME
from src.cohort.sections import Sections
from src.cohort.sources import Source
from src.cohort.stays import beginnings, with_admission
from src.cohort.text_spool import TextSpool

PARTS = 8
"""Into how many parts a table is divided to be grouped: the names of all its rows, as texts, would take 300 MB."""

_NAMES = dict(
    zip(
        VITAL_SIGNS,
        ("temperature", "heart rate", "respirations", "oxygen saturation", "systolic pressure", "diastolic pressure"),
        strict=True,
    )
)
"""What vital signs are called in words."""


class Charted:
    """Keeps the pieces of text that were charted of some admissions.

    The text of each begins with its stamp: whose it is, its kind, and when it was known. It comes back with the text,
    so that who shows the text can check it whatever became of the rows in between.
    """

    def __init__(self, stays: pl.DataFrame, spool: TextSpool) -> None:
        """Takes the admissions: `hadm_id`, `start`, and `last`, after which nothing is kept."""
        self._stays, self._spool = stays.select("hadm_id", "start", "last"), spool
        self._parts: list[pl.DataFrame] = []

    def add(self, pieces: pl.DataFrame, kind: str) -> None:
        """Keeps pieces with `hadm_id`, `known` and `text`; those without a text or a time are none."""
        kept = pieces.drop_nulls(["known", "text"]).join(self._stays, "hadm_id", maintain_order="left")
        kept = kept.filter((pl.col("known") <= pl.col("last")) & (pl.col("text") != ""))
        hour = ((pl.col("known") - pl.col("start")).dt.total_seconds() / 3600).floor().cast(pl.Int64)
        known = pl.col("known").dt.strftime(TIME)
        stamp = pl.concat_str("hadm_id", pl.lit(kind), known, separator="\t")
        texts = kept.select(pl.concat_str(stamp, pl.lit("\nHour "), hour, pl.lit(f", {kind}"), "text")).to_series()
        offsets, lengths = self._spool.add(texts.cast(pl.Binary).to_list())
        rank = pl.lit(KINDS.index(kind), pl.UInt8).alias("kind")
        self._parts.append(
            kept.select("hadm_id", "known", rank).with_columns(offset=offsets, length=lengths.cast(pl.UInt32))
        )

    def pieces(self) -> pl.DataFrame:
        """Hands over the pieces by admission, each admission's in order of time: `offset` and `length` in the spool.

        MIMIC-IV has five million, which are not kept here as well.
        """
        parts, self._parts = self._parts, []
        return pl.concat(parts).sort("hadm_id", "known", "kind", "offset")


def add_triage(charted: Charted, tables: Tables, visits: pl.DataFrame) -> None:
    """Adds what triage wrote when an emergency stay began."""
    named = {"chiefcomplaint": "chief complaint", "acuity": "acuity", **_NAMES, "pain": "pain"}
    for rows in rows_of(tables, ("ed", "triage"), visits.select("stay_id")):
        written = rows.join(visits, "stay_id", maintain_order="left")
        charted.add(written.select("hadm_id", known="intime", text=_in_words(named)), TRIAGE)


def add_emergency(charted: Charted, tables: Tables, visits: pl.DataFrame) -> None:
    """Adds the medicines and vital signs that were charted during emergency stays."""
    rows = pl.concat(
        rows.drop_nulls("name")
        .join(visits, "stay_id", maintain_order="left")
        .select("hadm_id", "charttime", pl.col("name").cast(pl.Categorical))
        for rows in rows_of(tables, ("ed", "medrecon"), visits.select("stay_id"))
    )
    for part in range(PARTS):
        listed = rows.filter(pl.col("hadm_id") % PARTS == part).group_by("hadm_id", "charttime", maintain_order=True)
        names = listed.agg(pl.col("name").cast(pl.String).unique(maintain_order=True))
        text = pl.lit(": ") + pl.col("name").list.join(", ")
        charted.add(names.select("hadm_id", known="charttime", text=text), MEDICINES)
    named = {**_NAMES, "rhythm": "rhythm", "pain": "pain"}
    for rows in rows_of(tables, ("ed", "vitalsign"), visits.select("stay_id")):
        measured = rows.join(visits, "stay_id", maintain_order="left")
        charted.add(measured.select("hadm_id", known="charttime", text=_in_words(named)), VITALS)


def add_moves(charted: Charted, tables: Tables, stays: pl.DataFrame) -> None:
    """Adds the services and care units that admissions came to."""
    for rows in rows_of(tables, ("hosp", "services"), stays.select("hadm_id")):
        charted.add(rows.select("hadm_id", known="transfertime", text=pl.lit(": ") + pl.col("curr_service")), SERVICE)
    for rows in rows_of(tables, ("hosp", "transfers"), stays.select("hadm_id")):
        moves = rows.filter(pl.col("eventtype") != "discharge")  # which names no unit
        charted.add(moves.select("hadm_id", known="intime", text=pl.lit(": ") + pl.col("careunit")), UNIT)


def add_reports(charted: Charted, tables: Tables, stays: pl.DataFrame, encoding: str | None) -> list[str]:
    """Adds the radiology reports of these patients, known when they were stored.

    Returns:
        Remarks on reports that could not be read as they are, a sentence each.
    """
    patients = stays.select("subject_id").unique()
    exams = _exams(tables, patients)
    begun = beginnings(stays)
    unread = untimed = joined = 0
    for rows, rejected in read_texts(tables, ("note", "radiology"), patients, encoding):
        unread += rejected
        timed = rows.drop_nulls(["charttime", "storetime"])
        untimed += rows.height - timed.height
        reports = with_admission(timed, begun)
        joined += timed["hadm_id"].null_count() - reports["hadm_id"].null_count()
        reports = reports.with_columns(exam=_exams_of(reports["note_id"].hash(), exams))
        exam = pl.when(pl.col("exam").is_null()).then(pl.lit("")).otherwise(pl.lit(", ") + pl.col("exam"))
        # A report that was stored before its examination was stored by a clock that is wrong.
        known = pl.max_horizontal("storetime", "charttime")
        text = pl.when(pl.col("text") != "").then(pl.concat_str(exam, pl.lit(":\n"), "text"))
        charted.add(reports.select("hadm_id", known=known, text=text), REPORT)
    remarks = {
        "cannot be read, and are left out": unread,
        "have no charttime or no storetime: no horizon shows them": untimed,
        "without hadm_id are of the admission of their patient and time": joined,
    }
    return [f"{count:,} radiology reports {reason}" for reason, count in remarks.items() if count]


def _exams_of(notes: pl.Series, exams: pl.DataFrame) -> pl.Series:
    """Finds what `_exams` has of each report, or null; a join would hash all its rows for every piece of the file."""
    if exams.is_empty():
        return pl.Series([None] * len(notes), dtype=pl.String)
    rows = exams[exams["note"].search_sorted(notes).clip(upper_bound=exams.height - 1)]
    return rows.select(pl.when(pl.col("note") == notes).then(pl.col("exam").cast(pl.String)))["exam"]


def _exams(tables: Tables, patients: pl.DataFrame) -> pl.DataFrame:
    """Reads the names of the examinations of each report, as `note` (a hash of its id, ascending) and `exam`."""
    rows = pl.concat(
        rows.filter(pl.col("field_name") == "exam_name")
        .drop_nulls("field_value")
        .select(pl.col("note_id").hash().alias("note"), "field_ordinal", pl.col("field_value").cast(pl.Categorical))
        for rows in rows_of(tables, ("note", "radiology_detail"), patients)
    )
    parts = []
    for part in range(PARTS):
        of_part = rows.filter(pl.col("note") // (2**64 // PARTS) == part)
        ordered = of_part.sort("note", "field_ordinal").group_by("note", maintain_order=True)
        names = ordered.agg(pl.col("field_value").cast(pl.String).unique(maintain_order=True).alias("exam"))
        parts.append(names.with_columns(pl.col("exam").list.join(", ").cast(pl.Categorical)))
    return pl.concat(parts)


def add_admission_notes(
    charted: Charted, source: Source, rows: pl.DataFrame, stays: pl.DataFrame, sections: Sections
) -> None:
    """Adds the sections on the admission of the summaries in `rows`, as of when the admission began."""
    admitted = rows.select("row", "hadm_id").join(stays.select("hadm_id", known="admittime"), "hadm_id")
    for ids, notes, _ in source.chunks():
        some = pl.DataFrame({"row": ids["row"], "note": pl.Series(notes, dtype=pl.Binary)}).join(admitted, "row")
        texts = admission_note(sections, some["note"].cast(pl.String))
        charted.add(some.select("hadm_id", "known", text=pl.lit(":\n") + texts), ADMISSION_NOTE)


def _in_words(columns: dict[str, str]) -> pl.Expr:
    """Writes the values of columns with their names; null where there is none."""
    named: Sequence[pl.Expr] = [pl.lit(f"{words} ") + pl.col(name) for name, words in columns.items()]
    joined = pl.concat_str(named, separator=", ", ignore_nulls=True)
    return pl.when(joined != "").then(pl.lit(": ") + joined)
