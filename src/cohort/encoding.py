"""Reads a file of text as UTF-8: inflated, decoded, and refused with the true reason where it is no text."""

import codecs
import gzip
import zlib
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

from isal import igzip, isal_zlib

from src.cli.errors import UserError
from src.cli.progress import Clock

HEAD = 1 << 18
"""Inflated bytes by which the form of a file is judged."""

AGAIN = "download it again"

MARKS = {
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF32_LE: "utf-32-le",
    codecs.BOM_UTF32_BE: "utf-32-be",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
}
"""Byte-order marks; the one of UTF-32 begins as that of UTF-16 and stands before it."""

_GZIP = b"\x1f\x8b"
_AS_CSV = "save its sheet as CSV (UTF-8)"
_FOREIGN = {
    b"PAR1": "is a Parquet file; name it .parquet",
    b"\xd0\xcf\x11\xe0": f"is a workbook of Excel; {_AS_CSV}",
    b"7z\xbc\xaf": "is a 7z archive; unpack it",
    b"Rar!": "is a rar archive; unpack it",
    b"BZh": "is compressed by bzip2; unpack it, or compress it by gzip",
    b"\xfd7zXZ": "is compressed by xz; unpack it, or compress it by gzip",
    b"\x28\xb5\x2f\xfd": "is compressed by zstd; unpack it, or compress it by gzip",
    b"%PDF": "is a PDF; a table is read as CSV, Parquet or JSON lines",
    b"{\\rtf": "is a document of a word processor; save it as plain text",
    b"SQLite format 3": "is a database; write its table as CSV",
}
"""What files begin with that are no text, and what to do."""


class CutShortError(Exception):
    """The compressed bytes end too early, or are none."""


def encoding_of(path: Path, declared: str | None) -> str:
    """Finds the encoding of a file: by its byte-order mark, or its NUL bytes, else `declared`, else UTF-8.

    Raises:
        UserError: the file cannot be read, is empty, is no text, or is not of the declared encoding.
    """
    head = head_of(path)
    _refuse_what_is_no_text(path, head)
    marked = next((name for mark, name in MARKS.items() if head.startswith(mark)), None) or _by_nul_bytes(head)
    if declared is None:
        return marked or "utf-8"
    name = codecs.lookup(declared).name.removesuffix("-sig")
    if marked and not marked.startswith(name):
        raise UserError(f"{path}: is {marked.upper()} by its first bytes, not {declared}; leave the encoding out")
    if not marked and name != "utf-8" and not head.isascii() and _is_utf8(head):
        raise UserError(f"{path}: is UTF-8 as it stands, {declared} would garble its letters; leave the encoding out")
    return marked or name


def utf8_blocks(path: Path, encoding: str, progress: Clock | None, size: int) -> Iterator[bytes]:
    """Yields the file's bytes as UTF-8 without a byte-order mark, inflated where it is compressed, whatever its name.

    Bytes that are no UTF-8 stay as they are; what another encoding does not know is the byte 0xff, which UTF-8
    does not know either, so that the reader of records names its row.

    Raises:
        UserError: the file cannot be read.
        CutShortError: its compressed bytes are cut short or damaged.
    """
    blocks = _inflated(path, progress, size)
    first = without_mark(next(blocks, b""), encoding)
    if encoding == "utf-8":
        yield first
        yield from blocks
        return
    decoder = decoder_of(encoding)
    for block in chain([first], blocks):
        yield decoder.decode(block).encode("utf-8", "surrogateescape")
    yield decoder.decode(b"", final=True).encode("utf-8", "surrogateescape")


def decoder_of(encoding: str) -> codecs.IncrementalDecoder:
    """Makes a decoder that writes a surrogate for each byte of UTF-8, and for anything else, that it does not know."""
    codecs.register_error("byte 0xff", lambda error: ("\udcff", error.end))  # type: ignore[attr-defined]
    return codecs.getincrementaldecoder(encoding)("surrogateescape" if encoding == "utf-8" else "byte 0xff")


def without_mark(block: bytes, encoding: str) -> bytes:
    """Takes the byte-order mark of its encoding from the first bytes of a file."""
    return next((block.removeprefix(mark) for mark, name in MARKS.items() if name == encoding), block)


def head_of(path: Path) -> bytes:
    """Reads the first `HEAD` bytes, inflated.

    Raises:
        UserError: the file is empty, or cannot be read.
    """
    head = b""
    try:
        for block in _inflated(path, None, 1 << 16):
            head += block
            if len(head) >= HEAD:
                break
    except CutShortError:
        if not head:
            raise UserError(f"{path}: the compressed file is cut short or damaged; {AGAIN}") from None
    if not head.strip():
        raise UserError(f"{path}: the file is empty")
    return head


def _refuse_what_is_no_text(path: Path, head: bytes) -> None:
    reason = next((reason for mark, reason in _FOREIGN.items() if head.startswith(mark)), None)
    if head.startswith(b"PK\x03\x04"):
        workbook = b"[Content_Types].xml" in head or b"xl/" in head or b"mimetype" in head[:64]
        reason = f"is a workbook; {_AS_CSV}" if workbook else "is a zip archive; unpack it"
    elif head[257:262] == b"ustar":
        reason = "is a tar archive; unpack it"
    elif (
        head.lstrip(codecs.BOM_UTF8 + b" \t\r\n")[:9].lower().startswith((b"<!doctype", b"<html", b"<?xml", b"<table"))
    ):
        reason = f"is a page of HTML or XML, whatever its name; {_AS_CSV}"
    if reason:
        raise UserError(f"{path}: {reason}")


def _by_nul_bytes(head: bytes) -> str | None:
    """Recognises UTF-16 without a byte-order mark: Latin letters are a byte and a NUL byte each."""
    half = len(head[:4096]) // 2
    even, odd = head[: 2 * half : 2].count(0), head[1 : 2 * half : 2].count(0)
    if half and odd > 0.7 * half and not even:
        return "utf-16-le"
    return "utf-16-be" if half and even > 0.7 * half and not odd else None


def _is_utf8(head: bytes) -> bool:
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return False
    return True


def _inflated(path: Path, progress: Clock | None, size: int) -> Iterator[bytes]:
    try:
        with path.open("rb") as raw:
            packed = raw.read(2) == _GZIP
            raw.seek(0)
            source = igzip.GzipFile(fileobj=raw) if packed else raw  # type: ignore[no-untyped-call]
            while block := source.read(size):
                if progress:
                    progress.reach(raw.tell())
                yield block
    except (EOFError, zlib.error, isal_zlib.error, gzip.BadGzipFile):  # type: ignore[misc]
        raise CutShortError from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or type(error).__name__})") from None
