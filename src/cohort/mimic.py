"""MIMIC-IV's tables as they lie in a download: `.csv` or `.csv.gz`, versions 2.0 to 3.1."""

from pathlib import Path

import polars as pl

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
    try:
        header = pl.read_csv(path, n_rows=0, infer_schema=False).columns
        if missing := [name for name in wanted if name not in header]:
            raise UserError(f"{path}: no column {', '.join(missing)}; its columns are {', '.join(header)}")
        return pl.read_csv(path, columns=list(wanted), schema_overrides=wanted)
    except (pl.exceptions.PolarsError, OSError) as error:
        reason = str(error).strip().splitlines()
        raise UserError(f"{path}: cannot be read ({_without_text(reason)}); check that the download is whole") from None


def _without_text(reason: list[str]) -> str:
    """The kind of an error without the cells it quotes: a message must not show a note."""
    first = reason[0] if reason else "unknown"
    return first.split("`")[0].split('"')[0].strip().rstrip(":")[:80]
