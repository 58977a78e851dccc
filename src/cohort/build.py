"""Builds a prepared cohort on disk from a configuration, in little memory."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from src.cli.errors import UserError, raise_all
from src.cli.files import atomic_folder
from src.cohort import split
from src.cohort.admissions import write_admissions
from src.cohort.apr import COLUMNS as APR_COLUMNS
from src.cohort.apr import apr_labels
from src.cohort.chart_tables import find_tables
from src.cohort.doubts import shown
from src.cohort.flow import Flow, clean, one_a_text, own, paper, with_ids, with_own_ids
from src.cohort.horizon import early_horizons
from src.cohort.horizon_folders import Origin, write_horizons
from src.cohort.labels import Labels, mimic_labels, own_labels
from src.cohort.mimic import DRG_CODES, PATIENTS, read_table
from src.cohort.msdrg import load_drgs
from src.cohort.paper_extraction import paper_course
from src.cohort.prepared import EXCLUDED, SCHEMA, SPLIT, write_notes, write_record, write_source_ids
from src.cohort.read_notes import Extract, Texts, gather
from src.cohort.sections import HEADINGS, SECTIONS, Sections, headings_by_section
from src.cohort.sources import Columns, Source, mimic_source
from src.cohort.split_ids import new_key, read_key
from src.cohort.text_spool import TextSpool
from src.config.dialect import Dialect
from src.config.prepare import DrgSystem, PrepareConfig, Protocol, SplitBy
from src.display.spreadsheet import write_frame

PIECE = 4_000
"""Notes written at a time."""


def build(cfg: PrepareConfig) -> tuple[Flow, dict[str, Any]]:
    """Writes the cohort to `data.out`, whole or not at all; returns the flow, and what `cohort.json` holds.

    The cohorts of earlier horizons lie below it; they are of its notes, labels and splits.

    Raises:
        UserError: an input is missing or damaged, no note is left, `data.out` holds something, or there is no such
            MS-DRG version.
    """
    load_drgs(cfg.version)
    extract = extractor(cfg.protocol, cfg.data.sections, cfg.data.headings)
    early = early_horizons(cfg.horizon, cfg.latest_first)
    tables = find_tables(cfg.data, early)
    flow = Flow()
    with atomic_folder(Path(cfg.data.out)) as folder:
        with TextSpool(folder / ".texts") as heap:
            rows, labels, record = _labelled_rows(cfg, extract, heap, flow)
            if rows.is_empty():
                raise UserError(
                    f"{cfg.data.path or cfg.data.dir}: no note is left; the counts were\n" + "\n".join(flow.lines())
                )
            rows, key = _split(cfg, rows, flow)
            _refuse_empty(cfg, rows)
            fingerprint = write_notes(folder, _pieces(rows, heap))
        (folder / ".texts").unlink()
        write_admissions(folder, cfg.data.dir, rows, labels.mortality)
        if cfg.data.path is not None:
            write_source_ids(folder, rows)
        id_key = key or new_key()
        split.write_split(folder / SPLIT, rows, id_key)
        write_frame(folder / EXCLUDED, flow.excluded())
        record = write_record(folder, {**record, **_described(cfg, rows, labels, flow, key is not None)}, fingerprint)
        if early:
            rows = rows.select("row", "note", "note_id", "subject_id", "hadm_id", "split", "drg")
            write_horizons(folder, early, Origin(cfg.data, tables, rows, id_key, record))
    return flow, record


def extractor(protocol: Protocol, sections: Sequence[str], headings: Sequence[str]) -> Extract:
    """Makes what finds the model's text, and the discharge diagnosis, in notes.

    Raises:
        UserError: a section has no such name, or a heading no section.
    """
    names, more = ", ".join(SECTIONS), headings_by_section(headings)
    wrong = [f"data.sections: there is no section {name}; choose {names}" for name in sections if name not in SECTIONS]
    wrong += [
        f"data.headings: {typed}: must be SECTION:HEADING with one of {', '.join(HEADINGS)}"
        for typed in headings
        if typed.partition(":")[0] not in HEADINGS or not typed.partition(":")[2].strip()
    ]
    if protocol is Protocol.PAPER and (list(sections) != ["hospital_course"] or headings):
        wrong.append(
            "protocol=paper: reads the hospital course under its own headings; leave data.sections and data.headings"
        )
    raise_all(wrong, "prepare")
    return with_diagnosis(Sections(more), None if protocol is Protocol.PAPER else sections)


def with_diagnosis(sections: Sections, named: Sequence[str] | None) -> Extract:
    """Finds the named sections, or the paper's hospital course with None, and the discharge diagnosis."""

    def extract(notes: Sequence[bytes]) -> tuple[Texts, Texts]:
        texts = pl.Series(notes, dtype=pl.Binary).cast(pl.String)
        extracted = sections.join(texts, named).cast(pl.Binary).to_list() if named else paper_course(notes)
        return extracted, sections.find(texts, "discharge_diagnosis").cast(pl.Binary).to_list()

    return extract


def _labelled_rows(
    cfg: PrepareConfig, extract: Extract, heap: TextSpool, flow: Flow
) -> tuple[pl.DataFrame, Labels, dict[str, Any]]:
    """Returns the cohort's rows with their `drg`, the labels, and which classes there are."""
    sections = " and ".join(name.replace("_", " ") for name in cfg.data.sections)
    if cfg.data.path is not None:
        return _labelled_own_rows(cfg, extract, heap, flow, sections)
    folder = Path(str(cfg.data.dir))
    apr = cfg.drg is DrgSystem.APR
    codes = read_table(folder, DRG_CODES, APR_COLUMNS if apr else {})
    labels = apr_labels(codes) if apr else mimic_labels(codes, cfg.version, title_first=cfg.protocol is Protocol.PAPER)
    if apr and labels.rows.is_empty():
        raise UserError(f"{folder}: hosp/drgcodes has no row of type APR; leave drg=apr out for MS-DRGs")
    decided = ", ".join(f"{rule} ({rows:,} rows)" for rule, rows in labels.rules.items())
    system = "APR-DRGs" if apr else f"MS-DRGs of {cfg.version}"
    flow.remarks += [f"labels in hosp/drgcodes: {system} by {decided}", *labels.remarks]
    source = mimic_source(folder, Path(cfg.data.notes) if cfg.data.notes else None, cfg.data.encoding)
    notes, rejected = gather(source, extract, heap)
    flow.remarks += source.remarks
    flow.start("discharge summaries", notes.height, rejected)
    rows = with_ids(notes, flow)
    if cfg.protocol is Protocol.PAPER:
        rows = paper(rows, labels, flow)
        return rows, labels, {"drg_version": cfg.version, "labels": sorted(rows["drg"].unique())}
    rows = clean(rows, labels, flow, sections, cfg.data.words)
    if not apr:
        return rows, labels, {"drg_version": cfg.version}
    names = sorted(rows["drg"].unique())
    bases = {name[:3] for name in names}
    titles = {base: title for base, title in labels.titles.items() if base in bases}
    return rows, labels, {"drg_version": str(DrgSystem.APR), "labels": names, "titles": titles}


def _labelled_own_rows(
    cfg: PrepareConfig, extract: Extract, heap: TextSpool, flow: Flow, sections: str
) -> tuple[pl.DataFrame, Labels, dict[str, Any]]:
    data = cfg.data
    columns = Columns(str(data.text), patient=data.patient, label=data.label, split=data.split)
    source = Source(Path(str(data.path)), columns, Dialect(data.separator, data.encoding), data.missing)
    notes, rejected = gather(source, extract, heap)
    flow.remarks += source.remarks
    flow.start("rows", notes.height, rejected)
    labels = own_labels(notes["label"], data.labels, str(data.label), cfg.version)
    flow.remarks += labels.remarks
    rows = own(with_own_ids(notes), labels, flow, sections, data.words)
    if set(rows["drg"].unique()) <= set(load_drgs(cfg.version)) and "own label" not in labels.rules:
        return rows, labels, {"drg_version": cfg.version}
    return rows, labels, {"drg_version": None, "labels": sorted(rows["drg"].unique())}


def split_by(cfg: PrepareConfig) -> SplitBy:
    """Says who splits, with `auto` decided."""
    if cfg.split is not SplitBy.AUTO:
        return cfg.split
    if cfg.protocol is Protocol.PAPER:
        return SplitBy.ROW
    return SplitBy.FILE if _published(cfg) else SplitBy.PATIENT


def _published(cfg: PrepareConfig) -> Path | None:
    """Finds the split that comes with the data, or that `split_file` names."""
    path = Path(cfg.split_file) if cfg.split_file else Path(cfg.data.dir or "") / SPLIT
    return path if path.is_file() and (cfg.split_file or cfg.data.dir) else None


def _split(cfg: PrepareConfig, rows: pl.DataFrame, flow: Flow) -> tuple[pl.DataFrame, bytes | None]:
    """Adds to the rows their split; returns the key of its ids too, None where a file without a key was followed.

    The key of a split file that was followed is kept, so that ids stay what they were; any other cohort gets
    `split_key`, or a new one. Outside of the paper's protocol each text is there once.
    """
    by, seed, test, validation = split_by(cfg), cfg.split_seed, cfg.test_share, cfg.validation_share
    key_path = Path(cfg.split_key) if cfg.split_key else None
    key = read_key(key_path) if key_path else None
    unique = cfg.protocol is not Protocol.PAPER
    if of_column(cfg) or by is SplitBy.FILE:
        if of_column(cfg):
            rows, given = _named_splits(rows, str(cfg.data.split), flow), f"data.split={cfg.data.split}"
            step = f"with a split ({', '.join(split.Split)})"
        else:
            path = _published(cfg) or Path(str(cfg.split_file))
            splits, key = split.by_file(rows, path, key_path)
            rows, given, step = rows.with_columns(split=splits), str(path), "in the split file"
        rows = flow.keep(one_a_text(rows, flow) if unique else rows, pl.col("split").is_not_null(), step)
        splits = split.with_validation(rows["split"], rows["subject_id"], seed, test, validation)
        if moved := (splits != rows["split"]).sum():
            flow.remarks.append(
                f"{given} has no validation: {moved:,} of its {(rows['split'] == 'train').sum():,} training notes go "
                f"there (validation_share={validation}, split_seed={seed})"
            )
        return rows.with_columns(split=splits), key or (new_key() if of_column(cfg) else None)
    rows = one_a_text(rows, flow) if unique else rows
    if by is SplitBy.ROW:
        splits = split.by_row(rows, validation)
    elif by is SplitBy.TIME:
        groups = read_table(Path(str(cfg.data.dir)), PATIENTS)
        splits = split.by_time(rows, groups, cfg.split_since, seed, validation)
    else:
        splits = split.by_patient(rows, seed, test, validation)
    return rows.with_columns(split=splits), key or new_key()


def of_column(cfg: PrepareConfig) -> bool:
    """Says whether a column of the file decides on the split."""
    return cfg.data.split is not None and cfg.split is SplitBy.AUTO


def _named_splits(rows: pl.DataFrame, column: str, flow: Flow) -> pl.DataFrame:
    """Reads the split that the column names, as other code bases do too; null where it names none.

    Raises:
        UserError: none does.
    """
    named = pl.col("split").str.to_lowercase().replace_strict(_SPLITS, default=None, return_dtype=pl.String)
    if rows.select(named.is_null().all()).item():
        values = shown(rows["split"].drop_nulls().unique().sort().to_list()) or "empty"
        raise UserError(
            f"data.split={column}: names no split, its values are {values}; it must hold {', '.join(split.Split)}"
        )
    synonyms = rows.filter(named != pl.col("split"))["split"].unique().sort().to_list()
    if synonyms:
        flow.remarks.append(f"splits in {column}: {shown(synonyms, 6)} are read as {', '.join(split.Split)}")
    return rows.with_columns(split=named)


_SPLITS = {
    "train": "train", "training": "train", "validation": "validation", "valid": "validation", "val": "validation",
    "dev": "validation", "test": "test", "testing": "test",
}  # fmt: skip


def _refuse_empty(cfg: PrepareConfig, rows: pl.DataFrame) -> None:
    """Refuses splits of which one holds no note though it should.

    Raises:
        UserError: one holds none.
    """
    given = of_column(cfg) or split_by(cfg) is SplitBy.FILE
    shares = {split.Split.TRAIN: 1.0, split.Split.VALIDATION: cfg.validation_share, split.Split.TEST: cfg.test_share}
    counts = dict(rows.group_by("split").len().iter_rows())
    for name, share in shares.items():
        if counts.get(name, 0) or (not share and not given):
            continue
        rest = ", ".join(f"{counts.get(part, 0):,} {part}" for part in split.Split)
        if of_column(cfg):
            remedy = "give the column notes of each split, or leave data.split out"
        elif given:
            remedy = "take a split file with notes of each split, or write split=patient"
        else:
            remedy = f"prepare more notes{'' if name == 'train' else f', or a larger {name}_share'}"
        raise UserError(
            f"{cfg.data.path or cfg.data.dir}: no note is left for {name} (of {rows.height:,}: {rest}); {remedy}"
        )


def _pieces(rows: pl.DataFrame, heap: TextSpool) -> Iterator[pl.DataFrame]:
    for piece in rows.iter_slices(PIECE):
        texts = {name: heap.read(piece[f"{name}_at"], piece[f"{name}_bytes"]) for name in ("text", "diagnosis")}
        whole = piece.with_columns(pl.Series(name, values, dtype=pl.String) for name, values in texts.items())
        yield whole.select(pl.col(name).cast(kind) for name, kind in SCHEMA.items())


def _described(cfg: PrepareConfig, rows: pl.DataFrame, labels: Labels, flow: Flow, keyed: bool) -> dict[str, Any]:
    by = split_by(cfg)
    return {
        "protocol": "own" if cfg.data.path else str(cfg.protocol),
        "sections": cfg.data.sections,
        "headings": cfg.data.headings,
        "fewest_words": cfg.data.words,
        "flow": flow.steps,
        "remarks": flow.remarks,
        "splits": split.counts_by_split(rows),
        "labels_decided_by": labels.rules,
        "undecided": labels.undecided,
        "words": {"mean": rows["words"].mean(), "p90": rows["words"].quantile(0.9)},
        "split": {
            "by": f"column {cfg.data.split}" if of_column(cfg) else str(by),
            "seed": 42 if by is SplitBy.ROW else cfg.split_seed,
            "test": 0.1 if by is SplitBy.ROW else cfg.test_share,
            "validation": cfg.validation_share,
            "keyed": keyed,
        },
    }
