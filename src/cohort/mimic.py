"""MIMIC-IV's tables as they lie in a download: `.csv` or `.csv.gz`, versions 2.0 to 3.1."""

from pathlib import Path

import polars as pl

from src.cohort.records import read_records
from src.shell.errors import UserError

NOTES = ("note", "discharge")
DRG_CODES = ("hosp", "drgcodes")
PATIENTS = ("hosp", "patients")

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
    """The file of a table such as `hosp/drgcodes`, compressed or not; None when there is none."""
    for ending in (".csv.gz", ".csv"):
        path = folder / table[0] / f"{table[1]}{ending}"
        if path.is_file():
            return path
    return None


def read_table(folder: Path, table: tuple[str, str]) -> pl.DataFrame:
    """The columns of `COLUMNS` of one table.

    Raises:
        UserError: the file is missing, lacks a column, is damaged, or holds a value of another type.
    """
    path = find_table(folder, table)
    wanted = COLUMNS[table]
    if path is None:
        raise UserError(f"{folder}: no {'/'.join(table)}.csv.gz or .csv; data.dir= is a folder of MIMIC-IV")
    parts = [pl.DataFrame(schema={"row": pl.UInt32, **dict.fromkeys(wanted, pl.String)})]
    for chunk in read_records(path, list(wanted), f"reading {path.name}"):
        for row, reason in chunk.rejected:
            raise UserError(f"{path}: row {row} holds {reason}; check that the download is whole")
        parts.append(chunk.rows)
    texts = pl.concat(parts)
    numbers = texts.select(pl.col(name).cast(kind, strict=False) for name, kind in wanted.items())
    for name in wanted:
        if odd := texts["row"].filter(texts[name].is_not_null() & numbers[name].is_null()).to_list():
            raise UserError(f"{path}: row {odd[0]}: {name} is no whole number")
    return numbers
