"""Reads encounters from a hospital's notes, as the cohort of a run was read: one text each, which lies on disk."""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from src.cli.errors import UserError
from src.cli.signals import Stop
from src.cohort.admissions import facts_at, facts_of
from src.cohort.build import extractor
from src.cohort.flow import Flow, summaries, with_ids
from src.cohort.horizon import Horizon
from src.cohort.mimic import NOTES, find_table
from src.cohort.missing import WORDS
from src.cohort.read_notes import Texts, gather
from src.cohort.sources import MIMIC, Columns, Source, columns_of, mimic_source
from src.cohort.text_folder import TextFolder
from src.cohort.text_spool import TextSpool
from src.config.dialect import Dialect
from src.runs.kept_cohort import KeptCohort

SHOWN = 3
"""Rows that a remark names."""

NO_NOTE = [spelling for word in sorted(WORDS) for spelling in (word, word.upper(), word.capitalize())]
"""What stands in a cell where a note or an id is missing."""


@dataclass(frozen=True, eq=False)
class Encounters:
    """Holds the encounters of a file, in its order; their texts stay on disk until they are asked for."""

    rows: pl.DataFrame
    """`id`, where the text lies, and the columns of `admissions.parquet` where a model reads those."""
    spool: TextSpool
    fingerprint: str
    """Names ids, texts and facts by a hash."""
    remarks: list[str] = field(default_factory=list)
    """What was left out and how the file was understood, a sentence each."""

    def __len__(self) -> int:
        return self.rows.height

    def piece(self, start: int, count: int) -> pl.DataFrame:
        """Reads encounters as `Proposer.propose` takes them."""
        rows = self.rows.slice(start, count)
        texts = self.spool.read(rows["text_at"], rows["text_bytes"])
        return rows.drop("text_at", "text_bytes").with_columns(text=pl.Series(texts, dtype=pl.String))


def find_notes(notes: Path, text: str | None, id_column: str | None, dialect: Dialect) -> Source | TextFolder:
    """Finds out what lies at a path: MIMIC-IV's discharge summaries, another table, or a folder of text files.

    Args:
        notes: a file, or a folder.
        text: the column of texts; None for MIMIC-IV's name.
        id_column: the column of ids; None for `hadm_id`, or `id` where there is none.
        dialect: the form of a text file.

    Raises:
        UserError: the file cannot be read, or lacks a column.
    """
    if notes.is_dir():
        if find_table(notes, NOTES) or find_table(notes.parent, (notes.name, NOTES[1])):
            return mimic_source(notes.parent, notes, dialect.encoding)
        if text or id_column:
            raise UserError(f"{notes}: is a folder; leave text= and id= out, a file's name is the id of its note")
        return TextFolder(notes, dialect)
    columns = columns_of(notes, text or MIMIC.text, dialect)
    if {text or "text", id_column or "hadm_id"} == {"text", "hadm_id"} and set(MIMIC.named.values()) <= set(columns):
        return Source(notes, MIMIC, dialect, NO_NOTE)
    named = {"text": text or "text", "id": id_column or ("hadm_id" if "hadm_id" in columns else "id")}
    lacking = [key for key, name in named.items() if name.casefold() not in {column.casefold() for column in columns}]
    if lacking and not (text and id_column):
        raise UserError(
            f"{notes}: no column {' and none '.join(named[key] for key in lacking)}; name "
            f"{' and '.join(f'{key}=COLUMN' for key in lacking)}, its columns are {', '.join(columns) or 'none'}"
        )
    return Source(notes, Columns(named["text"], note=named["id"]), dialect, NO_NOTE)


@contextmanager
def open_encounters(
    source: Source | TextFolder, kept: KeptCohort, hosp: Path | None, out: Path, stop: Stop
) -> Iterator[Encounters]:
    """Reads a source, with its texts in a file beside `out` that has no name and ends with the process.

    Args:
        source: the notes.
        kept: what a run kept of its cohort: which sections it reads.
        hosp: MIMIC-IV's folder of hosp, whose facts of the admissions are added; None for none.
        out: where the predictions go.
        stop: raises between pieces when a signal came.

    Raises:
        UserError: a file is damaged, an id is missing or there twice, or there is no encounter.
    """
    path = out.with_name(f".{out.name}.texts")
    path.unlink(missing_ok=True)  # of another process it keeps what it has open
    with TextSpool(path) as spool:
        path.unlink()
        yield _read(source, kept, hosp, spool, stop)


def _read(source: Source | TextFolder, kept: KeptCohort, hosp: Path | None, spool: TextSpool, stop: Stop) -> Encounters:
    record = kept.record
    find, digest = extractor(kept.protocol, record["sections"], record["headings"]), hashlib.sha256()

    def extract(notes: Sequence[bytes]) -> tuple[Texts, Texts]:
        stop.check()
        texts, diagnoses = find(notes)
        for text in texts:
            digest.update((text or b"") + b"\0")
        return texts, [None] * len(diagnoses)

    notes, rejected = gather(source, extract, spool)
    remarks = list(source.remarks) if isinstance(source, Source) else []
    if rejected:
        listed = "; ".join(f"row {row}: {reason}" for row, reason in rejected[:SHOWN])
        remarks.append(f"notes left out: {len(rejected):,} ({listed}{'; ...' if len(rejected) > SHOWN else ''})")
    of_mimic = source.columns.admission is not None
    rows = _one_an_admission(notes, record["fewest_words"], remarks) if of_mimic else _one_a_row(source, notes)
    if rows.is_empty():
        raise UserError("; ".join([f"{source.path}: holds no encounter", *remarks]))
    if not rows["words"].sum():
        sections = " and ".join(name.replace("_", " ") for name in record["sections"])
        remarks.append(f"no note has a text ({sections}); if each holds what the model reads, write sections=false")
    rows = rows.select("id", "text_at", "text_bytes")
    if hosp is not None:
        horizon = record.get("horizon")
        rows = _with_facts(rows, hosp, remarks, Horizon(horizon["name"]) if horizon else None)
    digest.update(rows.drop("text_at", "text_bytes").write_ndjson().encode())
    return Encounters(rows, spool, digest.hexdigest(), remarks)


def _one_an_admission(notes: pl.DataFrame, fewest: int, remarks: list[str]) -> pl.DataFrame:
    """Chooses of each admission the note that a cohort keeps: the first summary of `fewest` words; else its longest."""
    flow = Flow()
    rows = with_ids(notes, flow)
    if gone := notes.height - rows.height:
        first = flow.excluded()["row"][0]
        remarks.append(f"notes left out, of no admission or with a note_id that came before: {gone:,} (row {first})")
    enough = pl.col("words").fill_null(0).clip(0, fewest)
    best = summaries(rows, flow).sort(enough, descending=True, maintain_order=True)
    best = best.unique("hadm_id", keep="first", maintain_order=True).sort("row")
    if spare := rows.height - best.height:
        remarks.append(f"addenda and further summaries of admissions, which have one prediction each: {spare:,}")
    return best.with_columns(id=pl.col("hadm_id").cast(pl.String))


def _one_a_row(source: Source | TextFolder, notes: pl.DataFrame) -> pl.DataFrame:
    """Takes every row as an encounter.

    Raises:
        UserError: an id is missing, or there twice: which of two notes stands for a stay is not for us to guess.
    """
    column = source.columns.note
    if (lacking := notes.filter(pl.col("note").is_null())).height:
        raise UserError(
            f"{source.path}: row {lacking['row'][0]} has no {column} ({lacking.height:,} in all); give each row one"
        )
    twice = notes.filter(pl.col("note").is_duplicated())
    if twice.height:
        first, second, *_ = twice.filter(pl.col("note") == twice["note"][0])["row"]
        raise UserError(
            f"{source.path}: rows {first} and {second} have one {column} (ids that come more than once: "
            f"{twice['note'].n_unique():,}); an encounter has one prediction: keep one note of each, or join them"
        )
    return notes.sort("row").rename({"note": "id"})


def _with_facts(rows: pl.DataFrame, hosp: Path, remarks: list[str], horizon: Horizon | None) -> pl.DataFrame:
    """Adds what hosp's tables say of each admission, or said at a horizon.

    Raises:
        UserError: an id is no `hadm_id`, or there is no table of admissions.
    """
    folder = hosp if find_table(hosp, ("hosp", "admissions")) else hosp.parent
    if find_table(folder, ("hosp", "admissions")) is None:
        raise UserError(f"hosp={hosp}: no admissions.csv.gz or .csv there; it is the folder hosp of MIMIC-IV")
    rows = rows.with_columns(hadm_id=pl.col("id").cast(pl.Int64, strict=False))
    if (odd := rows["hadm_id"].is_null()).any():
        raise UserError(f"hosp={hosp}: encounter {odd.arg_true()[0] + 1} has an id that is no hadm_id, a whole number")
    facts = facts_at(folder, rows, horizon) if horizon else facts_of(folder, rows)
    if unknown := rows.join(facts, "hadm_id", how="anti").height:
        remarks.append(f"encounters that are not in {folder / 'hosp'}, and of which no facts are read: {unknown:,}")
    return rows.join(facts, "hadm_id", how="left", maintain_order="left").drop("hadm_id")
