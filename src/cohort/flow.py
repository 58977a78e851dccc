"""Decides which notes make the cohort: every exclusion is counted, and listed by row."""

from dataclasses import dataclass, field

import polars as pl

from src.cohort.labels import Labels
from src.cohort.sources import numbered
from src.config.prepare import DrgSystem

FEWEST_WORDS = 41
"""The paper keeps notes of more than 40 words."""


@dataclass
class Flow:
    """Counts how many notes each step left, and lists which ones went where."""

    steps: list[dict[str, int | str]] = field(default_factory=list)
    gone: list[pl.DataFrame] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    """How the file was understood where it can be understood in several ways, a sentence each; they may hold labels."""

    def start(self, step: str, rows: int, rejected: list[tuple[int, str]]) -> None:
        """Counts the file's rows, and those of them that are no text."""
        self.steps.append({"step": step, "excluded": 0, "left": rows + len(rejected)})
        if rejected:
            self.steps.append({"step": "of readable text", "excluded": len(rejected), "left": rows})
            schema = {"row": pl.UInt32, "excluded": pl.String}
            self.gone.append(
                pl.DataFrame(rejected, schema=schema, orient="row").with_columns(note=pl.lit(None, pl.String))
            )

    def keep(self, rows: pl.DataFrame, where: pl.Expr, step: str) -> pl.DataFrame:
        """Keeps the rows where `where` holds; counts and lists the others."""
        fits = rows.select(where.fill_null(False)).to_series()
        out = rows.filter(~fits)
        self.steps.append({"step": step, "excluded": out.height, "left": rows.height - out.height})
        note = pl.col("note").cast(pl.String) if "note" in rows.columns else pl.lit(None, pl.String)
        self.gone.append(out.select("row", excluded=pl.lit(f"not {step}"), note=note))
        return rows.filter(fits)

    def grow(self, rows: pl.DataFrame, step: str) -> pl.DataFrame:
        """Counts rows that a step added."""
        added = rows.height - int(self.steps[-1]["left"])
        if added:
            self.steps.append({"step": step, "excluded": -added, "left": rows.height})
        return rows

    def lines(self) -> list[str]:
        """Writes the flow as people read it."""
        return [f"{step['left']:>9,}  {step['step']}  ({-int(step['excluded']):+,})" for step in self.steps]

    def excluded(self) -> pl.DataFrame:
        """Lists `row` and `note_id` of every note that was left out, and at which step."""
        schema = {"row": pl.UInt32, "excluded": pl.String, "note": pl.String}
        rows = pl.concat(self.gone) if self.gone else pl.DataFrame(schema=schema)
        return rows.select("row", note_id="note", excluded="excluded").sort("row", "excluded")


def with_ids(notes: pl.DataFrame, flow: Flow) -> pl.DataFrame:
    """Keeps the notes of a MIMIC-IV file whose ids are whole, with `note_id`, `subject_id` and `hadm_id`."""
    ids = {name: pl.col(role).cast(pl.Int64, strict=False) for name, role in _MIMIC_IDS.items()}
    rows = notes.with_columns(**ids)
    rows = flow.keep(rows, pl.col("admission").is_not_null(), "of an admission")
    rows = flow.keep(rows, (pl.col("hadm_id") > 0) & (pl.col("subject_id") > 0), "with ids above zero")
    rows = flow.keep(
        rows, pl.col("note").is_not_null() & pl.col("note").is_first_distinct(), "with a note_id of its own"
    )
    return rows.with_columns(note_id="note")


_MIMIC_IDS = {"hadm_id": "admission", "subject_id": "patient"}


def with_own_ids(notes: pl.DataFrame) -> pl.DataFrame:
    """Gives the notes of any hospital's file ids; a row without a patient counts as a patient of its own."""
    row = pl.col("row").cast(pl.Int64)
    columns = {"note_id": pl.col("row").cast(pl.String), "hadm_id": row, "subject_id": row}
    rows = notes.with_columns(**columns)
    if "patient" in notes.columns:
        rows = rows.with_columns(subject_id=numbered(notes["patient"])).with_columns(
            pl.col("subject_id").fill_null(-row)
        )
    return rows


_ADDENDUM = r"(?i)(?:^|[-_])(?:AD|ADD|ADDENDUM)(?:[-_]|$)"
"""The type in MIMIC-IV's `note_id`, as in 10000032-AD-22."""


def summaries(rows: pl.DataFrame, flow: Flow) -> pl.DataFrame:
    """Orders notes by `hadm_id`, then as they were numbered; addenda stay where an admission has no summary."""
    number = pl.col("note_id").str.extract(r"([0-9]+)$").cast(pl.Int64, strict=False)
    rows = rows.with_columns(addendum=pl.col("note_id").str.contains(_ADDENDUM))
    rows = rows.sort("hadm_id", "addendum", number, "note_id")
    if rows["addendum"].any():
        alone = pl.col("addendum").all().over("hadm_id")
        rows = flow.keep(rows, ~pl.col("addendum") | alone, "of a summary, not an addendum to one")
    return rows.drop("addendum")


def clean(rows: pl.DataFrame, labels: Labels, flow: Flow, sections: str, fewest: int) -> pl.DataFrame:
    """Keeps notes of one admission and one DRG, by `hadm_id`, each admission's summary before its addenda."""
    rows = flow.keep(summaries(rows, flow), pl.col("words") > 0, f"with {sections}")
    rows = flow.keep(rows, pl.col("words") >= fewest, f"of {fewest} words or more")
    rows = flow.keep(rows, pl.col("hadm_id").is_first_distinct(), "one an admission")
    # Two spellings of one DRG do not conflict; a row that names none conflicts with one that does.
    by_admission = labels.rows.group_by("hadm_id").agg(
        pl.col("drg").n_unique().alias("drgs"), pl.col("drg").sort(nulls_last=True).first()
    )
    coded = rows.join(by_admission, on="hadm_id", how="left", maintain_order="left")
    apr = labels.version == DrgSystem.APR
    coded = flow.keep(coded, pl.col("drgs").is_not_null(), f"with a row of type {'APR' if apr else 'HCFA'}")
    coded = flow.keep(coded, pl.col("drgs") == 1, f"with one {'APR-DRG and severity of illness' if apr else 'MS-DRG'}")
    step = f"with a description that names a DRG of {labels.version}"
    return flow.keep(
        coded, pl.col("drg").is_not_null(), "with a code and a severity of illness of 1 to 4" if apr else step
    )


def paper(rows: pl.DataFrame, labels: Labels, flow: Flow) -> pl.DataFrame:
    """Keeps the paper's cohort: an admission with two HCFA rows is there twice, and DRGs with one note go."""
    rows = flow.keep(rows.sort("row"), pl.col("words").is_not_null(), "with a hospital course by the paper's patterns")
    rows = flow.keep(rows, pl.col("words") >= FEWEST_WORDS, f"of {FEWEST_WORDS} words or more")
    rows = flow.keep(rows, pl.col("digest").is_first_distinct(), "without exact duplicates")
    has = rows.join(labels.rows.with_columns(coded=True), on="hadm_id", how="left", maintain_order="left")
    flow.grow(has, "counting an admission once for each HCFA row")
    has = flow.keep(has, pl.col("coded").is_not_null(), "with a row of type HCFA")
    has = flow.keep(has, pl.col("drg").is_not_null(), "with a description that names a DRG of v34")
    return flow.keep(has, pl.len().over("drg") > 1, "of a DRG with two notes or more")


def own(rows: pl.DataFrame, labels: Labels, flow: Flow, sections: str, fewest: int) -> pl.DataFrame:
    """Keeps the notes of any hospital's file with a text and a label, in file order."""
    rows = flow.keep(rows.sort("row"), pl.col("words") > 0, f"with a text ({sections})")
    rows = flow.keep(rows, pl.col("words") >= fewest, f"of {fewest} words or more")
    rows = flow.keep(rows, pl.col("label").is_not_null(), "with a label")
    labelled = rows.join(labels.rows, on="label", how="left", maintain_order="left")
    return flow.keep(labelled, pl.col("drg").is_not_null(), "with a label of the cohort's kind")


def one_a_text(rows: pl.DataFrame, flow: Flow) -> pl.DataFrame:
    """Keeps one note a text, so that no copy is in two splits: of the test, else of validation, where splits are given.

    Copies with several labels keep the one that most of them have, or that of the first.
    """
    given = pl.col("split").replace_strict(_BEFORE, default=3, return_dtype=pl.Int8)
    ranked = rows.with_row_index("index").with_columns(
        copies=pl.len().over("digest", "drg"), before=given if "split" in rows.columns else pl.lit(0, pl.Int8)
    )
    best = ranked.sort("copies", "before", "index", descending=[True, False, False]).unique("digest", keep="first")
    labels = best.select("digest", label_kept="drg")
    labelled = rows.join(labels, on="digest", how="left", maintain_order="left")
    if several := labelled.filter(pl.col("drg") != pl.col("label_kept"))["digest"].n_unique():
        flow.remarks.append(
            f"{several:,} of {best.height:,} texts stand under several labels; each keeps that of most of its copies, "
            "or of the first"
        )
        labelled = flow.keep(
            labelled, pl.col("drg") == pl.col("label_kept"), "with the label of most copies of its text"
        )
    return flow.keep(
        labelled.drop("label_kept"), pl.col("row").is_in(best["row"].implode()), "without exact duplicates"
    )


_BEFORE = {"test": 0, "validation": 1, "train": 2}
"""Of copies in several splits the test keeps its own: a published test set stays what it was."""
