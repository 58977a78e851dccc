"""Writes CSV that a spreadsheet reads as text and numbers alone: nothing in it is a formula."""

import csv
import io
import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from src.cli.terminal import visible

if TYPE_CHECKING:
    import polars as pl

FORMULA = re.compile(r"'*[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")
"""How a text begins that a spreadsheet would compute; with apostrophes before it, so that one more can be undone."""

NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?(inf|nan)")


def neutral(text: str) -> str:
    r"""Puts an apostrophe before text that a spreadsheet would compute; numbers stay as they are.

    >>> [neutral(text) for text in ("=cmd|' /C calc'!A0", "-0.5", "-1+2", "'=a", "it's", "a\x1b[0m")]
    ["'=cmd|' /C calc'!A0", '-0.5', "'-1+2", "''=a", "it's", 'a\\x1b[0m']
    """
    plain = visible(text.replace("\r\n", "\n"))
    return f"'{plain}" if FORMULA.match(plain) and not NUMBER.fullmatch(plain) else plain


def original(text: str) -> str:
    """Restores the text before it was neutralised.

    >>> [original(text) for text in ("'=a", "''=a", "'tis", "-0.5")]
    ['=a', "'=a", "'tis", '-0.5']
    """
    return text[1:] if text.startswith("'") and FORMULA.match(text) else text


def csv_text(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Writes a table as CSV text; None is an empty cell."""
    file = io.StringIO(newline="")
    writer = csv.writer(file, lineterminator="\n")
    for row in (head, *rows):
        writer.writerow([neutral(cell) if isinstance(cell, str) else cell for cell in row])
    return file.getvalue()


def write_csv(path: Path, head: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Writes a table as CSV."""
    path.write_text(csv_text(head, rows), "utf-8", newline="")


def print_csv(row: Sequence[Any]) -> None:
    """Prints one row of CSV."""
    sys.stdout.write(csv_text(row, []))


def write_frame(path: Path, table: "pl.DataFrame | pl.LazyFrame", gzipped: bool = False) -> None:
    """Writes a polars table as CSV; columns of numbers as they are."""
    import polars as pl

    schema = table.lazy().collect_schema()
    texts = [name for name, kind in schema.items() if kind in (pl.String, pl.Categorical) or kind == pl.Enum]
    safe = [pl.col(name).cast(pl.String).map_elements(neutral, return_dtype=pl.String) for name in texts]
    rows = table.lazy().with_columns(safe).rename({name: neutral(name) for name in schema})
    rows.sink_csv(path, compression="gzip" if gzipped else "uncompressed", check_extension=False)
