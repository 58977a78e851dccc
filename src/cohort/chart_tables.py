"""Finds and reads the tables of what was charted before discharge: MIMIC-IV's hosp, MIMIC-IV-ED, radiology reports."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from src.cli.errors import UserError, raise_all
from src.cohort.csv_stream import read_records
from src.cohort.horizon import Horizon
from src.cohort.layout import look
from src.cohort.mimic import find_in_downloads, table_parts, typed_rows
from src.config.dialect import Dialect
from src.config.prepare import PrepareData

TableName = tuple[str, str]
Tables = Mapping[TableName, Path]
"""Where each table lies."""

VITAL_SIGNS = ("temperature", "heartrate", "resprate", "o2sat", "sbp", "dbp")

_TIME = pl.Datetime("us")
_TEXTS = dict.fromkeys((*VITAL_SIGNS, "pain"), pl.String)

COLUMNS: Mapping[TableName, Mapping[str, Any]] = {
    ("hosp", "admissions"): {
        "subject_id": pl.Int64,
        "hadm_id": pl.Int64,
        **dict.fromkeys(("admittime", "dischtime", "deathtime", "edregtime", "edouttime"), _TIME),
    },
    ("hosp", "services"): {"hadm_id": pl.Int64, "transfertime": _TIME, "curr_service": pl.String},
    ("hosp", "transfers"): {"hadm_id": pl.Int64, "eventtype": pl.String, "careunit": pl.String, "intime": _TIME},
    ("ed", "edstays"): {"hadm_id": pl.Int64, "stay_id": pl.Int64, "intime": _TIME},
    ("ed", "triage"): {"stay_id": pl.Int64, **_TEXTS, "acuity": pl.String, "chiefcomplaint": pl.String},
    ("ed", "vitalsign"): {"stay_id": pl.Int64, "charttime": _TIME, **_TEXTS, "rhythm": pl.String},
    ("ed", "medrecon"): {"stay_id": pl.Int64, "charttime": _TIME, "name": pl.String},
    ("note", "radiology"): {
        "note_id": pl.String,
        "subject_id": pl.Int64,
        "hadm_id": pl.Int64,
        "charttime": _TIME,
        "storetime": _TIME,
    },
    ("note", "radiology_detail"): {
        "note_id": pl.String,
        "subject_id": pl.Int64,
        "field_name": pl.String,
        "field_value": pl.String,
        "field_ordinal": pl.Int64,
    },
}
"""The columns that are read. Those coded or written after a stay are none of them: ed/diagnosis, its disposition."""


def find_tables(data: PrepareData, horizons: Sequence[Horizon]) -> Tables:
    """Finds the tables that the horizons read.

    Raises:
        UserError: some are missing; the message says which PhysioNet project has them.
    """
    folder = Path(str(data.dir))
    downloads = {"ed": data.ed, "note": data.notes}
    projects = {
        "ed": "it is of MIMIC-IV-ED (mimic-iv-ed), a download of its own: data.ed= names its folder",
        "note": "it is of MIMIC-IV-Note (mimic-iv-note), a download of its own: data.notes= names its folder",
        "hosp": "it is of MIMIC-IV (mimiciv): data.dir= names its folder",
    }
    readers = {table: horizon.name for horizon in reversed(horizons) for table in horizon.tables}
    tables, missing = {}, []
    for table, name in readers.items():
        part = downloads.get(table[0])
        path = find_in_downloads(folder, Path(part) if part else None, table)
        if path is None:
            missing.append(
                f"{part or folder}: no {'/'.join(table)}.csv.gz or .csv, which horizon={name} reads; "
                f"{projects[table[0]]}"
            )
        else:
            tables[table] = path
    raise_all(missing, "prepare")
    return tables


def rows_of(tables: Tables, table: TableName, wanted: pl.DataFrame) -> Iterator[pl.DataFrame]:
    """Yields the rows of a table that are of `wanted`, by the columns of that, in pieces.

    Raises:
        UserError: a column is missing, the file is damaged, or a number or a time is none.
    """
    columns = COLUMNS[table]
    yield pl.DataFrame(schema=dict(columns))
    for part in table_parts(look(tables[table], list(columns)), columns):
        yield part.join(wanted, wanted.columns, how="semi", maintain_order="left")


def read_texts(
    tables: Tables, table: TableName, wanted: pl.DataFrame, encoding: str | None
) -> Iterator[tuple[pl.DataFrame, int]]:
    """Yields the rows of a table that are of `wanted` with their `text`, in pieces, and how many could not be read.

    Raises:
        UserError: as `rows_of`, or a row is not of UTF-8 and no encoding was said.
    """
    columns, path = COLUMNS[table], tables[table]
    in_file = {name: name for name in columns}
    layout = look(path, [*columns, "text"], Dialect(encoding=encoding))
    for chunk in read_records(layout, list(columns), f"reading {path.name}", "text"):
        if chunk.rejected and encoding is None:
            row, reason = chunk.rejected[0]
            raise UserError(
                f"{path}: row {row} holds {reason}; check that the download is whole, or write data.encoding=utf-8, "
                "which leaves such rows out"
            )
        rows = typed_rows(path, chunk, columns, in_file).with_columns(text=pl.Series(chunk.notes, dtype=pl.Binary))
        kept = rows.join(wanted, wanted.columns, how="semi", maintain_order="left")
        yield kept.with_columns(pl.col("text").cast(pl.String).str.strip_chars()), len(chunk.rejected)
