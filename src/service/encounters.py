"""Reads encounters' notes from a file or a folder, and finds in a note what the model reads."""

from collections.abc import Callable
from pathlib import Path

import polars as pl

from src.cli.errors import UserError
from src.cli.signals import Stop
from src.cohort.build import with_diagnosis
from src.cohort.sections import HEADINGS, Sections
from src.inference.proposals import Proposer
from src.runs.kept_cohort import KeptCohort


def text_finder(kept: KeptCohort) -> Callable[[pl.Series], pl.Series]:
    """Makes what finds in whole notes the text that the model was trained on; null where a note has none."""
    more = {name: list[str]() for name in HEADINGS}
    for typed in kept.record["headings"]:
        name, _, heading = typed.partition(":")
        more[name].append(heading.strip())
    extract = with_diagnosis(Sections(more), None if kept.record["protocol"] == "paper" else kept.record["sections"])

    def find(notes: pl.Series) -> pl.Series:
        texts, _ = extract(notes.cast(pl.Binary).to_list())
        return pl.Series("text", texts, dtype=pl.Binary).cast(pl.String)

    return find


def scored_by(proposer: Proposer) -> Callable[[pl.DataFrame], pl.DataFrame]:
    """Makes what proposes DRGs for rows of `id`, `text` and `sections`, see `Proposer.propose`.

    Raises:
        UserError: the model reads facts of admissions too, which a note alone does not give.
    """
    find = text_finder(proposer.models.first.kept)

    def score(notes: pl.DataFrame) -> pl.DataFrame:
        text = pl.when("sections").then(find(notes["text"])).otherwise("text")
        return proposer.propose(notes.select("id", text=text), Stop())

    whole = pl.DataFrame({"id": ["0"], "text": ["Brief hospital course"], "sections": [False]})
    try:
        score(whole)
    except pl.exceptions.ColumnNotFoundError as error:
        model = proposer.models.first
        raise UserError(
            f"run={model.run.path}: {model.predictor.axes['model']} reads facts of admissions ({error}), and the "
            "service has notes alone; serve a run that reads notes"
        ) from None
    return score


def read_encounters(path: Path) -> pl.DataFrame:
    """Reads `id`, `text`, and `days` in house where they are known: a row an encounter.

    Raises:
        UserError: the file cannot be read, lacks a column, or an id comes twice.
    """
    try:
        rows = _read(path)
    except (pl.exceptions.PolarsError, OSError, UnicodeDecodeError) as error:
        raise UserError(f"notes={path}: cannot be read ({type(error).__name__})") from None
    if "id" not in rows.columns and "hadm_id" in rows.columns:  # MIMIC's: the last note of an admission
        rows = rows.rename({"hadm_id": "id"}).unique("id", keep="last", maintain_order=True)
    if lacking := [name for name in ("id", "text") if name not in rows.columns]:
        raise UserError(f"notes={path}: has no column {' and none '.join(lacking)}; name its columns id and text")
    rows = rows.with_columns(pl.col("id").cast(pl.String).str.strip_chars(), pl.col("text").fill_null(""))
    wrong = rows["id"].is_null() | (rows["id"] == "") | rows["id"].is_duplicated()
    if wrong.any():
        row = wrong.arg_max()
        raise UserError(f"notes={path}: row {(row or 0) + 1}: its id is missing, or comes twice; every row needs one")
    days = pl.col("days").cast(pl.Float64, strict=False) if "days" in rows.columns else pl.lit(None, pl.Float64)
    return rows.select("id", "text", days.alias("days"))


def _read(path: Path) -> pl.DataFrame:
    name = path.name.lower().removesuffix(".gz")
    if path.is_dir():
        files = sorted(path.glob("*.txt"))
        return pl.DataFrame(
            {"id": [file.stem for file in files], "text": [file.read_text("utf-8") for file in files]},
            schema={"id": pl.String, "text": pl.String},
        )
    if name.endswith((".parquet", ".pq")):
        return pl.read_parquet(path)
    if name.endswith((".jsonl", ".ndjson")):
        return pl.read_ndjson(path)
    return pl.read_csv(path, infer_schema=False)
