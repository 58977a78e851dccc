"""Reads MIMIC-IV's tables as they lie in a download: `.csv` or `.csv.gz`, versions 2.0 to 3.1."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import polars as pl

from src.cli.errors import UserError
from src.cohort.csv_stream import Chunk, read_records
from src.cohort.layout import Layout, look
from src.cohort.missing import present, whole_number

NOTES = ("note", "discharge")
DRG_CODES = ("hosp", "drgcodes")
PATIENTS = ("hosp", "patients")

TWO_DOWNLOADS = "PhysioNet has hosp and the notes in two downloads: data.dir= names MIMIC-IV, data.notes= MIMIC-IV-Note"

TIME = "%Y-%m-%d %H:%M:%S"
"""How MIMIC-IV writes a time."""

COLUMNS = {
    DRG_CODES: {
        "subject_id": pl.Int64,
        "hadm_id": pl.Int64,
        "drg_type": pl.String,
        "drg_code": pl.String,
        "description": pl.String,
    },
    PATIENTS: {"subject_id": pl.Int64, "anchor_year_group": pl.String},
}
"""Columns of the small tables, with their types; codes are strings because of their leading zeros."""


def find_table(folder: Path, table: tuple[str, str]) -> Path | None:
    """Finds the file of a table such as `hosp/drgcodes`, compressed or not, in capitals too; None without one."""
    for ending in (".csv.gz", ".csv"):
        for name in (f"{table[1]}{ending}", f"{table[1]}{ending}".upper()):
            path = folder / table[0] / name
            if path.is_file():
                return path
    return None


def find_in_downloads(folder: Path, download: Path | None, table: tuple[str, str]) -> Path | None:
    """Finds a table in `folder`, or in the `download` of its part of MIMIC-IV: that part's folder, or above it."""
    if download is None:
        return find_table(folder, table)
    return find_table(download, table) or find_table(download.parent, (download.name, table[1]))


def read_table(folder: Path, table: tuple[str, str], more: Mapping[str, Any] = {}) -> pl.DataFrame:
    """Reads the columns of `COLUMNS` of one table, and `more` with their types.

    Raises:
        UserError: the file is missing, lacks a column, is damaged, or holds a value of another type.
    """
    path = find_table(folder, table)
    wanted = {**COLUMNS[table], **more}
    if path is None:
        raise UserError(
            f"{folder}: no {'/'.join(table)}.csv.gz or .csv; data.dir= is a folder of MIMIC-IV. {TWO_DOWNLOADS}"
        )
    parts = [pl.DataFrame(schema=wanted), *table_parts(look(path, list(wanted)), wanted)]
    return pl.concat(parts)


def table_parts(layout: Layout, wanted: Mapping[str, Any], names: Mapping[str, str] = {}) -> Iterator[pl.DataFrame]:
    """Yields the columns of a table a block at a time, with their types; `names` are those that differ in the file.

    Raises:
        UserError: a column is missing, the file is damaged, or a number or a time is none; the message names the row.
    """
    in_file = {name: names.get(name, name) for name in wanted}
    for chunk in read_records(layout, list(in_file.values()), f"reading {layout.path.name}"):
        for row, reason in chunk.rejected:
            raise UserError(f"{layout.path}: row {row} holds {reason}; check that the download is whole")
        yield typed_rows(layout.path, chunk, wanted, in_file)


def typed_rows(path: Path, chunk: Chunk, wanted: Mapping[str, Any], in_file: Mapping[str, str]) -> pl.DataFrame:
    """Reads the columns of a chunk of `path` with their types, from the names that they have in the file.

    Raises:
        UserError: a number or a time is none; the message names the row.
    """
    texts = chunk.rows.select(**{name: present(pl.col(in_file[name])) for name in wanted})
    numbers = [whole_number(pl.col(name)).cast(kind, strict=False) for name, kind in wanted.items() if kind == pl.Int64]
    times = [pl.col(name).str.to_datetime(TIME, strict=False) for name, kind in wanted.items() if kind == pl.Datetime]
    typed = texts.with_columns(*numbers, *times)
    for name, kind in wanted.items():
        if odd := chunk.numbers.filter(texts[name].is_not_null() & typed[name].is_null()).to_list():
            form = "no time as 2180-05-06 22:23:00" if kind == pl.Datetime else "no whole number"
            raise UserError(f"{path}: row {odd[0]}: {name} is {form}")
    return typed
