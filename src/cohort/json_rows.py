"""Reads rows of a JSON file: an object a line, or one array of objects; numbers and truth values as their text."""

import json
import math
import re
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any, NoReturn

from src.cli.errors import UserError
from src.cli.progress import Clock
from src.cohort.csv_stream import BLOCK, LONGEST_RECORD
from src.cohort.encoding import AGAIN, CutShortError, decoder_of, encoding_of, utf8_blocks
from src.config.dialect import Dialect

_FOREIGN = re.compile("[\udc80-\udcff]")
"""What the decoder makes of bytes that it does not know; an escape in JSON is another text here."""


def read_json_rows(path: Path, dialect: Dialect) -> Iterator[tuple[int, dict[str, Any], bool]]:
    """Yields each object with its number from 1: of its line, blank ones counted, or of its place in the array.

    The third value says whether its bytes are of the file's encoding.

    Raises:
        UserError: the file cannot be read, is no text or cut short, or a row is no JSON or no object.
    """
    encoding = encoding_of(path, dialect.encoding)
    decoder = decoder_of("utf-8")
    row = 0
    try:
        with Clock(total=max(1, path.stat().st_size), what=f"reading {path.name}", unit="B") as progress:
            blocks = (decoder.decode(block) for block in utf8_blocks(path, encoding, progress, BLOCK))
            first = next(blocks, "")
            rows_of = _array if first.lstrip().startswith("[") else _lines
            whole = rows_of(path, first, blocks, dialect.key)
            for row, value, text in whole:
                if not isinstance(value, dict):
                    raise UserError(f"{path}: row {row} is {_kind(value)}; a row is an object of columns and values")
                yield row, value, text.isascii() or not _FOREIGN.search(text)
    except CutShortError:
        raise UserError(f"{path}: the compressed file is cut short or damaged behind row {row}; {AGAIN}") from None


def cell_text(value: object) -> str | None:
    """Writes one value as text, None where it is missing.

    Raises:
        ValueError: the value is a list, an object, or no finite number; the message says which.

    >>> cell_text(291.0), cell_text(float("nan")), cell_text(True), cell_text(" a")
    ('291', None, 'true', ' a')
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and math.isfinite(value):
        return str(int(value)) if value.is_integer() and abs(value) < 2**53 else str(value)
    if isinstance(value, int):
        return str(value)
    raise ValueError(_kind(value))


def _kind(value: object) -> str:
    names = {list: "a list", dict: "an object", str: "a text", int: "a number", bool: "a truth value"}
    if isinstance(value, float):
        return "a number" if math.isfinite(value) else "an infinite number"
    return names.get(type(value), "null")


def _lines(path: Path, first: str, blocks: Iterator[str], key: str) -> Iterator[tuple[int, Any, str]]:
    row, open_line = 0, ""
    for block in chain([first], blocks, ["\n"]):  # the last line may have no end of its own
        *lines, open_line = (open_line + block).split("\n")
        for line in lines:
            for part in line.removesuffix("\r").split("\r"):  # a text holds no CR of its own, JSON spells it \r
                row += 1
                if not part.strip():
                    continue
                try:
                    value = json.loads(part)
                except (ValueError, RecursionError):
                    _refuse(path, row, part, key)
                yield row, value, part
        if len(open_line) > LONGEST_RECORD:
            raise UserError(f"{path}: row {row + 1} does not end within {LONGEST_RECORD:,} characters")


def _refuse(path: Path, row: int, text: str, key: str) -> NoReturn:
    whole = "; a file is one object a line, or one array of objects" if row == 1 else ""
    if _FOREIGN.search(text):
        whole = f"; it holds bytes that are no UTF-8, if it comes from Windows write {key}encoding=cp1252"
    raise UserError(f"{path}: row {row} is no JSON{whole}") from None


def _array(path: Path, first: str, blocks: Iterator[str], key: str) -> Iterator[tuple[int, Any, str]]:
    # An array may be as long as its file: an object is read as soon as it is whole, and more text only where none is.
    decoder, between = json.JSONDecoder(), re.compile(r"[ \t\r\n,]*")
    text, position, row = first.lstrip()[1:], 0, 0
    while True:
        start = between.match(text, position).end()  # type: ignore[union-attr]
        if text.startswith("]", start):
            break
        try:
            value, position = decoder.raw_decode(text, start)
        except (ValueError, RecursionError):
            more = next(blocks, "")
            if not more or len(text) - start > LONGEST_RECORD:
                _refuse(path, row + 1, text[start:], key)
            text, position = text[start:] + more, 0
            continue
        row += 1
        yield row, value, text[start:position]
    if text[start + 1 :].strip() or any(block.strip() for block in blocks):
        raise UserError(f"{path}: something stands behind the array of {row:,} rows; is it several files in one?")
