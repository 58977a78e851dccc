"""A CSV file record by record, in little memory: compressed or not, notes of many lines, damage named by row."""

import codecs
import csv
import gzip
import io
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl
from isal import igzip, isal_zlib

from src.shell.errors import UserError
from src.shell.progress import Bytes

BLOCK = 4 << 20
"""Bytes inflated at a time: larger blocks are no faster and take memory."""

LONGEST_RECORD = 256 << 20
"""A record that grows beyond this has lost its closing quote."""

_GZIP = b"\x1f\x8b"


@dataclass(frozen=True)
class Chunk:
    """Whole records of a file."""

    first: int
    """Number of the first record, counted from 1 below the header."""
    rows: pl.DataFrame
    """The wanted columns as text, and `row`, the record's number."""
    notes: list[bytes]
    """The column of notes, one each row of `rows`, as UTF-8; empty where none was asked for."""
    rejected: list[tuple[int, str]]
    """Records left out, with the reason: their bytes are no text."""


def read_header(path: Path) -> list[str]:
    """The columns of a CSV file.

    Raises:
        UserError: the file is empty or cannot be read.
    """
    begin = b""
    try:
        for block in _blocks(path, None, 1 << 16):
            begin += block
            if b"\n" in begin:
                break
    except _CutShortError:
        raise UserError(f"{path}: the compressed file is cut short or damaged; {_AGAIN}") from None
    line = begin.removeprefix(codecs.BOM_UTF8).split(b"\n", 1)[0].decode("utf-8", "replace")
    if not line.strip():
        raise UserError(f"{path}: the file is empty")
    return next(csv.reader([line]))


def read_records(path: Path, wanted: Sequence[str], what: str, notes: str | None = None) -> Iterator[Chunk]:
    """Yields the wanted columns of every record, a block at a time, and tells how far the file is.

    The column `notes` comes as bytes, for what is long is not copied without need.

    Raises:
        UserError: a column is missing, the file is cut short, a quote is left open, or a record has
            another number of fields than the header; the message names the row.
    """
    header = read_header(path)
    if missing := [name for name in (*wanted, *([notes] if notes else [])) if name not in header]:
        raise UserError(f"{path}: no column {', '.join(missing)}; its columns are {', '.join(header)}")
    form = _Form(path, header, wanted, notes)
    parts, row, begun = [b""], 0, False
    try:
        with Bytes(path, what) as progress:
            for block in _blocks(path, progress, BLOCK):
                more = (block if begun else block.removeprefix(codecs.BOM_UTF8)).split(b'"')
                whole, parts = _cut([*parts[:-1], parts[-1] + more[0], *more[1:]])
                if sum(map(len, parts)) > LONGEST_RECORD:
                    raise UserError(f"{path}: row {row + 1} does not end within {LONGEST_RECORD:,} bytes; {_OPEN}")
                if whole and not begun:
                    begun, whole = True, b'"'.join(whole).split(b"\n", 1)[1].split(b'"')
                if whole and whole != [b""]:
                    chunk = _parse(form, whole, row)
                    row += chunk.rows.height + len(chunk.rejected)
                    yield chunk
    except _CutShortError:
        raise UserError(f"{path}: the compressed file is cut short or damaged behind row {row}; {_AGAIN}") from None
    if len(parts) % 2 == 0:
        raise UserError(f"{path}: the file ends within row {row + 1}; {_OPEN}, or the file is cut short")
    if begun and b'"'.join(parts).strip(b"\r\n"):
        yield _parse(form, parts, row)


_OPEN = "a quote is left open"
_AGAIN = "download it again"


class _CutShortError(Exception):
    """The compressed bytes end too early, or are none."""


@dataclass(frozen=True)
class _Form:
    """What a file's records look like, and what is wanted of them."""

    path: Path
    header: list[str]
    wanted: Sequence[str]
    notes: str | None


def _blocks(path: Path, progress: Bytes | None, size: int) -> Iterator[bytes]:
    """The file's bytes, inflated when it is compressed, whatever its name ends with."""
    try:
        with path.open("rb") as raw:
            packed = raw.read(2) == _GZIP
            raw.seek(0)
            source = igzip.GzipFile(fileobj=raw) if packed else raw
            while block := source.read(size):
                if progress:
                    progress.at(raw.tell())
                yield block
    except (EOFError, zlib.error, isal_zlib.error, gzip.BadGzipFile):  # type: ignore[misc]
        raise _CutShortError from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or type(error).__name__})") from None


def _cut(parts: list[bytes]) -> tuple[list[bytes], list[bytes]]:
    """Whole records, and the beginning of the next, each as what stands between quotes.

    Every second part stands inside quotes; the last line end outside them ends the last whole record.

    >>> _cut([b"1,", b"two\\nlines", b"\\n2,", b"be"])
    ([b'1,', b'two\\nlines', b'\\n'], [b'2,', b'be'])
    """
    for place in range((len(parts) - 1) // 2 * 2, -1, -2):
        if line := parts[place].rfind(b"\n") + 1:
            return [*parts[:place], parts[place][:line]], [parts[place][line:], *parts[place + 1 :]]
    return [], parts


def _parse(form: _Form, parts: list[bytes], row: int) -> Chunk:
    plain = all(map(bytes.isascii, parts)) or _is_text(b'"'.join(parts))
    if plain and not any(b"\0" in part for part in parts) and (chunk := _parse_quoted_last(form, parts, row)):
        return chunk
    data = b'"'.join(parts)
    return _parse_any(form, data, row) if plain and b"\0" not in data else _parse_slowly(form, data, row)


def _is_text(data: bytes) -> bool:
    try:
        pl.Series([data], dtype=pl.Binary).cast(pl.String)  # five times as fast as decoding
    except pl.exceptions.PolarsError:
        return False
    return True


def _parse_quoted_last(form: _Form, parts: list[bytes], row: int) -> Chunk | None:
    """Records of MIMIC-IV's form, where the last column alone stands in quotes; None for any other form.

    Splitting at quotes is four times as fast as a CSV parser: notes are long and hold few quotes.
    """
    columns, last, at = len(form.header), len(parts) - 1, 0
    records: list[list[bytes]] = []
    texts: list[bytes] = []
    while at < last:
        prefix, text, at = parts[at], parts[at + 1], at + 2
        if records:
            if prefix[:1] != b"\n" and prefix[:2] != b"\r\n":
                return None
            prefix = prefix.lstrip(b"\r\n")
        if at < last and not parts[at]:  # two quotes stand for one
            pieces = [text]
            while at < last and not parts[at]:
                pieces.append(parts[at + 1])
                at += 2
            text = b'"'.join(pieces)
        fields = prefix.split(b",")
        if len(fields) != columns or fields[-1] or b"\n" in prefix:
            return None
        records.append(fields)
        texts.append(text)
    if parts[-1].strip(b"\r\n") or not texts:
        return None
    found = {
        name: [fields[place] or None for fields in records]
        for place, name in enumerate(form.header[:-1])
        if name in form.wanted
    }
    if form.header[-1] in form.wanted:
        found[form.header[-1]] = list(texts)
    series = [pl.Series(name, found[name], dtype=pl.Binary).cast(pl.String) for name in form.wanted]
    rows = pl.DataFrame(series).with_row_index("row", row + 1)
    return Chunk(row + 1, rows, texts if form.notes == form.header[-1] else _notes_of(form, records), [])


def _notes_of(form: _Form, records: list[list[bytes]]) -> list[bytes]:
    return [fields[form.header.index(form.notes)] for fields in records] if form.notes else []


def _parse_any(form: _Form, data: bytes, row: int) -> Chunk:
    asked = dict.fromkeys((*form.wanted, *([form.notes] if form.notes else [])))
    places = sorted({*(form.header.index(name) for name in asked), len(form.header) - 1})
    try:
        found = pl.read_csv(data, has_header=False, schema=dict.fromkeys(form.header, pl.String), columns=places)
    except pl.exceptions.PolarsError:
        found = pl.DataFrame()
    # A short record reads as nulls and an odd one as an error: both are looked at one by one below.
    if found.width == len(places) and not found[form.header[-1]].null_count():
        return _chunk(form, found.with_row_index("row", row + 1), row, [])
    return _parse_slowly(form, data, row)


def _chunk(form: _Form, found: pl.DataFrame, row: int, rejected: list[tuple[int, str]]) -> Chunk:
    notes = found[form.notes].fill_null("").cast(pl.Binary).to_list() if form.notes else []
    return Chunk(row + 1, found.select("row", *form.wanted), notes, rejected)


def _parse_slowly(form: _Form, data: bytes, row: int) -> Chunk:
    asked = list(dict.fromkeys((*form.wanted, *([form.notes] if form.notes else []))))
    places = [form.header.index(name) for name in asked]
    rejected: list[tuple[int, str]] = []
    kept: list[list[str | int]] = []
    csv.field_size_limit(LONGEST_RECORD)
    lines = io.StringIO(data.decode("utf-8", "surrogateescape"), newline="")
    for number, fields in enumerate(_fields(form.path, lines, row), row + 1):
        if len(fields) != len(form.header):
            raise UserError(
                f"{form.path}: row {number} has {len(fields)} fields where the header has {len(form.header)}; "
                "a quote or a comma of the file is wrong there"
            )
        text = "".join(fields)
        if "\0" in text:
            rejected.append((number, "a NUL byte"))
        elif any("\udc80" <= letter <= "\udcff" for letter in text):
            rejected.append((number, "invalid UTF-8"))
        else:
            kept.append([number, *(fields[place] for place in places)])
    schema = {"row": pl.UInt32, **dict.fromkeys(asked, pl.String)}
    return _chunk(form, pl.DataFrame(kept, schema=schema, orient="row"), row, rejected)


def _fields(path: Path, lines: io.StringIO, row: int) -> Iterator[list[str]]:
    read = 0
    try:
        for fields in csv.reader(lines, strict=True):
            if fields:
                read += 1
                yield fields
    except csv.Error as error:
        raise UserError(f"{path}: row {row + read + 1} is no CSV ({error}); is a quote left open there?") from None
