"""Error analysis counts which DRGs fail, how, and on which notes; every table is from the predicted notes alone."""

import polars as pl

from src.evaluation.groups import banded, by_group

BANDS = ((0, 0), (1, 2), (3, 5), (6, 10), (11, 25), (26, 100), (101, 10**9))
"""Training notes of a DRG: few to many."""

WORDS = ((0, 99), (100, 199), (200, 399), (400, 599), (600, 999), (1000, 10**9))
"""Words of a note."""

CONFUSIONS = 50
"""Pairs of DRGs that are listed."""


def error_tables(notes: pl.DataFrame) -> dict[str, pl.DataFrame]:
    """Makes all tables, by the name of their file; those that need base DRGs are left out for a hospital's own labels.

    Args:
        notes: what `src.evaluation.prediction_table.prediction_table` gives.
    """
    tables = {"by_training_notes": by_training_notes(notes), "by_words": by_band(notes, "words", WORDS)}
    if "cut" in notes.columns:
        named = pl.when("cut").then(pl.lit("cut")).otherwise(pl.lit("whole")).alias("note")
        tables["by_cut"] = by_group(notes.with_columns(named), "note")
    tables["confusions"] = confusions(notes).head(CONFUSIONS)
    if notes["drg_base_drg"].is_null().all():
        return tables
    kinds = {"M": "medical", "P": "surgical"}
    typed = notes.with_columns(
        pl.col("drg_type").replace_strict(kinds, default=None).alias("type"),
        pl.col("drg_mdc").replace("", "none").alias("mdc"),
        pl.col("drg_severity").alias("severity"),
    )
    tables |= {f"by_{of}": by_group(typed, of) for of in ("mdc", "type", "severity")}
    tables["kinds_of_error"] = kinds_of_error(notes)
    tables["costly_confusions"] = costly_confusions(notes).head(CONFUSIONS)
    return tables


def by_band(notes: pl.DataFrame, column: str, bands: tuple[tuple[int, int], ...]) -> pl.DataFrame:
    """Measures accuracy by ranges of a whole number, few to many."""
    return by_group(notes.with_columns(banded(bands, column)), column)


def by_training_notes(notes: pl.DataFrame) -> pl.DataFrame:
    """Measures accuracy by how many training notes the DRG had, with the DRGs of the band and their macro-F1.

    F1 counts wrong predictions of the band's DRGs too, wherever the note belongs.
    """
    true = notes.group_by("drg").agg(
        pl.len().alias("true"), pl.col("right").sum().alias("hits"), pl.col("training_notes").first()
    )
    predictions = notes.group_by(pl.col("predicted").alias("drg")).agg(pl.len().alias("predictions"))
    by_drg = true.join(predictions, "drg", how="left").with_columns(
        f1=2 * pl.col("hits") / (pl.col("true") + pl.col("predictions").fill_null(0))
    )
    band = banded(BANDS, "training_notes")
    means = by_drg.group_by(band).agg(pl.len().alias("drgs"), pl.col("f1").mean().alias("macro_f1"))
    table = by_band(notes, "training_notes", BANDS).join(means, "training_notes", how="left", maintain_order="left")
    return table.with_columns(pl.when(pl.col("patients").is_not_null()).then(pl.col("drgs", "macro_f1")))


def kinds_of_error(notes: pl.DataFrame) -> pl.DataFrame:
    """Counts notes by what was right: the DRG, the base DRG alone, the severity alone, the MDC alone, nothing.

    A base DRG without CC/MCC states has the severity `none`, which is right where both have none. APR-DRGs have no
    MDC that could be right.
    """
    base = pl.col("drg_base_drg") == pl.col("predicted_base_drg")
    severity = pl.col("drg_severity") == pl.col("predicted_severity")
    mdc = pl.col("drg_mdc") == pl.col("predicted_mdc")
    kind = (
        pl.when("right")
        .then(pl.lit("DRG right"))
        .when(base)
        .then(pl.lit("base DRG right, severity wrong"))
        .when(severity & mdc)
        .then(pl.lit("severity and MDC right, base DRG wrong"))
        .when(severity)
        .then(pl.lit(f"severity right, {'MDC' if notes['drg_mdc'].count() else 'base DRG'} wrong"))
        .when(mdc)
        .then(pl.lit("MDC right, base DRG and severity wrong"))
        .otherwise(pl.lit("nothing right"))
    )
    patients = pl.col("subject_id").n_unique().alias("patients")
    counted = notes.group_by(kind.alias("what"), maintain_order=True).agg(patients, pl.len().alias("notes"))
    return counted.with_columns(share=pl.col("notes") / notes.height).sort("notes", descending=True)


def confusions(notes: pl.DataFrame) -> pl.DataFrame:
    """Counts pairs of true and predicted DRG, the commonest first, and says how near the two are to each other."""
    total = notes.group_by("drg").agg(pl.len().alias("notes_of_drg"))
    near = (
        pl.when(pl.col("drg_base_drg") == pl.col("predicted_base_drg"))
        .then(pl.lit("same base DRG"))
        .when((pl.col("drg_mdc") == pl.col("predicted_mdc")) & (pl.col("drg_type") == pl.col("predicted_type")))
        .then(pl.lit("same MDC and type"))
        .when(pl.col("drg_mdc") == pl.col("predicted_mdc"))
        .then(pl.lit("same MDC"))
        .otherwise(pl.when(pl.col("drg_mdc").is_not_null()).then(pl.lit("another MDC")))
    )
    pair = ["drg", "predicted", "drg_title", "predicted_title"]
    wrong = notes.filter(~pl.col("right")).with_columns(near.alias("nearness"))
    counted = wrong.group_by(*pair, "nearness").agg(
        pl.col("subject_id").n_unique().alias("patients"),
        pl.len().alias("notes"),
        (pl.col("predicted_weight") - pl.col("drg_weight")).first().alias("weight_error"),
    )
    shares = counted.join(total, "drg").with_columns(share_of_drg=pl.col("notes") / pl.col("notes_of_drg"))
    return shares.sort(["notes", "drg", "predicted"], descending=[True, False, False])


def costly_confusions(notes: pl.DataFrame) -> pl.DataFrame:
    """Sorts pairs of true and predicted DRG by what they shift in all: notes times the error in relative weight."""
    shifted = confusions(notes).drop_nulls("weight_error")
    weighted = shifted.with_columns(weight_shifted=pl.col("notes") * pl.col("weight_error"))
    return weighted.sort(pl.col("weight_shifted").abs(), descending=True, maintain_order=True)
