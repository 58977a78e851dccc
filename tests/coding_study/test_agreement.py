import numpy as np
import polars as pl
import pytest

from src.coding_study.agreement import jackknife, kappa_between, kappa_with_adjudicated

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


def test_fleiss_kappa_of_a_known_table() -> None:
    assert kappa_between(table()) == pytest.approx(0.210, abs=0.0005)


def test_cases_with_one_coder_do_not_count() -> None:
    lonely = pl.DataFrame({"case": ["x"], "coder": ["coder 0"], "decided": ["999"]})
    assert kappa_between(pl.concat([table(), lonely])) == kappa_between(table())
    assert np.isnan(kappa_between(lonely))


def test_cohens_kappa_with_one_drg_alone_is_none() -> None:
    rows = pl.DataFrame({"decided": ["193", "193"], "adjudicated": ["193", "193"]})
    assert np.isnan(kappa_with_adjudicated(rows))
    halves = pl.DataFrame({"decided": ["1", "1", "2", "2"], "adjudicated": ["1", "2", "2", "1"]})
    assert kappa_with_adjudicated(halves) == pytest.approx(0)


def test_a_jackknifed_mean_has_the_errors_of_coders_and_cases() -> None:
    rows = pl.DataFrame({"coder": ["a", "a", "b", "b"], "case": ["1", "2", "1", "2"], "value": [0.1, 0.1, 0.3, 0.3]})
    estimate = jackknife(rows, lambda kept: float(kept["value"].to_numpy().mean()))
    assert estimate.value == pytest.approx(0.2)
    assert estimate.value - estimate.low == pytest.approx(12.706 * 0.1, rel=1e-4)
