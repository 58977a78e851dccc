"""From MIMIC-IV's tables to a cohort, with a count at every exclusion."""

from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from src.cohort.mimic import DRG_CODES, NOTES, read_table
from src.cohort.sections import discharge_diagnosis, hospital_course
from src.cohort.split import split_of
from src.cohort.titles import resolve
from src.shell.errors import UserError
from src.shell.progress import track

FEWEST_WORDS = 41
"""The paper keeps notes of more than 40 words."""


@dataclass
class Flow:
    """How many notes each step left, and why the others went."""

    steps: list[dict[str, int | str]] = field(default_factory=list)

    def count(self, what: str, left: int) -> None:
        """Records what is left after a step."""
        before = int(self.steps[-1]["left"]) if self.steps else left
        self.steps.append({"step": what, "excluded": before - left, "left": left})

    def lines(self) -> list[str]:
        """The flow as people read it."""
        return [f"{step['left']:>9,}  {step['step']}  (-{step['excluded']:,})" for step in self.steps]


@dataclass(frozen=True)
class Shares:
    """How patients are split."""

    seed: int
    test: float
    validation: float


def build(folder: Path, shares: Shares) -> tuple[pl.DataFrame, Flow, dict[str, int]]:
    """The cohort's notes, the flow, and how often each rule decided a label.

    Raises:
        UserError: a table is missing or damaged, or no note is left.
    """
    flow = Flow()
    notes = _with_courses(read_table(folder, NOTES), flow)
    labels, how = _labels(read_table(folder, DRG_CODES))
    coded = notes.join(labels, on="hadm_id", how="inner")
    flow.count("with a row of type HCFA", coded.height)
    single = coded.filter(pl.col("drgs") == 1)
    flow.count("with one MS-DRG", single.height)
    known = single.filter(pl.col("drg").is_not_null())
    flow.count("with a description that names a DRG of v34", known.height)
    if known.is_empty():
        raise UserError(f"{folder}: no note is left; the counts were\n" + "\n".join(flow.lines()))
    patients = known["subject_id"].unique().to_list()
    split = {who: str(split_of(who, shares.seed, shares.test, shares.validation)) for who in patients}
    return (
        known.with_columns(split=pl.col("subject_id").replace_strict(split, return_dtype=pl.String)),
        flow,
        how,
    )


def _with_courses(table: pl.DataFrame, flow: Flow) -> pl.DataFrame:
    flow.count("discharge summaries", table.height)
    table = table.filter(pl.col("text").is_not_null()).sort("hadm_id", "note_id")
    texts = track(table["text"], total=table.height, what="hospital courses", unit="note")
    found = [(hospital_course(text), discharge_diagnosis(text) or "") for text in texts]
    courses = table.select("subject_id", "hadm_id").with_columns(
        text=pl.Series([course for course, _ in found], dtype=pl.String),
        diagnosis=pl.Series([diagnosis for _, diagnosis in found], dtype=pl.String),
    )
    courses = courses.filter(pl.col("text").is_not_null())
    flow.count("with a hospital course", courses.height)
    words = pl.col("text").str.extract_all(r"\S+").list.len()
    courses = courses.with_columns(words=words).filter(pl.col("words") >= FEWEST_WORDS)
    flow.count(f"of {FEWEST_WORDS} words or more", courses.height)
    courses = courses.unique("text", keep="first", maintain_order=True)
    flow.count("without exact duplicates", courses.height)
    courses = courses.unique("hadm_id", keep="first", maintain_order=True)
    flow.count("one an admission", courses.height)
    return courses


def _labels(rows: pl.DataFrame) -> tuple[pl.DataFrame, dict[str, int]]:
    """The DRG of each admission, how many different ones its rows name, and how rows were decided."""
    hcfa = rows.filter(pl.col("drg_type").str.strip_chars() == "HCFA").drop_nulls(["drg_code", "description"])
    pairs = hcfa.select("drg_code", "description").unique().sort("drg_code", "description")
    matches = [resolve(code, description) for code, description in pairs.iter_rows()]
    decided = pairs.with_columns(
        drg=pl.Series([match.drg.code if match.drg else None for match in matches], dtype=pl.String),
        how=pl.Series([match.how if match.drg else "not decided" for match in matches], dtype=pl.String),
    )
    hcfa = hcfa.join(decided, on=["drg_code", "description"], how="left")
    how = {str(name): int(count) for name, count in hcfa["how"].value_counts().sort("how").iter_rows()}
    # Two spellings of one DRG do not conflict; a row that names none conflicts with one that does.
    return (
        hcfa.group_by("hadm_id").agg(pl.col("drg").n_unique().alias("drgs"), pl.col("drg").sort().first()),
        how,
    )
