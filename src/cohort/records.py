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
    rejected: list[tuple[int, str]]
    """Records left out, with the reason: their bytes are no text."""


def read_header(path: Path) -> list[str]:
    """The columns of a CSV file.

    Raises:
        UserError: the file is empty or cannot be read.
    """
    begin = b""
    for block in _blocks(path, None):
        begin += block
        if b"\n" in begin:
            break
    line = begin.removeprefix(codecs.BOM_UTF8).split(b"\n", 1)[0].decode("utf-8", "replace")
    if not line.strip():
        raise UserError(f"{path}: the file is empty")
    return next(csv.reader([line]))


def read_records(path: Path, wanted: Sequence[str], what: str) -> Iterator[Chunk]:
    """Yields the wanted columns of every record, a block at a time, and tells how far the file is.

    Raises:
        UserError: a column is missing, the file is cut short, a quote is left open, or a record has
            another number of fields than the header; the message names the row.
    """
    header = read_header(path)
    if missing := [name for name in wanted if name not in header]:
        raise UserError(f"{path}: no column {', '.join(missing)}; its columns are {', '.join(header)}")
    rest, row, begun = b"", 0, False
    with Bytes(path, what) as progress:
        for block in _blocks(path, progress):
            if not begun:
                block = block.removeprefix(codecs.BOM_UTF8)
            whole, rest = _cut(rest + block)
            if len(rest) > LONGEST_RECORD:
                raise UserError(f"{path}: row {row + 1} does not end within {LONGEST_RECORD:,} bytes; {_OPEN}")
            if whole and not begun:
                whole, begun = whole.split(b"\n", 1)[1], True
            if whole:
                chunk = _parse(path, whole, row, header, wanted)
                row += chunk.rows.height + len(chunk.rejected)
                yield chunk
    if rest and rest.count(b'"') % 2:
        raise UserError(f"{path}: the file ends within row {row + 1}; {_OPEN}, or the file is cut short")
    if rest and not begun:
        return
    if rest.strip(b"\r\n"):
        yield _parse(path, rest, row, header, wanted)


_OPEN = "a quote is left open"


def _blocks(path: Path, progress: Bytes | None) -> Iterator[bytes]:
    """The file's bytes, inflated when it is compressed, whatever its name ends with."""
    try:
        with path.open("rb") as raw:
            packed = raw.read(2) == _GZIP
            raw.seek(0)
            source = igzip.GzipFile(fileobj=raw) if packed else raw
            while block := source.read(BLOCK):
                if progress:
                    progress.at(raw.tell())
                yield block
    except (EOFError, zlib.error, isal_zlib.error, gzip.BadGzipFile):  # type: ignore[misc]
        raise UserError(f"{path}: the compressed file is cut short or damaged; download it again") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or type(error).__name__})") from None


def _cut(data: bytes) -> tuple[bytes, bytes]:
    """Whole records, and the beginning of the next: the last line end that stands outside quotes.

    >>> _cut(b'1,"two\\nlines"\\n2,"be')
    (b'1,"two\\nlines"\\n', b'2,"be')
    """
    inside, end = data.count(b'"') % 2 == 1, len(data)
    while (quote := data.rfind(b'"', 0, end)) >= 0:
        if not inside and (line := data.rfind(b"\n", quote, end)) >= 0:
            return data[: line + 1], data[line + 1 :]
        inside, end = not inside, quote
    line = data.rfind(b"\n", 0, end)
    return data[: line + 1], data[line + 1 :]


def _parse(path: Path, data: bytes, row: int, header: Sequence[str], wanted: Sequence[str]) -> Chunk:
    plain = None if b"\0" in data else _parse_quoted_last(data, row, header, wanted)
    return plain or _parse_any(path, data, row, header, wanted)


def _parse_quoted_last(data: bytes, row: int, header: Sequence[str], wanted: Sequence[str]) -> Chunk | None:
    """Records of MIMIC-IV's form, where the last column alone stands in quotes; None for any other form.

    Splitting at quotes is four times as fast as a CSV parser: notes are long and hold few quotes.
    """
    parts, commas = data.split(b'"'), len(header) - 1
    prefixes: list[list[bytes]] = []
    texts: list[bytes] = []
    at = 0
    while at < len(parts) - 1:
        prefix, text, at = parts[at], parts[at + 1], at + 2
        if prefixes:
            if prefix[:1] != b"\n" and prefix[:2] != b"\r\n":
                return None
            prefix = prefix.lstrip(b"\r\n")
        while at < len(parts) - 1 and not parts[at]:  # two quotes stand for one
            text, at = text + b'"' + parts[at + 1], at + 2
        if prefix.count(b",") != commas or prefix[-1:] != b"," or b"\n" in prefix:
            return None
        prefixes.append(prefix.split(b","))
        texts.append(text)
    if parts[-1].strip(b"\r\n") or not texts:
        return None
    columns = {header[place]: [fields[place] or None for fields in prefixes] for place in range(commas)}
    columns[header[-1]] = list(texts)
    try:
        found = [pl.Series(name, columns[name], dtype=pl.Binary).cast(pl.String) for name in wanted]
    except pl.exceptions.PolarsError:  # invalid UTF-8
        return None
    return Chunk(row + 1, pl.DataFrame(found).with_row_index("row", row + 1), [])


def _parse_any(path: Path, data: bytes, row: int, header: Sequence[str], wanted: Sequence[str]) -> Chunk:
    places = sorted({*(header.index(name) for name in wanted), len(header) - 1})
    if b"\0" not in data:
        try:
            found = pl.read_csv(data, has_header=False, schema=dict.fromkeys(header, pl.String), columns=places)
        except pl.exceptions.PolarsError:
            found = pl.DataFrame()
        # A short record reads as nulls and an odd one as an error: both are looked at one by one below.
        if found.width == len(places) and not found[header[-1]].null_count():
            return Chunk(row + 1, found.select(wanted).with_row_index("row", row + 1), [])
    return _parse_slowly(path, data, row, header, wanted)


def _parse_slowly(path: Path, data: bytes, row: int, header: Sequence[str], wanted: Sequence[str]) -> Chunk:
    places = [header.index(name) for name in wanted]
    rejected: list[tuple[int, str]] = []
    kept: list[list[str | int]] = []
    csv.field_size_limit(LONGEST_RECORD)
    lines = io.StringIO(data.decode("utf-8", "surrogateescape"), newline="")
    for number, fields in enumerate(_fields(path, lines, row), row + 1):
        if len(fields) != len(header):
            raise UserError(
                f"{path}: row {number} has {len(fields)} fields where the header has {len(header)}; "
                "a quote or a comma of the file is wrong there"
            )
        text = "".join(fields)
        if "\0" in text:
            rejected.append((number, "a NUL byte"))
        elif any("\udc80" <= letter <= "\udcff" for letter in text):
            rejected.append((number, "invalid UTF-8"))
        else:
            kept.append([number, *(fields[place] for place in places)])
    schema = {"row": pl.UInt32, **dict.fromkeys(wanted, pl.String)}
    return Chunk(row + 1, pl.DataFrame(kept, schema=schema, orient="row"), rejected)


def _fields(path: Path, lines: io.StringIO, row: int) -> Iterator[list[str]]:
    read = 0
    try:
        for fields in csv.reader(lines, strict=True):
            if fields:
                read += 1
                yield fields
    except csv.Error as error:
        raise UserError(f"{path}: row {row + read + 1} is no CSV ({error}); is a quote left open there?") from None
