"""A prepared cohort on disk: `notes.parquet` and `cohort.json`."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from src.cohort.msdrg import Drg, load_drgs
from src.cohort.split import Split
from src.shell.errors import UserError
from src.shell.files import replacing_folder

NOTES, RECORD = "notes.parquet", "cohort.json"

SCHEMA = {
    "subject_id": pl.Int64,
    "hadm_id": pl.Int64,
    "split": pl.String,
    "drg": pl.String,
    "text": pl.String,
    "diagnosis": pl.String,
    "words": pl.UInt32,
}
"""Columns of `notes.parquet`: `text` is the hospital course, `diagnosis` the discharge diagnosis."""


@dataclass(frozen=True)
class Cohort:
    """A prepared cohort."""

    folder: Path
    record: Mapping[str, Any]
    """What `cohort.json` holds."""

    @property
    def fingerprint(self) -> str:
        """A hash of every note with its split and label."""
        return str(self.record["fingerprint"])

    @property
    def labels(self) -> list[Drg]:
        """The classes, in the order of the logits: all of the MS-DRG version."""
        return list(load_drgs(self.record["drg_version"]).values())

    def notes(self, split: Split) -> pl.DataFrame:
        """The notes of one split, in the order of `hadm_id`."""
        return pl.read_parquet(self.folder / NOTES).filter(pl.col("split") == str(split))


def read_cohort(folder: Path) -> Cohort:
    """The cohort that `python -m src.prepare` wrote to `folder`.

    Raises:
        UserError: one of its files is missing or damaged.
    """
    path = folder / RECORD
    try:
        record = json.loads(path.read_text("utf-8"))
        columns = pl.read_parquet_schema(folder / NOTES)
    except (OSError, ValueError, pl.exceptions.PolarsError) as error:
        raise UserError(
            f"{folder}: not a whole prepared cohort ({type(error).__name__}); run python -m src.prepare again"
        ) from None
    if missing := [name for name in SCHEMA if name not in columns]:
        raise UserError(f"{folder / NOTES}: no column {', '.join(missing)}; run python -m src.prepare again")
    return Cohort(folder, record)


def write_cohort(folder: Path, notes: pl.DataFrame, record: dict[str, Any]) -> Cohort:
    """Writes notes (the columns of `SCHEMA`) and their record, whole or not at all.

    Raises:
        UserError: `folder` holds something.
    """
    notes = notes.select(pl.col(name).cast(kind) for name, kind in SCHEMA.items()).sort("hadm_id")
    whole = {**record, "fingerprint": fingerprint(notes)}
    with replacing_folder(folder) as beside:
        notes.write_parquet(beside / NOTES)
        (beside / RECORD).write_text(json.dumps(whole, indent=2) + "\n", "utf-8")
    return Cohort(folder, whole)


def fingerprint(notes: pl.DataFrame) -> str:
    """Sixteen hex digits that change with any note, split or label."""
    digest = hashlib.sha256()
    for row in notes.select("subject_id", "hadm_id", "split", "drg", "text").iter_rows():
        digest.update("\x1f".join(map(str, row)).encode() + b"\x1e")
    return digest.hexdigest()[:16]
