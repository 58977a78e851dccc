"""Where notes come from: MIMIC-IV's discharge table, or any hospital's CSV, Parquet or JSON lines."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from src.cohort.mimic import NOTES, find_table
from src.cohort.records import read_header, read_records
from src.shell.errors import UserError

Piece = tuple[pl.DataFrame, list[bytes], list[tuple[int, str]]]

SLICE = 2_000
"""Rows of a Parquet file at a time."""


@dataclass(frozen=True)
class Columns:
    """The names of a file's columns; None where it has none."""

    text: str
    note: str | None = None
    patient: str | None = None
    admission: str | None = None
    label: str | None = None
    split: str | None = None

    @property
    def named(self) -> dict[str, str]:
        """The file's column of each that it has."""
        return {role: name for role, name in vars(self).items() if name is not None}


MIMIC = Columns("text", note="note_id", patient="subject_id", admission="hadm_id")


@dataclass(frozen=True)
class Source:
    """A file of notes."""

    path: Path
    columns: Columns

    def chunks(self) -> Iterator[Piece]:
        """Rows in pieces: the rows, the note of each as UTF-8, and what could not be read.

        The rows have `row` (from 1), and as text each role of `Columns` that the file has but `text`.

        Raises:
            UserError: the file is damaged, or lacks a column.
        """
        roles = {role: name for role, name in self.columns.named.items() if role != "text"}
        for rows, notes, rejected in self._pieces(list(dict.fromkeys(roles.values()))):
            yield rows.select("row", **{role: pl.col(name) for role, name in roles.items()}), notes, rejected

    def _pieces(self, wanted: list[str]) -> Iterator[Piece]:
        ending = "".join(self.path.suffixes[-2:]) if self.path.suffix == ".gz" else self.path.suffix
        if ending == ".parquet":
            yield from self._parquet(wanted)
        elif ending in (".jsonl", ".ndjson"):
            yield from self._json_lines(wanted)
        elif ending in (".csv", ".csv.gz"):
            for chunk in read_records(self.path, wanted, f"reading {self.path.name}", self.columns.text):
                yield chunk.rows, chunk.notes, chunk.rejected
        else:
            raise UserError(f"{self.path}: must end with .csv, .csv.gz, .parquet, .jsonl or .ndjson")

    def _parquet(self, wanted: list[str]) -> Iterator[Piece]:
        wanted = list(dict.fromkeys((*wanted, self.columns.text)))
        try:
            frame = pl.scan_parquet(self.path)
            self._check(frame.collect_schema().names(), wanted)
            count, at = frame.select(pl.len()).collect().item(), 0
            while at < count:
                part = frame.select(pl.col(wanted).cast(pl.String)).slice(at, SLICE).collect()
                yield part.with_row_index("row", at + 1), _utf8(part[self.columns.text]), []
                at += SLICE
        except (pl.exceptions.PolarsError, OSError) as error:
            raise UserError(f"{self.path}: is no whole Parquet file ({type(error).__name__})") from None

    def _json_lines(self, wanted: list[str]) -> Iterator[Piece]:
        import json

        wanted = list(dict.fromkeys((*wanted, self.columns.text)))
        lines: list[list[object]] = []
        start = 1
        with self.path.open("rb") as file:
            for row, line in enumerate(file, 1):
                try:
                    found = json.loads(line)
                except ValueError:
                    raise UserError(f"{self.path}: row {row} is no JSON") from None
                self._check(list(found) if isinstance(found, dict) else [], wanted, f": row {row}")
                lines.append([None if found[name] is None else str(found[name]) for name in wanted])
                if len(lines) == SLICE:
                    yield self._framed(lines, wanted, start)
                    lines, start = [], row + 1
        if lines:
            yield self._framed(lines, wanted, start)

    def _check(self, there: list[str], wanted: list[str], where: str = "") -> None:
        if missing := [name for name in wanted if name not in there]:
            raise UserError(
                f"{self.path}{where}: no column {', '.join(missing)}; there are {', '.join(there) or 'none'}"
            )

    def _framed(self, lines: list[list[object]], wanted: list[str], start: int) -> Piece:
        rows = pl.DataFrame(lines, schema=dict.fromkeys(wanted, pl.String), orient="row")
        return rows.with_row_index("row", start), _utf8(rows[self.columns.text]), []


def _utf8(texts: pl.Series) -> list[bytes]:
    return texts.fill_null("").cast(pl.Binary).to_list()


def mimic_source(folder: Path) -> Source:
    """MIMIC-IV's discharge summaries.

    Raises:
        UserError: the table is missing, or the file under its name is another table.
    """
    path = find_table(folder, NOTES)
    if path is None:
        raise UserError(f"{folder}: no note/discharge.csv.gz or .csv; data.dir= is a folder of MIMIC-IV")
    header = read_header(path)
    if "text" not in header and "note_id" not in header and "hadm_id" in header:
        raise UserError(f"{path}: has no notes, its columns are {', '.join(header)}; is it a table of hosp?")
    return Source(path, MIMIC)


def numbered(values: pl.Series) -> pl.Series:
    """Whole numbers for ids of any form: their own value, or 60 bits of a hash where one is no number.

    The hash is found by trying, as the id itself: the numbers stand only where ids may. It has no key, so that a split
    by patient is the same wherever the same file is prepared.
    """
    whole = values.cast(pl.Int64, strict=False)
    if whole.null_count() == values.null_count():
        return whole
    own: Mapping[str, int] = {
        who: int(hashlib.sha256(who.encode()).hexdigest()[:15], 16) for who in values.unique() if who
    }
    return values.replace_strict(own, default=None, return_dtype=pl.Int64)
