import numpy as np
import polars as pl
import pytest
from sklearn.metrics import cohen_kappa_score

from src.coding_study.agreement import cohens_kappa, fleiss_kappa

FLEISS = [
    (0, 0, 0, 0, 14), (0, 2, 6, 4, 2), (0, 0, 3, 5, 6), (0, 3, 9, 2, 0), (2, 2, 8, 1, 1), (7, 7, 0, 0, 0),
    (3, 2, 6, 3, 0), (2, 5, 3, 2, 2), (6, 5, 2, 1, 0), (0, 2, 2, 3, 7),
]  # fmt: skip
"""Raters of each of ten subjects by category: a table whose kappa is known to be 0.210."""


def table() -> pl.DataFrame:
    rows = []
    for case, counts in enumerate(FLEISS):
        decided = np.repeat(np.arange(5), counts)
        rows += [(str(case), f"coder {rater}", f"{drg + 1:03d}") for rater, drg in enumerate(decided)]
    return pl.DataFrame(rows, schema=["case", "coder", "decided"], orient="row")


def drawn(count: int) -> pl.DataFrame:
    draw = np.random.default_rng(count)
    right = draw.integers(4, size=count)
    decided = np.where(draw.random(count) < 0.7, right, draw.integers(4, size=count))
    return pl.DataFrame({"decided": decided, "adjudicated": right}).cast(pl.String)


def test_fleiss_kappa_of_a_known_table() -> None:
    value, rows = fleiss_kappa(table())
    assert value == pytest.approx(0.210, abs=0.0005)
    assert rows["pseudovalue"].to_numpy().mean() == pytest.approx(value)


def test_cases_with_one_coder_do_not_count() -> None:
    lonely = pl.DataFrame({"case": ["x"], "coder": ["coder 0"], "decided": ["999"]})
    assert fleiss_kappa(pl.concat([table(), lonely]))[0] == fleiss_kappa(table())[0]
    value, rows = fleiss_kappa(lonely)
    assert np.isnan(value)
    assert rows.is_empty()


def test_fleiss_kappa_with_one_drg_alone_is_none() -> None:
    value, rows = fleiss_kappa(table().with_columns(decided=pl.lit("193")))
    assert np.isnan(value)
    assert rows.is_empty()


def test_two_coders_have_a_kappa_without_an_interval() -> None:
    value, rows = fleiss_kappa(table().filter(pl.col("coder").is_in(["coder 0", "coder 13"])))
    assert np.isfinite(value)
    assert rows["pseudovalue"].is_nan().all()


def test_cohens_kappa_is_the_known_one() -> None:
    rows = drawn(300)
    value, moved = cohens_kappa(rows)
    assert value == pytest.approx(cohen_kappa_score(rows["decided"].to_list(), rows["adjudicated"].to_list()))
    assert moved["pseudovalue"].to_numpy().mean() == pytest.approx(value)


def test_cohens_kappa_with_one_drg_alone_is_none() -> None:
    value, rows = cohens_kappa(pl.DataFrame({"decided": ["193", "193"], "adjudicated": ["193", "193"]}))
    assert np.isnan(value)
    assert rows.is_empty()
    halves = pl.DataFrame({"decided": ["1", "1", "2", "2"], "adjudicated": ["1", "2", "2", "1"]})
    assert cohens_kappa(halves)[0] == pytest.approx(0)


def test_a_reading_moves_cohens_kappa_by_what_leaving_it_out_changes() -> None:
    rows = drawn(300).with_row_index("row")
    value, moved = cohens_kappa(rows)
    without = np.array([cohens_kappa(rows.filter(pl.col("row") != row))[0] for row in range(300)])
    assert moved["pseudovalue"].to_numpy() - value == pytest.approx(299 * (value - without), abs=0.02)


def test_a_case_moves_fleiss_kappa_by_what_leaving_it_out_changes() -> None:
    rows = pl.concat([table().with_columns(case=pl.format("{}-{}", "case", pl.lit(copy))) for copy in range(20)])
    value, moved = fleiss_kappa(rows)
    cases = moved.group_by("case", maintain_order=True).agg(pl.col("pseudovalue").mean())
    without = np.array([fleiss_kappa(rows.filter(pl.col("case") != case))[0] for case in cases["case"]])
    assert cases["pseudovalue"].to_numpy() - value == pytest.approx(199 * (value - without), abs=0.02)
