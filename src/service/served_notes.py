"""Reads encounters' notes from a file or a folder, and finds in a note what the model reads."""

import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl

from src.cli.errors import UserError
from src.cli.signals import Stop
from src.cohort.build import extractor
from src.config.dialect import Dialect
from src.inference.encounters import find_notes, open_encounters
from src.inference.proposals import Proposer
from src.runs.kept_cohort import KeptCohort


def text_finder(kept: KeptCohort) -> Callable[[pl.Series], pl.Series]:
    """Makes what finds in whole notes the text that the model was trained on; null where a note has none."""
    extract = extractor(kept.protocol, kept.record["sections"], kept.record["headings"])

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


def read_encounters(
    notes: Path, kept: KeptCohort, text: str | None = None, id_column: str | None = None, hosp: Path | None = None
) -> pl.DataFrame:
    """Reads whole notes as `src.predict` does: `id`, `text`, and `days` in house where `hosp` tells them.

    Args:
        notes: a file or a folder.
        kept: what the run kept of its cohort.
        text: the column of texts, see `src.inference.encounters.find_notes`.
        id_column: the column of ids.
        hosp: MIMIC-IV's folder of hosp; None for none.

    Raises:
        UserError: the notes cannot be read, or an id is missing or comes twice.
    """
    source = find_notes(notes, text, id_column, Dialect(key=""))
    with (
        TemporaryDirectory() as folder,
        open_encounters(source, kept.reading_whole(), hosp, Path(folder) / "notes", Stop()) as encounters,
    ):
        for remark in encounters.remarks:
            print(remark, file=sys.stderr, flush=True)
        rows = encounters.piece(0, len(encounters))
    days = pl.lit(None, pl.Float64).alias("days") if hosp is None else pl.col("days")
    return rows.select("id", pl.col("text").fill_null(""), days)
