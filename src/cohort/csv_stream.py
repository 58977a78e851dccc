"""Reads a CSV file record by record, in little memory: compressed or not, notes of many lines, damage by row."""

import csv
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import polars as pl

from src.cli.errors import UserError
from src.cli.progress import Clock
from src.cohort.encoding import AGAIN, CutShortError, utf8_blocks
from src.cohort.layout import Layout

BLOCK = 4 << 20
"""Bytes inflated at a time: larger blocks are no faster and take memory."""

LONGEST_RECORD = 256 << 20
"""A record that grows beyond this has lost its closing quote."""

_OPEN = "a quote is left open"


@dataclass(frozen=True)
class Chunk:
    """Holds whole records of a file."""

    numbers: pl.Series
    """The number of each record, counted from 1 below the header."""
    rows: pl.DataFrame
    """The wanted columns as text; empty and missing cells are empty or null."""
    notes: list[bytes]
    """The column of notes, one each row of `rows`, as UTF-8; empty where none was asked for."""
    rejected: list[tuple[int, str]]
    """Records left out, with the reason: their bytes are no text."""


def read_records(layout: Layout, wanted: Sequence[str], activity: str, notes: str | None = None) -> Iterator[Chunk]:
    """Yields the wanted columns of every record, a block at a time, and tells how far the file is.

    A record has as many fields as the header, also where only some are wanted; blank lines are none. The column
    `notes` comes as bytes, for what is long is not copied without need.

    Raises:
        UserError: a column is missing, the file is cut short, a quote is left open, or a record has another number
            of fields than the header; the message names the row.
    """
    layout.require([*wanted, *([notes] if notes else [])])
    path, form = layout.path, _Form(layout, wanted, notes)
    parts, row, above = [b""], 0, layout.start
    try:
        with Clock(total=max(1, path.stat().st_size), what=activity, unit="B") as progress:
            for whole_block in utf8_blocks(path, layout.encoding, progress, BLOCK):
                # `parts` stand between quotes; the last may go on in this block, before its first quote.
                block, above = whole_block[above:], max(0, above - len(whole_block))
                more = block.split(b'"')
                whole, parts = _cut([*parts[:-1], parts[-1] + more[0], *more[1:]], b"\r" if layout.carriage else b"\n")
                if sum(map(len, parts)) > LONGEST_RECORD:
                    raise UserError(f"{path}: row {row + 1} does not end within {LONGEST_RECORD:,} bytes; {_OPEN}")
                if whole and whole != [b""]:
                    chunk = _parse(form, whole, row)
                    row += chunk.rows.height + len(chunk.rejected)
                    yield chunk
    except CutShortError:
        raise UserError(f"{path}: the compressed file is cut short or damaged behind row {row}; {AGAIN}") from None
    if len(parts) % 2 == 0:  # an odd number of quotes
        raise UserError(f"{path}: the file ends within row {row + 1}; {_OPEN}, or the file is cut short")
    if b'"'.join(parts).strip(b"\r\n"):
        yield _parse(form, parts, row)


@dataclass(frozen=True)
class _Form:
    """Says what is wanted of a file's records."""

    layout: Layout
    wanted: Sequence[str]
    notes: str | None

    @property
    def indices(self) -> dict[str, int]:
        """Returns the place of each wanted column, the notes' among them."""
        names = dict.fromkeys((*self.wanted, *([self.notes] if self.notes else [])))
        return {name: self.layout.column(name) or 0 for name in names}


def _cut(parts: list[bytes], line_end: bytes = b"\n") -> tuple[list[bytes], list[bytes]]:
    """Cuts behind the last whole record; returns both sides, as what stands between quotes.

    Every second part stands inside quotes; the last line end outside them ends the last whole record.

    >>> _cut([b"1,", b"two\\nlines", b"\\n2,", b"be"])
    ([b'1,', b'two\\nlines', b'\\n'], [b'2,', b'be'])
    """
    # From the back over parts outside quotes alone: inside them a line end belongs to a note.
    for index in range((len(parts) - 1) // 2 * 2, -1, -2):
        if end := parts[index].rfind(line_end) + 1:
            return [*parts[:index], parts[index][:end]], [parts[index][end:], *parts[index + 1 :]]
    return [], parts


def _parse(form: _Form, parts: list[bytes], row: int) -> Chunk:
    # Bytes that are no text are told by their record, which the slow parser alone knows.
    plain = all(map(bytes.isascii, parts)) or _is_text(b'"'.join(parts))
    if plain and not any(b"\0" in part for part in parts):
        chunk = _parse_quoted_last(form, parts, row) or _parse_regular(form, parts, row)
        if chunk:
            return chunk
    return _parse_slowly(form, b'"'.join(parts), row)


def _is_text(data: bytes) -> bool:
    try:
        pl.Series([data], dtype=pl.Binary).cast(pl.String)  # five times as fast as decoding
    except pl.exceptions.PolarsError:
        return False
    return True


def _parse_quoted_last(form: _Form, parts: list[bytes], row: int) -> Chunk | None:
    """Parses records of MIMIC-IV's form, where the last column alone stands in quotes; None for any other form.

    Splitting at quotes is four times as fast as a CSV parser: notes are long and hold few quotes.
    """
    columns, separator = len(form.layout.header), form.layout.separator.encode()
    last, index = len(parts) - 1, 0
    records: list[list[bytes]] = []
    texts: list[bytes] = []
    while index < last:
        prefix, text, index = parts[index], parts[index + 1], index + 2
        if records:
            if prefix[:1] != b"\n" and prefix[:2] != b"\r\n":
                return None
            prefix = prefix.lstrip(b"\r\n")
        if index < last and not parts[index]:  # two quotes stand for one
            pieces = [text]
            while index < last and not parts[index]:
                pieces.append(parts[index + 1])
                index += 2
            text = b'"'.join(pieces)
        fields = prefix.split(separator)
        # The separator before the quoted column leaves an empty last field.
        if len(fields) != columns or fields[-1] or b"\n" in prefix or b"\r" in prefix:
            return None
        records.append(fields)
        texts.append(text)
    if parts[-1].strip(b"\r\n") or not texts:
        return None
    cells = {
        name: texts if index == columns - 1 else [fields[index] or None for fields in records]
        for name, index in form.indices.items()
    }
    rows = pl.DataFrame(pl.Series(name, cells[name], dtype=pl.Binary).cast(pl.String) for name in form.wanted)
    notes = [note or b"" for note in cells[form.notes]] if form.notes else []
    return Chunk(_numbers(row, len(records)), rows, notes, [])


def _parse_regular(form: _Form, parts: list[bytes], row: int) -> Chunk | None:
    """Parses records whose quotes stand around whole fields, each on lines of its own; None for any other form.

    The parser refuses a record that is too long only where every column is read, and fills one that is too short; of
    records none of which is too long, those that are short are told by the number of separators.
    """
    columns, separator = len(form.layout.header), form.layout.separator.encode()
    outside = [part.replace(b"\r\n", b"\n") for part in parts[::2]]
    if form.layout.carriage:
        outside = [part.replace(b"\r", b"\n") for part in outside]
    parts = [outside[index // 2] if index % 2 == 0 else part for index, part in enumerate(parts)]
    # A quote within a bare field, or text behind a closing quote, is read in another way by every parser; so are blank
    # lines and a lone CR.
    inner, edges = outside[1:-1], (b"\n", separator)
    if (
        any(b"\r" in part or b"\n\n" in part for part in outside)
        or outside[0].startswith(b"\n")
        or (len(outside) > 1 and not outside[0].endswith(edges) and outside[0])
        or (len(outside) > 1 and not outside[-1].startswith(edges) and outside[-1])
        or any(part and not (part.startswith(edges) and part.endswith(edges)) for part in inner)
    ):
        return None
    schema = {str(index): pl.String for index in range(columns)}
    try:
        cells = pl.read_csv(b'"'.join(parts), has_header=False, schema=schema, separator=separator.decode())
    except pl.exceptions.PolarsError:
        return None
    if sum(part.count(separator) for part in outside) != cells.height * (columns - 1):
        return None
    rows = cells.select(pl.col(str(index)).alias(name) for name, index in form.indices.items())
    return _chunk(form, _numbers(row, rows.height), rows, [])


def _numbers(row: int, records: int) -> pl.Series:
    return pl.int_range(row + 1, row + records + 1, dtype=pl.UInt32, eager=True)


def _chunk(form: _Form, numbers: pl.Series, rows: pl.DataFrame, rejected: list[tuple[int, str]]) -> Chunk:
    notes = rows[form.notes].fill_null("").cast(pl.Binary).to_list() if form.notes else []
    return Chunk(numbers, rows.select(form.wanted), notes, rejected)


def _parse_slowly(form: _Form, data: bytes, row: int) -> Chunk:
    path, columns, indices = form.layout.path, len(form.layout.header), form.indices
    rejected: list[tuple[int, str]] = []
    numbers: list[int] = []
    kept: list[list[str]] = []
    # Bytes that are no UTF-8 become surrogates, which no text holds, and are found by them below.
    lines = io.StringIO(data.decode("utf-8", "surrogateescape"), newline="")
    for number, fields in enumerate(_fields(form.layout, lines, row), row + 1):
        if len(fields) != columns:
            raise UserError(
                f"{path}: row {number} has {len(fields)} fields where the header has {columns}; "
                f"a quote, a line end or a {form.layout.separator!r} of the file is wrong there"
            )
        text = "".join(fields)
        if "\0" in text:
            rejected.append((number, "a NUL byte"))
        elif re.search("[\udc80-\udcff]", text):
            rejected.append((number, f"bytes that are no {form.layout.encoding.upper()}"))
        else:
            numbers.append(number)
            kept.append([fields[index] for index in indices.values()])
    rows = pl.DataFrame(kept, schema=dict.fromkeys(indices, pl.String), orient="row")
    return _chunk(form, pl.Series(numbers, dtype=pl.UInt32), rows, rejected)


def _fields(layout: Layout, lines: io.StringIO, row: int) -> Iterator[list[str]]:
    csv.field_size_limit(LONGEST_RECORD)  # Python's own limit, 131,072 characters, is shorter than a long note
    read = 0
    try:
        for fields in csv.reader(lines, delimiter=layout.separator, strict=True):
            if len(fields) > 1 or (fields and (fields[0].strip() or len(layout.header) == 1)):
                read += 1
                yield fields
    except csv.Error:
        # The parser's own reason follows from how much was read at a time.
        raise UserError(
            f"{layout.path}: row {row + read + 1} is no CSV; is a quote left open there, or within a field?"
        ) from None
