"""Reads notes that a user gives, each with an id and the text that a model is to read."""

import csv
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import polars as pl

from src.cli.errors import UserError

LONGEST_CELL = 1 << 24


def read_notes(path: Path) -> pl.DataFrame:
    """Reads a CSV file or JSON lines with `id` and `text`, or a folder of .txt files, whose names are the ids.

    Returns:
        `id` and `text`, both as text, a row a note.

    Raises:
        UserError: it is nothing of these, a row lacks one of the two or has an id that was there, or there is no note.
    """
    if not path.exists():
        raise UserError(f"notes={path}: no such file or folder; name a .csv or .jsonl file, or a folder of .txt files")
    try:
        notes = list(_rows(path))
    except UnicodeDecodeError as error:
        raise UserError(f"notes={path}: byte {error.start} is not UTF-8; save it as UTF-8") from None
    for where, key, text in notes:
        if not (isinstance(key, str | int) and isinstance(text, str)) or key == "":
            raise UserError(f"notes={path}: {where} has no id or no text; give it columns id and text")
        if not text.strip():
            raise UserError(f"notes={path}: {where} is an empty note; leave it out")
    counts = Counter(str(key) for _, key, _ in notes)
    if twice := [where for where, key, _ in notes if counts[str(key)] > 1]:
        raise UserError(f"notes={path}: {twice[0]} and {twice[1]} have one id; give each note its own")
    if not notes:
        raise UserError(f"notes={path}: holds no note")
    return pl.DataFrame({"id": [str(key) for _, key, _ in notes], "text": [text for *_, text in notes]})


def _rows(path: Path) -> Iterator[tuple[str, object, object]]:
    """Yields where a note stands, its id and its text."""
    if path.is_dir():
        yield from ((file.name, file.stem, file.read_text("utf-8")) for file in sorted(path.glob("*.txt")))
    elif path.suffix == ".csv":
        csv.field_size_limit(LONGEST_CELL)
        with path.open(encoding="utf-8-sig", newline="") as file:
            for number, row in enumerate(csv.DictReader(file), 1):
                yield f"row {number}", row.get("id"), row.get("text")
    elif path.suffix in (".jsonl", ".ndjson"):
        for number, line in enumerate(path.read_text("utf-8-sig").split("\n"), 1):
            if line.strip():
                try:
                    row = json.loads(line)
                except ValueError:
                    raise UserError(f"notes={path}: line {number} is no JSON; write an object a line") from None
                row = row if isinstance(row, dict) else {}
                yield f"line {number}", row.get("id"), row.get("text")
    else:
        raise UserError(f"notes={path}: must end in .csv or .jsonl, or be a folder of .txt files")
