"""Collects what is known of each admission without its note: `admissions.parquet`, from MIMIC-IV's hosp tables."""

from collections.abc import Collection
from pathlib import Path
from typing import Any

import polars as pl

from src.cli.errors import UserError
from src.cohort.apr import MORTALITY
from src.cohort.horizon import Horizon
from src.cohort.layout import look
from src.cohort.mimic import TIME, find_table, table_parts

ADMISSIONS = "admissions.parquet"

SCHEMA: dict[str, Any] = {
    "hadm_id": pl.Int64,
    "sex": pl.String,
    "age": pl.Int64,
    "race": pl.String,
    "insurance": pl.String,
    "language": pl.String,
    "admission_type": pl.String,
    "admission_location": pl.String,
    "days": pl.Float64,
    "services": pl.List(pl.String),
    "diagnoses": pl.List(pl.String),
    "procedures": pl.List(pl.String),
}
"""Columns; what a hospital's files do not tell is null. `age` is in years at admission, `days` the length of stay.
`services` are in order of transfer; `diagnoses` (the principal first) and `procedures` are `VERSION:CODE`. They are
coded after discharge, by those who assign the DRG: an upper bound, not what a model could know."""

TOLD = ["race", "insurance", "language", "admission_type", "admission_location"]
SAME = {"race": "ethnicity"}
"""Columns that version 1 names otherwise."""

LATER = ("days", "diagnoses", "procedures")
"""What is known when an admission has ended, or coded after it."""

REGISTERED = ("admission_type", "admission_location")
"""What is known when it begins; who has waited for it in the emergency department has none yet."""

LISTS = {
    "services": ("services", ["hadm_id", "transfertime", "curr_service"]),
    "diagnoses": ("diagnoses_icd", ["hadm_id", "seq_num", "icd_code", "icd_version"]),
    "procedures": ("procedures_icd", ["hadm_id", "seq_num", "icd_code", "icd_version"]),
}
"""For each list its table, and columns: the admission, the order, the value."""


def write_admissions(
    folder: Path, source: str | None, rows: pl.DataFrame, mortality: pl.DataFrame | None = None
) -> None:
    """Writes `admissions.parquet` of the admissions in `rows`, or nothing where `source` has no hosp/admissions.

    Args:
        folder: the cohort's.
        source: a folder of MIMIC-IV; None for another hospital's file of notes.
        rows: the cohort's notes, of which `hadm_id` is read.
        mortality: `hadm_id` and APR-DRG's risk of mortality, a column more; None for MS-DRGs, which have none.

    Raises:
        UserError: a table is there, but damaged or without a column.
    """
    if source is None or find_table(Path(source), ("hosp", "admissions")) is None:
        return
    facts = facts_of(Path(source), rows)
    if mortality is not None:
        facts = facts.join(mortality, "hadm_id", how="left", maintain_order="left")
    facts.write_parquet(folder / ADMISSIONS)


def facts_of(source: Path, rows: pl.DataFrame) -> pl.DataFrame:
    """Reads the columns of `SCHEMA` for the admissions in `rows` that hosp/admissions has, ordered by `hadm_id`.

    Raises:
        UserError: a table is there, but damaged or without a column.
    """
    wanted = rows.select("hadm_id").unique()
    facts = _facts(source, wanted)
    for name, (table, columns) in LISTS.items():
        facts = facts.join(_lists(source, table, columns, wanted, name), "hadm_id", how="left")
    return facts.select(pl.col(name).cast(kind) for name, kind in SCHEMA.items()).sort("hadm_id")


def facts_at(source: Path, rows: pl.DataFrame, horizon: Horizon) -> pl.DataFrame:
    """Reads what was known at a horizon; hosp does not tell when triage was, which is before admission and services.

    Raises:
        UserError: a table is there, but damaged or without a column.
    """
    names = ["admittime", "edregtime", "edouttime"]
    stays = _table(source, "admissions", ["hadm_id", *names], rows.select("hadm_id").unique())
    stays = stays.unique("hadm_id", keep="first").with_columns(pl.col(names).str.to_datetime(TIME, strict=False))
    timed = stays.with_columns(start=pl.coalesce("edregtime", "admittime"), triaged=pl.lit(None, pl.Datetime("us")))
    return known_at(facts_of(source, rows), source, timed.select("hadm_id", "admittime", end=horizon.end))


def known_at(facts: pl.DataFrame, source: Path, times: pl.DataFrame) -> pl.DataFrame:
    """Blanks what was not known at a time of each admission: its length, codes, later services, its kind before it.

    Args:
        facts: columns of `SCHEMA`, of which those of `LATER` and services are not read, and the risk of mortality of
            APR-DRGs, which no model reads.
        source: a folder of MIMIC-IV, whose services are read again.
        times: of each admission, `hadm_id`, `admittime` and `end`.

    Raises:
        UserError: the table of services is damaged or without a column.
    """
    table, columns = LISTS["services"]
    services = _lists(source, table, columns, facts.select("hadm_id"), "services", times)
    begun = pl.col("admittime") <= pl.col("end")
    known = (
        facts.drop("services", strict=False)
        .join(times, "hadm_id", how="left", maintain_order="left")
        .with_columns(pl.lit(None, SCHEMA[name]).alias(name) for name in LATER)
    )
    known = known.with_columns(pl.when(begun).then(name).alias(name) for name in REGISTERED)
    names = [*SCHEMA, *([MORTALITY] if MORTALITY in facts.columns else [])]
    return known.join(services, "hadm_id", how="left", maintain_order="left").select(names)


def read_admissions(folder: Path, without: Collection[str] = ()) -> pl.DataFrame | None:
    """Reads the facts of a cohort's admissions, ordered by `hadm_id`, or some; None where the cohort has none.

    Raises:
        UserError: the file is damaged.
    """
    path = folder / ADMISSIONS
    if not path.is_file():
        return None
    try:
        of_apr = [MORTALITY] if MORTALITY in pl.read_parquet_schema(path) else []
        return pl.read_parquet(path, columns=[name for name in (*SCHEMA, *of_apr) if name not in without])
    except (pl.exceptions.PolarsError, OSError) as error:
        raise UserError(f"{path}: damaged ({type(error).__name__}); prepare the cohort again") from None


def _facts(source: Path, wanted: pl.DataFrame) -> pl.DataFrame:
    stays = _table(source, "admissions", ["subject_id", "hadm_id", "admittime", "dischtime", *TOLD], wanted)
    stays = stays.unique("hadm_id", keep="first", maintain_order=True)
    patients = _patients(source, stays.select("subject_id").unique())
    start, end = (pl.col(name).str.to_datetime(strict=False) for name in ("admittime", "dischtime"))
    # Dates are shifted by patient: years mean something only beside the patient's anchor_year.
    age = pl.col("anchor_age").cast(pl.Int64, strict=False)
    gone = start.dt.year() - pl.col("anchor_year").cast(pl.Int64, strict=False)
    return stays.join(patients, "subject_id", how="left").with_columns(
        sex=pl.col("gender"), age=age + gone, days=(end - start).dt.total_minutes() / (24 * 60)
    )


def _patients(source: Path, wanted: pl.DataFrame) -> pl.DataFrame:
    columns = ["subject_id", "gender", "anchor_age", "anchor_year"]
    if find_table(source, ("hosp", "patients")) is None:
        return pl.DataFrame(schema={name: pl.Int64 if name == "subject_id" else pl.String for name in columns})
    return _table(source, "patients", columns, wanted).unique("subject_id", keep="first", maintain_order=True)


def _lists(
    source: Path, table: str, columns: list[str], wanted: pl.DataFrame, name: str, times: pl.DataFrame | None = None
) -> pl.DataFrame:
    """Lists the values of each admission in order, as [hadm_id, `name`]; none where the table is missing.

    With `times`, those up to the `end` of each admission.
    """
    if find_table(source, ("hosp", table)) is None:
        return pl.DataFrame(schema={"hadm_id": pl.Int64, name: pl.List(pl.String)})
    rows = _table(source, table, columns, wanted)
    if times is not None:
        ends = rows.join(times.select("hadm_id", "end"), "hadm_id", how="left", maintain_order="left")
        rows = ends.filter(pl.col(columns[1]).str.to_datetime(TIME, strict=False) <= pl.col("end"))
    order = pl.col(columns[1]).cast(pl.Int64, strict=False) if columns[1] == "seq_num" else pl.col(columns[1])
    coded = pl.col("icd_version") + ":" + pl.col("icd_code").str.strip_chars()
    value = coded if "icd_code" in columns else pl.col(columns[2])
    values = rows.select("hadm_id", order.alias("order"), value.alias(name)).sort("hadm_id", "order")
    return values.group_by("hadm_id", maintain_order=True).agg(pl.col(name).drop_nulls())


def _table(source: Path, table: str, columns: list[str], wanted: pl.DataFrame) -> pl.DataFrame:
    """Reads columns of a hosp table that is there, of those rows that are of `wanted`; as text, ids as numbers."""
    path = find_table(source, ("hosp", table)) or source
    layout = look(path, columns)
    names = {name: own for name, own in SAME.items() if name in columns and layout.column(name) is None}
    kinds = {name: pl.Int64 if name.endswith("_id") else pl.String for name in columns}
    parts = (part.join(wanted, wanted.columns, how="semi") for part in table_parts(layout, kinds, names))
    return pl.concat([pl.DataFrame(schema=kinds), *parts])
