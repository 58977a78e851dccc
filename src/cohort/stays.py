"""Reads when admissions began and ended, and which emergency stays led to them."""

import polars as pl

from src.cohort.chart_tables import Tables, rows_of


def read_stays(tables: Tables, rows: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Reads every admission of the patients of `rows`, and the emergency stays of those admissions.

    Returns:
        The admissions, each once, with their times, `start` (hour 0: edregtime, else admittime) and `triaged` (when
        their first emergency stay began); and the stays as `hadm_id`, `stay_id` and `intime`.

    Raises:
        UserError: a table is damaged.
    """
    stays = pl.concat(rows_of(tables, ("hosp", "admissions"), rows.select("subject_id").unique()))
    stays = stays.unique("hadm_id", keep="first", maintain_order=True)
    stays = stays.with_columns(start=pl.coalesce("edregtime", "admittime"))
    visits = pl.concat(rows_of(tables, ("ed", "edstays"), stays.select("hadm_id")))
    visits = visits.drop_nulls("intime").unique("stay_id", keep="first", maintain_order=True)
    first = visits.group_by("hadm_id").agg(pl.col("intime").min().alias("triaged"))
    return stays.join(first, "hadm_id", how="left"), visits


def beginnings(stays: pl.DataFrame) -> pl.DataFrame:
    """Lists the admissions with times by their `begin`: the first emergency stay, where that is earlier."""
    begun = stays.drop_nulls(["start", "dischtime"]).select(
        "subject_id", "dischtime", begin=pl.min_horizontal("start", "triaged"), within="hadm_id"
    )
    return begun.sort("begin")


def with_admission(reports: pl.DataFrame, begun: pl.DataFrame) -> pl.DataFrame:
    """Gives each report without `hadm_id` the patient's admission during which it was charted, at most one.

    Of admissions that overlap it is the one that began last; a report of no admission stays without.

    Args:
        reports: with `subject_id`, `hadm_id` and `charttime`.
        begun: what `beginnings` gives of the admissions.
    """
    own = begun.join(reports.select("subject_id"), "subject_id", how="semi", maintain_order="left")
    placed = reports.sort("charttime", maintain_order=True).join_asof(
        own, left_on="charttime", right_on="begin", by="subject_id", check_sortedness=False
    )
    within = pl.when(pl.col("charttime") <= pl.col("dischtime")).then("within")
    return placed.with_columns(hadm_id=pl.coalesce("hadm_id", within)).drop("begin", "dischtime", "within")
