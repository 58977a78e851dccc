"""Keeps a study's plan in a folder: the desk's allocation with arms, the analyst's with letters, and the key."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from src.cli.errors import UserError
from src.cli.files import atomic_folder
from src.cli.json_files import read_json, write_json
from src.coding_study.allocation import PERIODS, Allocation, Arm
from src.cohort.csv_stream import read_records
from src.cohort.layout import look
from src.cohort.missing import present
from src.cohort.sources import Columns, Source
from src.config.dialect import Dialect
from src.display.spreadsheet import original, write_frame
from src.display.tables import Table, to_csv

DESK, ANALYST, KEY, POWER = "allocation.csv", "analyst.csv", "key.json", "power.csv"
LETTERS = ("A", "B")
COLUMNS = ("coder", "period", "order", "case", "arm")


@dataclass(frozen=True)
class Plan:
    """Holds who reads what as the analysis sees it.

    Attributes:
        path: of the file.
        rows: `coder`, `case`, `period` (1 or 2), `order`, `arm`, one of `arms`, and `row` of the file.
        arms: the first, with which the second is compared, and the second.
        open: they are `alone` and `assisted`, no letters.
    """

    path: Path
    rows: pl.DataFrame
    arms: tuple[str, str]
    open: bool


def read_table(path: Path, columns: Sequence[str]) -> pl.DataFrame:
    """Reads columns of a CSV file as text without blanks around it, null where nothing stands, and `row` from 1.

    Raises:
        UserError: the file is missing, damaged or lacks a column; the message names the row.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    layout = look(path, columns, Dialect(key=""))
    pieces = []
    for chunk in read_records(layout, columns, f"reading {path.name}"):
        for row, reason in chunk.rejected:
            raise UserError(f"{path}: row {row} holds {reason}; save it as UTF-8")
        # What we and the desk write is neutral in a spreadsheet; a name may have got an apostrophe so.
        cells = [present(pl.col(name)).map_elements(original, return_dtype=pl.String) for name in columns]
        pieces.append(chunk.rows.select(chunk.numbers.cast(pl.Int64).alias("row"), *cells))
    if not pieces:
        raise UserError(f"{path}: holds no rows below its header")
    return pl.concat(pieces)


def read_cases(path: Path) -> tuple[pl.DataFrame, int]:
    """Reads the cases of a study, with the number of those left out for they have no words or MDC.

    Args:
        path: CSV, Parquet or JSON lines, as `src.predict` writes them.

    Returns:
        `id`, `words` and `mdc`.

    Raises:
        UserError: the file cannot be read, a case comes twice or has no id, or its words are no number.
    """
    # A source gives its text as bytes, which an id is as well as a note.
    source = Source(path, Columns(text="id", note="words", label="mdc"), Dialect(key=""))
    rows: dict[str, tuple[int, int, str]] = {}
    left_out = 0
    for piece, ids, rejected in source.chunks():
        for number, reason in rejected:
            raise UserError(f"{path}: row {number} holds {reason}; save it as UTF-8")
        for (number, words, mdc), content in zip(piece.select("row", "note", "label").rows(), ids, strict=True):
            name = content.decode().strip()
            if not name:
                raise UserError(f"{path}: row {number} has no id; give each case one")
            if name in rows:
                raise UserError(f"{path}: row {number}: case {name} comes twice, first in row {rows[name][0]}")
            if words is not None and not words.isdecimal():
                raise UserError(f"{path}: row {number}: words is {words!r}; it must be a whole number")
            if words is None or mdc is None:
                left_out += 1
                continue
            rows[name] = (number, int(words), mdc)
    table = [(name, words, mdc) for name, (_, words, mdc) in rows.items()]
    return pl.DataFrame(table, schema={"id": pl.String, "words": pl.Int64, "mdc": pl.String}, orient="row"), left_out


def write_plan(folder: Path, allocation: Allocation, power: Table, seed: int) -> None:
    """Writes a plan's folder, whole or not at all.

    Raises:
        UserError: the folder holds something.
    """
    turned = bool(np.random.default_rng([seed, 1]).integers(2))  # not the draws of the allocation, which would tell
    arms = dict(zip(LETTERS, reversed(list(Arm)) if turned else list(Arm), strict=True))
    letters = {str(arm): letter for letter, arm in arms.items()}
    masked = allocation.rows.with_columns(pl.col("arm").replace_strict(letters))
    with atomic_folder(folder) as tmp:
        write_frame(tmp / DESK, allocation.rows.select(COLUMNS))
        write_frame(tmp / ANALYST, masked.select(*COLUMNS, "mdc", "words"))
        (tmp / POWER).write_text(to_csv(power), "utf-8")
        content = {"arms": {letter: str(arm) for letter, arm in arms.items()}, "seed": seed}
        write_json(tmp / KEY, {**content, "of": _digest(tmp / ANALYST)}, indent=2)


def read_plan(path: Path, key: Path | None) -> Plan:
    """Reads the analyst's file, opened by the key where it is given, or the desk's, which is open.

    Raises:
        UserError: a file is missing or damaged, the key is of another study, or a row is none of a plan.
    """
    rows = read_table(path, COLUMNS)
    for column in COLUMNS:
        if (empty := rows.filter(pl.col(column).is_null())).height:
            raise UserError(f"{path}: row {empty['row'][0]} has no {column}; is it a file of src.study plan?")
    if (wrong := rows.filter(~pl.col("period").is_in([str(period) for period in PERIODS]))).height:
        raise UserError(f"{path}: row {wrong['row'][0]}: period is {wrong['period'][0]!r}; it must be 1 or 2")
    orders = pl.col("order").cast(pl.Float64, strict=False)
    if (wrong := rows.filter(orders.is_null())).height:
        raise UserError(f"{path}: row {wrong['row'][0]}: order is {wrong['order'][0]!r}; it must be a number")
    if (twice := rows.filter(~pl.struct("coder", "case").is_first_distinct())).height:
        row = twice.row(0, named=True)
        raise UserError(f"{path}: row {row['row']}: {row['coder']} reads case {row['case']} a second time")
    used = set(rows["arm"])
    if key is not None:
        if not used <= set(LETTERS):
            raise UserError(f"key={key}: opens {ANALYST}, and {path} is open already; leave it out")
        rows = rows.with_columns(pl.col("arm").replace_strict(_opened(path, key)))
    elif not used <= set(LETTERS) and not used <= set(Arm):
        odd = rows.filter(~pl.col("arm").is_in([*map(str, Arm), *LETTERS])).row(0, named=True)
        raise UserError(f"{path}: row {odd['row']}: arm is {odd['arm']!r}; it must be {', '.join(Arm)}, or A or B")
    open_ = key is not None or used <= set(Arm)
    arms = (str(Arm.ALONE), str(Arm.ASSISTED)) if open_ else LETTERS
    return Plan(path, rows.select("coder", "case", pl.col("period").cast(pl.Int64), orders, "arm", "row"), arms, open_)


def _opened(path: Path, key: Path) -> dict[str, str]:
    schema = {"arms": {"A": Arm, "B": Arm}, "of": str}
    try:
        content = read_json(key, schema, "take the one that src.study plan wrote")
    except FileNotFoundError as error:
        raise UserError(str(error)) from None
    if content["of"] != _digest(path):
        raise UserError(f"key={key}: is of another study than {path}, or that file was changed; take both of one plan")
    return dict(content["arms"])


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]
