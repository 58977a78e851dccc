"""Reads where a cohort's notes mention what: the hospital's evidence, brought to the text that the model reads."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from src.cli.errors import UserError
from src.cohort.layout import look
from src.cohort.mimic import find_table, table_parts
from src.cohort.paper_extraction import paper_course
from src.cohort.prepared import Cohort
from src.cohort.sections import Sections, headings_by_section
from src.cohort.sources import mimic_source

EVIDENCE = ("note", "evidence")
COLUMNS: Mapping[str, Any] = {
    "note_id": pl.String,
    "hadm_id": pl.Int64,
    "start": pl.Int64,
    "end": pl.Int64,
    "fact": pl.String,
    "code": pl.String,
    "kind": pl.String,
    "coded": pl.Int64,
    "decides": pl.String,
}
"""Columns of `note/evidence.csv.gz`, see docs/hospital.md."""

AGAIN = "build the hospital again with python -m src.hospital, and the cohort of it"


@dataclass(frozen=True)
class KnownEvidence:
    """Holds the mentions in the texts of a cohort's notes."""

    spans: pl.DataFrame
    """The columns of `COLUMNS`, a row a mention; `start` and `end` count characters of the cohort's `text`."""
    outside: int
    """Mentions of the same notes that stand outside of what the model reads."""


def read_known_evidence(hospital: Path, cohort: Cohort, notes: pl.DataFrame) -> KnownEvidence:
    """Reads the evidence of some notes of a cohort, in the order of the hospital's notes.

    Args:
        hospital: the folder that `python -m src.hospital` wrote.
        cohort: what was prepared of it.
        notes: rows of the cohort, with `note_id` and `text`.

    Raises:
        UserError: the hospital has no evidence, or not these notes.
    """
    path = find_table(hospital, EVIDENCE)
    if path is None:
        raise UserError(f"{hospital}: no note/evidence.csv.gz; {AGAIN}")
    parts = []
    for rows, whole, _ in mimic_source(hospital).chunks():
        texts = pl.Series("text", whole, dtype=pl.Binary).cast(pl.String)
        wanted = pl.DataFrame([rows["note"].alias("note_id"), texts]).join(notes, "note_id", how="semi")
        parts.append(_kept(wanted["note_id"], wanted["text"], cohort))
    kept = pl.concat(parts)
    joined = kept.filter(pl.col("part") != "").group_by("note_id").agg(whole=pl.col("part").str.join("\n\n"))
    differs = pl.col("whole").is_null() | (pl.col("whole") != pl.col("text"))
    for note in notes.join(joined, "note_id", how="left").filter(differs)["note_id"].head(1):
        raise UserError(f"{hospital}: note {note} is not there, or not as {cohort.folder} has it; {AGAIN}")
    every = pl.concat(table_parts(look(path, list(COLUMNS)), COLUMNS)).join(notes, "note_id", how="semi")
    spans = every.with_row_index("number").join(kept, "note_id", maintain_order="left")
    spans = spans.filter((pl.col("start") >= pl.col("from")) & (pl.col("end") <= pl.col("to")))
    moved = spans.with_columns(pl.col("start", "end") + pl.col("moved")).select(*COLUMNS)
    return KnownEvidence(moved, every.height - spans["number"].n_unique())


def _kept(note_ids: pl.Series, texts: pl.Series, cohort: Cohort) -> pl.DataFrame:
    """Says which parts of whole notes the cohort keeps, in the order of its sections.

    Returns:
        Each `part` of each note, null where the note has none; from where it goes and to where, in characters of the
        whole note, and by how many it is moved in the cohort's text.
    """
    sections = Sections(headings_by_section(cohort.record.get("headings", [])))
    before, frames = pl.Series([0] * len(texts), dtype=pl.Int64), []
    for section in cohort.record.get("sections", ["hospital_course"]):
        if cohort.protocol == "paper":
            part = pl.Series(paper_course(texts.cast(pl.Binary).to_list()), dtype=pl.Binary).cast(pl.String)
            pairs = zip(texts, part, strict=True)
            start = pl.Series([None if cut is None else whole.find(cut) for whole, cut in pairs], dtype=pl.Int64)
        else:
            part, start = sections.find(texts, section), sections.starts(texts, section)
        length = part.str.len_chars().fill_null(0).cast(pl.Int64)
        columns = {"note_id": note_ids, "part": part, "from": start, "to": start + length, "moved": before - start}
        frames.append(pl.DataFrame(columns))
        before = before + length + 2 * (length > 0).cast(pl.Int64)
    return pl.concat(frames)
