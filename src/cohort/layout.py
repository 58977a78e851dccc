"""Finds the form of a CSV file: its encoding, what separates its columns, and which line is its header."""

import csv
import difflib
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from src.cli.errors import UserError
from src.cohort.encoding import decoder_of, encoding_of, head_of, without_mark
from src.config.dialect import SEPARATORS, Dialect, is_separator

TITLE_LINES = 30
"""In how many records from the first a header is looked for."""


@dataclass(frozen=True)
class Layout:
    """Holds a file's form."""

    path: Path
    header: list[str]
    """Names of the columns, blanks and line breaks in them as single blanks."""
    separator: str
    encoding: str
    start: int
    """Bytes of UTF-8 up to the first record."""
    carriage: bool
    """Lines end with CR alone."""
    passed_over: int
    """Records above the header that are none: titles and blank lines."""
    dialect: Dialect

    def column(self, name: str) -> int | None:
        """Returns the place of a column: by its name, else by the only one that is the same but for capitals."""
        plain = " ".join(name.split())
        exact = [index for index, column in enumerate(self.header) if column == plain]
        alike = exact or [index for index, column in enumerate(self.header) if column.casefold() == plain.casefold()]
        return alike[0] if len(alike) == 1 else None

    def require(self, names: Sequence[str]) -> None:
        """Raises a UserError that names the columns that are missing, or there twice, and what may be meant."""
        missing = [name for name in names if self.column(name) is None]
        if not missing:
            return
        if twice := [name for name in missing if self.header.count(" ".join(name.split())) > 1]:
            raise UserError(f"{self.path}: has several columns {', '.join(twice)}; rename all but one of each")
        near = [match for name in missing for match in difflib.get_close_matches(name, self.header, 1)]
        hint = f"; did you mean {', '.join(near)}?" if near else ""
        if len(self.header) == 1 and self.dialect.separator is None and not self.header[0].isidentifier():
            hint = f"; if another character separates its columns, name it: {self.dialect.key}separator="
        names_there = ", ".join(name[:80] for name in self.header)
        raise UserError(f"{self.path}: no column {', '.join(missing)}; its columns are {names_there}{hint}")

    def remarks(self) -> list[str]:
        """Says how the file was read where it is not plain CSV in UTF-8, a sentence each."""
        separator = next((name for name, letter in SEPARATORS.items() if letter == self.separator), self.separator)
        lines = [f"columns separated by {separator}"] if self.separator != "," else []
        lines += [f"read as {self.encoding}"] if self.encoding != "utf-8" else []
        lines += ["lines that end with CR alone"] if self.carriage else []
        lines += [f"{self.passed_over} lines above the header passed over"] if self.passed_over else []
        return [f"{self.path.name}: {', '.join(lines)}"] if lines else []


def look(path: Path, wanted: Sequence[str], dialect: Dialect | None = None) -> Layout:
    """Finds the form of a file: that in which a record of its first lines has the names of all wanted columns.

    Without such a record its first is the header, divided by what gives the most columns.

    Raises:
        UserError: the file cannot be read, is empty, is no text, or is not of the encoding that was said.
    """
    dialect = dialect or Dialect()
    encoding = encoding_of(path, dialect.encoding)
    head = head_of(path)
    text = decoder_of(encoding).decode(without_mark(head, encoding))
    outside = text.split('"')[::2]
    carriage = not any("\n" in part for part in outside) and any("\r" in part for part in outside)
    said = SEPARATORS.get(dialect.separator, dialect.separator) if dialect.separator else None
    first = text.split("\n", 1)[0].split("\r", 1)[0]
    spreadsheet = re.fullmatch(r'"?sep=(.)"?[,;\t]*', first, re.ASCII)
    if spreadsheet and is_separator(spreadsheet[1]):
        said = said or spreadsheet[1]
    blank = Layout(path, [], ",", encoding, 0, carriage, 0, dialect)
    guesses = []
    for separator in [said] if said else SEPARATORS.values():
        for number, (fields, end) in enumerate(_first_records(text, separator)):
            header = [" ".join(name.split()) for name in fields]
            layout = replace(blank, header=header, separator=separator, start=end, passed_over=number)
            if fields and not (spreadsheet and number == 0):
                if wanted and all(layout.column(name) is not None for name in wanted):
                    return layout
                guesses.append(layout)
    if not guesses:
        raise UserError(f"{path}: no header in its first {len(head):,} bytes; is a quote left open?")
    first_lines = min(layout.passed_over for layout in guesses)
    return max(
        (layout for layout in guesses if layout.passed_over == first_lines), key=lambda layout: len(layout.header)
    )


def _first_records(text: str, separator: str) -> Iterator[tuple[list[str], int]]:
    """Yields the first records, a blank line as an empty one, and how many bytes of UTF-8 they end after."""
    end = 0

    def lines() -> Iterator[str]:
        nonlocal end
        for line in io.StringIO(text, newline=""):
            end += len(line.encode("utf-8", "surrogateescape"))
            yield line

    csv.field_size_limit(max(len(text) + 1, csv.field_size_limit()))
    reader = csv.reader(lines(), delimiter=separator)
    for _, fields in zip(range(TITLE_LINES), reader, strict=False):
        yield ([] if not any(name.strip() for name in fields) else fields), end
