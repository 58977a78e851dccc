"""Reads notes from where they come: MIMIC-IV's discharge table, or any hospital's CSV, Parquet or JSON."""

import hashlib
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

import polars as pl

from src.cli.errors import UserError
from src.cohort.csv_stream import Chunk, read_records
from src.cohort.json_rows import cell_text, read_json_rows
from src.cohort.layout import look
from src.cohort.mimic import NOTES, TWO_DOWNLOADS, find_in_downloads
from src.cohort.missing import missing_words, present, remark_on, whole_number
from src.config.dialect import Dialect

Piece = tuple[pl.DataFrame, list[bytes], list[tuple[int, str]]]

SLICE = 2_000
"""Rows of a Parquet or JSON file at a time."""

CSV, JSON, PARQUET = (".csv", ".tsv", ".tab", ".txt"), (".jsonl", ".ndjson", ".json"), (".parquet", ".pq")
"""Endings of files, in small letters; `.gz` may follow those of text."""

KINDS = (
    CSV,
    JSON,
    PARQUET,
)
"""The kinds of files that are read, in the order in which a refusal names them."""


@dataclass(frozen=True)
class Columns:
    """Names a file's columns; None where it has none."""

    text: str
    note: str | None = None
    patient: str | None = None
    admission: str | None = None
    label: str | None = None
    split: str | None = None

    @property
    def named(self) -> dict[str, str]:
        """Names the file's column of each that it has."""
        return {role: name for role, name in vars(self).items() if name is not None}


MIMIC = Columns("text", note="note_id", patient="subject_id", admission="hadm_id")


@dataclass(frozen=True)
class Source:
    """Reads a file of notes."""

    path: Path
    columns: Columns
    dialect: Dialect = field(default_factory=Dialect)
    missing: Sequence[str] = ()
    """Words that stand for a missing value."""
    remarks: list[str] = field(default_factory=list)
    """How the file was read where it can be read in several ways; filled as `chunks` goes."""

    def chunks(self) -> Iterator[Piece]:
        """Yields rows in pieces: the rows, the note of each as UTF-8, and what could not be read.

        The rows have `row` (from 1), and as text each role of `Columns` that the file has but `text`, stripped of
        blanks, null where it is missing.

        Raises:
            UserError: the file is damaged, lacks a column, or has rows that are not of its encoding and none was said.
        """
        roles = {role: name for role, name in self.columns.named.items() if role != "text"}
        cells = {role: present(pl.col(name), self.missing) for role, name in roles.items()}
        if self.columns.admission is not None:
            cells |= {role: whole_number(cells[role]) for role in ("admission", "patient")}
        words: dict[str, Counter[str]] = {role: Counter() for role in self.columns.named}
        for chunk in self._pieces(list(dict.fromkeys(roles.values()))):
            for number, reason in chunk.rejected:
                self._refuse_unless_said(number, reason)
            rows = chunk.rows.select(chunk.numbers.alias("row"), **cells)
            notes = chunk.notes
            if self.columns.admission is None:
                if words_of_notes := {word.encode() for word in self.missing}:
                    notes = [b"" if note.strip() in words_of_notes else note for note in notes]
                for role in roles:
                    words[role] += missing_words(rows[role])
                short = pl.Series([note.decode().strip() for note in notes if len(note) < 12], dtype=pl.String)
                words["text"] += missing_words(short)
            yield rows, notes, chunk.rejected
        listed = {*self.missing, *(word for counted in words.values() for word in counted)}
        self.remarks.extend(
            remark_on(self.columns.named[role], counted, listed) for role, counted in words.items() if counted
        )

    def _refuse_unless_said(self, number: int, reason: str) -> None:
        key = f"{self.dialect.key}encoding="
        if reason.startswith("bytes") and self.dialect.encoding is None:
            raise UserError(
                f"{self.path}: row {number} holds {reason}; if the file comes from Windows or Excel write {key}cp1252, "
                f"if that row is damaged {key}utf-8, which leaves such rows out and lists them"
            )

    def _pieces(self, wanted: list[str]) -> Iterator[Chunk]:
        kind = _kind_of(self.path)
        if kind is PARQUET:
            yield from self._parquet(wanted)
        elif kind is JSON:
            yield from self._json(wanted)
        else:
            layout = look(self.path, [*wanted, self.columns.text], self.dialect)
            self.remarks.extend(layout.remarks())
            yield from read_records(layout, wanted, f"reading {self.path.name}", self.columns.text)

    def _parquet(self, wanted: list[str]) -> Iterator[Chunk]:
        wanted = list(dict.fromkeys((*wanted, self.columns.text)))
        if self.dialect != Dialect(key=self.dialect.key):
            raise UserError(f"{self.path}: a Parquet file has no separator and no encoding; leave them out")
        try:
            frame = pl.scan_parquet(self.path)
            schema = frame.collect_schema()
            self._check(schema.names(), wanted)
            texts = [_as_text(name, schema[name]) for name in wanted]
            count = frame.select(pl.len()).collect().item()
            for start in range(0, count, SLICE):
                self._refuse_lists(frame.select(wanted).slice(start, SLICE).collect(), start)
                part = frame.select(texts).slice(start, SLICE).collect()
                numbers = pl.int_range(start + 1, start + part.height + 1, dtype=pl.UInt32, eager=True)
                yield Chunk(numbers, part, _utf8(part[self.columns.text]), [])
        except (pl.exceptions.PolarsError, OSError) as error:
            raise UserError(f"{self.path}: is no whole Parquet file ({type(error).__name__})") from None

    def _refuse_lists(self, part: pl.DataFrame, start: int) -> None:
        for name, kind in part.schema.items():
            if kind.is_nested() and (filled := part[name].is_not_null().arg_true()).len():
                content = "an object" if isinstance(kind, pl.Struct) else "a list"
                raise UserError(
                    f"{self.path}: row {start + filled[0] + 1}: {name} holds {content}, where one text is read"
                )

    def _json(self, wanted: list[str]) -> Iterator[Chunk]:
        if self.dialect.separator is not None:
            raise UserError(f"{self.path}: a JSON file has no separator; leave {self.dialect.key}separator= out")
        wanted = list(dict.fromkeys((*wanted, self.columns.text)))
        numbers: list[int] = []
        lines: list[list[str | None]] = []
        rejected: list[tuple[int, str]] = []
        names: dict[str, None] = {}
        repaired: list[int] = []
        for row, values, intact in read_json_rows(self.path, self.dialect):
            names.update(dict.fromkeys(values))
            if not intact:
                rejected.append((row, f"bytes that are no {(self.dialect.encoding or 'UTF-8').upper()}"))
                continue
            cells = [self._cell(row, name, values.get(name)) for name in wanted]
            whole = [cell and _with_whole_letters(cell) for cell in cells]
            repaired += [row] if whole != cells else []
            numbers.append(row)
            lines.append(whole)
            if len(lines) == SLICE:
                yield self._framed(numbers, lines, rejected, wanted)
                numbers, lines, rejected = [], [], []
        self._check(list(names), wanted)
        if repaired:
            half = f"{len(repaired):,} rows hold half of a letter (a lone surrogate, row {repaired[0]} the first)"
            self.remarks.append(f"{self.path.name}: {half}; it is read as \ufffd")
        if lines or rejected:
            yield self._framed(numbers, lines, rejected, wanted)

    def _cell(self, row: int, name: str, value: object) -> str | None:
        try:
            return cell_text(value)
        except ValueError as kind:
            raise UserError(f"{self.path}: row {row}: {name} holds {kind}, where one text is read") from None

    def _check(self, names: list[str], wanted: list[str]) -> None:
        if missing := [name for name in wanted if name not in names]:
            raise UserError(f"{self.path}: no column {', '.join(missing)}; there are {', '.join(names) or 'none'}")

    def _framed(
        self, numbers: list[int], lines: list[list[str | None]], rejected: list[tuple[int, str]], wanted: list[str]
    ) -> Chunk:
        rows = pl.DataFrame(lines, schema=dict.fromkeys(wanted, pl.String), orient="row")
        return Chunk(pl.Series(numbers, dtype=pl.UInt32), rows, _utf8(rows[self.columns.text]), rejected)


def _as_text(name: str, kind: pl.DataType) -> pl.Expr:
    """Reads a Parquet column as text: NaN is missing, and a whole number has no decimal places."""
    column = pl.col(name)
    if kind.is_nested():  # refused by row unless all of it is missing
        return pl.lit(None, pl.String).alias(name)
    if not kind.is_float():
        return column.cast(pl.String)
    whole = column.is_finite() & (column == column.round()) & (column.abs() < 2**53)
    number = pl.when(whole).then(column.cast(pl.Int64, strict=False).cast(pl.String)).otherwise(column.cast(pl.String))
    return pl.when(column.is_nan()).then(None).otherwise(number).alias(name)


def _with_whole_letters(text: str) -> str:
    if text.isascii() or not re.search("[\ud800-\udfff]", text):
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _utf8(texts: pl.Series) -> list[bytes]:
    return texts.fill_null("").cast(pl.Binary).to_list()


def columns_of(path: Path, wanted: str, dialect: Dialect) -> list[str]:
    """Lists the columns of a file, of JSON those of its first row; the header of CSV is a line that names `wanted`.

    Raises:
        UserError: the file cannot be read, is empty, or is of no kind that is read.
    """
    kind = _kind_of(path)
    if kind is JSON:
        return list(next(read_json_rows(path, dialect), (0, {}, True))[1])
    if kind is CSV:
        return look(path, [wanted], dialect).header
    try:
        return list(pl.read_parquet_schema(path))
    except (pl.exceptions.PolarsError, OSError) as error:
        raise UserError(f"{path}: is no whole Parquet file ({type(error).__name__})") from None


def _kind_of(path: Path) -> tuple[str, ...]:
    ending = path.name.lower().removesuffix(".gz")
    if kind := next((endings for endings in KINDS if ending.endswith(endings)), None):
        return kind
    if ending.endswith((".xlsx", ".xls", ".ods", ".xlsm", ".xlsb")):
        raise UserError(f"{path}: is a workbook; save its sheet as CSV (UTF-8)")
    raise UserError(f"{path}: must end with {', '.join(chain(*KINDS))}, or .gz behind one of text")


def mimic_source(folder: Path, notes: Path | None = None, encoding: str | None = None) -> Source:
    """Finds MIMIC-IV's discharge summaries, in `folder`, or in the download `notes`, its `note` folder or above it.

    Raises:
        UserError: the table is missing, or the file under its name is another table.
    """
    path = find_in_downloads(folder, notes, NOTES)
    if path is None:
        raise UserError(
            f"{notes or folder}: no note/discharge.csv.gz or .csv; data.dir= is a folder of MIMIC-IV with note and "
            f"hosp. {TWO_DOWNLOADS}"
        )
    dialect = Dialect(encoding=encoding)
    layout = look(path, list(MIMIC.named.values()), dialect)
    if layout.column("text") is layout.column("note_id") is None and layout.column("hadm_id") is not None:
        raise UserError(f"{path}: has no notes, its columns are {', '.join(layout.header)}; is it a table of hosp?")
    return Source(path, MIMIC, dialect)


def numbered(values: pl.Series) -> pl.Series:
    """Makes whole numbers of ids of any form: their own value, or 60 bits of a hash where one is no number.

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
