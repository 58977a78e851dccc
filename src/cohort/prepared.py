"""Reads and writes a prepared cohort: `notes.parquet`, `cohort.json`, `split.csv` and `excluded.csv`."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
from polars.io.plugins import register_io_source

from src.cli.errors import UserError
from src.cli.files import atomic_folder
from src.cli.json_files import Damaged, Schema, read_json
from src.cohort.apr import AprDrg, apr_drg
from src.cohort.disclosure import public_names
from src.cohort.msdrg import VERSIONS, Drg, load_drgs
from src.cohort.split import Split, sampled
from src.config.cohort_folder import RECORD
from src.config.prepare import DrgSystem

NOTES, SPLIT, EXCLUDED = "notes.parquet", "split.csv", "excluded.csv"

SOURCE_IDS = "source_ids.parquet"
"""Patients' ids of a hospital's own file, as the file had them, where `subject_id` is another number."""

SCHEMA = {
    "note_id": pl.String,
    "subject_id": pl.Int64,
    "hadm_id": pl.Int64,
    "split": pl.String,
    "drg": pl.String,
    "text": pl.String,
    "diagnosis": pl.String,
    "words": pl.UInt32,
}
"""Columns of `notes.parquet`: `text` is what the model reads, `diagnosis` the discharge diagnosis."""

COHORT: Schema = {
    "fingerprint": str, "drg_version": str | int | None, "labels?": list[str], "titles?": dict[str, str],
    "protocol?": str,
}  # fmt: skip
"""Of `cohort.json` what readers need. `drg_version` is an MS-DRG version, `apr`, or null; `titles` are of APR-DRGs."""


@dataclass(frozen=True)
class OwnLabel:
    """Stands for a class that is no MS-DRG."""

    code: str
    base_drg: None = None
    severity: None = None
    mdc: None = None
    type: None = None


@dataclass(frozen=True)
class Cohort:
    """Holds a prepared cohort."""

    folder: Path
    record: Mapping[str, Any]
    """What `cohort.json` holds."""

    @property
    def fingerprint(self) -> str:
        """Is a hash of every note with its split and label."""
        return str(self.record["fingerprint"])

    @property
    def protocol(self) -> str:
        """Names what it was prepared by, `clean` or `paper`."""
        return str(self.record.get("protocol", "clean"))

    @property
    def labels(self) -> list[Drg] | list[OwnLabel] | list[AprDrg]:
        """Lists the classes, in the order of the logits: those that the record names, or all of the MS-DRG version."""
        named, version = self.record.get("labels"), self.record["drg_version"]
        if version is None:
            return [OwnLabel(code) for code in named or []]
        if version == DrgSystem.APR:
            return [apr_drg(code, self.record.get("titles", {})) for code in named or []]
        drgs = load_drgs(version)
        return [drgs[code] for code in named or drgs]

    @property
    def public_names(self) -> dict[str, str]:
        """Names each class as outside of the hospital, by its code."""
        return public_names([label.code for label in self.labels], self.record["drg_version"])

    def notes(self, split: Split, limit: int | None = None) -> pl.DataFrame:
        """Reads the notes of one split, or a sample of `limit` of them, in the order of `hadm_id`."""
        return sampled(pl.scan_parquet(self.folder / NOTES).filter(pl.col("split") == str(split)).collect(), limit)

    def rows(self, split: Split, limit: int | None = None) -> pl.DataFrame:
        """Reads of the same notes the `row` in `notes.parquet`, DRG and patient, without reading a text."""
        named = pl.scan_parquet(self.folder / NOTES).select("split", "drg", "note_id", "subject_id")
        rows = (
            named.with_row_index("row").filter(pl.col("split") == str(split)).with_columns(pl.col("row").cast(pl.Int64))
        )
        return sampled(rows.collect(), limit)

    def texts(self, split: Split, limit: int | None = None, at_once: int = 4_000) -> Iterator[pl.Series]:
        """Reads the texts of the same notes, `at_once` at a time."""
        rows = self.rows(split, limit).select(pl.col("row").cast(pl.UInt32))
        texts = pl.scan_parquet(self.folder / NOTES).select("text").with_row_index("row")
        wanted = texts.join(rows.lazy(), "row", how="semi", maintain_order="left")
        for some in wanted.select("text").collect_batches(chunk_size=at_once, maintain_order=True):
            yield some["text"]

    def patients(self, split: Split, limit: int | None = None) -> int:
        """Counts the patients of a split, or of a sample of `limit` of its notes."""
        return self.rows(split, limit)["subject_id"].n_unique()


def read_cohort(folder: Path) -> Cohort:
    """Reads the cohort that `python -m src.prepare` wrote to `folder`.

    Raises:
        UserError: one of its files is missing or damaged.
    """
    path = folder / RECORD
    try:
        record = read_json(path, COHORT)
        columns = pl.read_parquet_schema(folder / NOTES)
    except Damaged as error:
        raise UserError(f"{error}; run python -m src.prepare again") from None
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
    with atomic_folder(folder) as tmp:
        whole = write_record(tmp, record, write_notes(tmp, [notes]))
    return Cohort(folder, whole)


def write_notes(folder: Path, pieces: Iterable[pl.DataFrame]) -> str:
    """Writes `notes.parquet` piece by piece; returns 16 hex digits that change with any note, split or label."""
    digest = hashlib.sha256()

    def stream(columns: list[str] | None, where: Any, rows: int | None, size: int | None) -> Iterator[pl.DataFrame]:
        for piece in pieces:
            _add(digest, piece)
            yield piece.select(columns) if columns else piece

    register_io_source(stream, schema=SCHEMA).sink_parquet(folder / NOTES, row_group_size=10_000)
    return digest.hexdigest()[:16]


def write_source_ids(folder: Path, rows: pl.DataFrame) -> None:
    """Writes the ids that the `patient` column of a hospital's own file had; none where it has no such column."""
    ids = rows["patient"] if "patient" in rows.columns else pl.Series(dtype=pl.String)
    table = pl.DataFrame(schema={"subject_id": pl.String})
    if len(ids):
        table = ids.to_frame("subject_id").filter(ids != rows["subject_id"].cast(pl.String)).unique().sort("subject_id")
    table.write_parquet(folder / SOURCE_IDS)


def fingerprint(notes: pl.DataFrame) -> str:
    """Returns sixteen hex digits that change with any note, split or label."""
    digest = hashlib.sha256()
    _add(digest, notes)
    return digest.hexdigest()[:16]


def _add(digest: Any, notes: pl.DataFrame) -> None:
    for row in notes.select("subject_id", "hadm_id", "split", "drg", "text").iter_rows():
        digest.update("\x1f".join(map(str, row)).encode() + b"\x1e")


def write_record(folder: Path, record: dict[str, Any], fingerprint: str) -> dict[str, Any]:
    """Writes `cohort.json` with the fingerprint of the notes, and of the MS-DRG version where it is not the first.

    Notes may have the same codes in two versions, and a head still has other logits for them.
    """
    if (version := record.get("drg_version")) in VERSIONS[1:]:
        fingerprint = hashlib.sha256(f"{fingerprint} {version}".encode()).hexdigest()[:16]
    whole = {**record, "fingerprint": fingerprint}
    (folder / RECORD).write_text(json.dumps(whole, indent=2) + "\n", "utf-8")
    return whole
