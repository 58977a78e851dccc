"""Slices show for whom a model works: accuracy by sex, age, race, insurance, language, admission, risk of mortality."""

import math
from typing import Any

import numpy as np
import polars as pl

from src.cohort.apr import MORTALITY
from src.cohort.disclosure import MIN_GROUP_PATIENTS
from src.evaluation.groups import banded, by_group, gap
from src.metrics.intervals import holm

AGES = ((0, 17), (18, 44), (45, 64), (65, 74), (75, 84), (85, 10**9))
"""Years."""

RACES = {"WHITE": "white", "BLACK": "Black", "HISPANIC": "Hispanic", "ASIAN": "Asian"}
"""MIMIC-IV's 33 values by their beginning; the others are one group, unknown ones another."""

UNKNOWN = ("UNKNOWN", "UNABLE TO OBTAIN", "PATIENT DECLINED TO ANSWER", "?", "")


def slice_table(notes: pl.DataFrame) -> pl.DataFrame:
    """Measures each group of each attribute, a row each: counts, top-1 and top-5, the gap in top-1, and its p.

    A gap is the group's accuracy less that of all other notes with that attribute, its interval by patient, those
    counted once who have notes on both sides. `p_holm` is corrected over every gap of the table. Groups of fewer
    than 10 patients are named only, and so are others from which those could be told by subtraction; of an
    attribute's two groups the first has the gap of both.

    Args:
        notes: what `src.evaluation.prediction_table.prediction_table` gives; an attribute that it lacks is left out.
    """
    parts = [_gaps(notes, attribute, group) for attribute, group in _attributes(notes).items()]
    table = pl.concat(parts) if parts else pl.DataFrame()
    if table.is_empty():
        return table
    corrected = holm(table["p"].fill_null(math.nan).to_list())
    return table.with_columns(p_holm=pl.Series(corrected, dtype=pl.Float64).fill_nan(None))


def _attributes(notes: pl.DataFrame) -> dict[str, pl.Expr]:
    groups = {
        "sex": pl.col("sex"),
        "age": banded(AGES, "age"),
        "race": _race(),
        "insurance": _or_unknown("insurance"),
        "language": pl.when(pl.col("language").str.to_uppercase() == "ENGLISH")
        .then(pl.lit("English"))
        .when(pl.col("language").is_not_null())
        .then(pl.lit("not English")),
        "admission_type": _or_unknown("admission_type"),
        MORTALITY: pl.col(MORTALITY),
    }
    return {name: group for name, group in groups.items() if name in notes.columns and notes[name].count()}


def _gaps(notes: pl.DataFrame, attribute: str, group: pl.Expr) -> pl.DataFrame:
    grouped = notes.with_columns(group.cast(pl.String).alias("group"))
    table, named = by_group(grouped, "group"), grouped.filter(pl.col("group").is_not_null())
    right, patients = named["right"].to_numpy().astype(np.float64), named["subject_id"].to_numpy()
    gaps = []
    for index, (name, count) in enumerate(table.select("group", "patients").iter_rows()):
        inside = (named["group"] == name).to_numpy()
        mirrored = table.height == 2 and index == 1
        enough = (
            count is not None and not mirrored and named.filter(~inside)["subject_id"].n_unique() >= MIN_GROUP_PATIENTS
        )
        difference = gap(right, inside, patients) if enough else None
        gaps.append((difference.value, difference.low, difference.high, difference.p) if difference else (None,) * 4)
    columns = dict.fromkeys(("gap", "gap_low", "gap_high", "p"), pl.Float64)
    differences = pl.DataFrame(gaps, schema=columns, orient="row")
    return pl.concat([table, differences], how="horizontal").select(pl.lit(attribute).alias("attribute"), pl.all())


def _race() -> pl.Expr:
    text = pl.col("race").str.to_uppercase().str.strip_chars()
    race: Any = pl.when(text.is_in(UNKNOWN)).then(pl.lit("unknown"))
    for start, name in RACES.items():
        race = race.when(text.str.starts_with(start)).then(pl.lit(name))
    named: pl.Expr = race.when(text.is_not_null()).then(pl.lit("other"))
    return named


def _or_unknown(column: str) -> pl.Expr:
    text = pl.col(column)
    return pl.when(text.is_in(UNKNOWN)).then(pl.lit("unknown")).otherwise(text)
