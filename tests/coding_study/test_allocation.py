import polars as pl
import pytest

from src.coding_study.allocation import allocate, pair_up
from tests.coding_study.made_log import made_allocation, made_cases


def test_a_coder_reads_no_case_twice_and_half_of_them_in_each_arm_and_period() -> None:
    rows = made_allocation(coders=7, cases=20).rows
    assert rows.height == 140
    assert not rows.select("coder", "case").is_duplicated().any()
    for _, own in rows.group_by("coder"):
        assert own.group_by("period", "arm").len()["len"].to_list() == [10, 10]
        assert own["arm"].n_unique() == own["period"].n_unique() == 2
        assert own["order"].sort().to_list() == list(range(1, 21))
        assert own.sort("order")["period"].is_sorted()


@pytest.mark.parametrize("coders", [6, 7])
def test_arms_are_balanced_over_coders_periods_and_cases(coders: int) -> None:
    rows = made_allocation(coders, cases=20).rows
    first = rows.filter(pl.col("period") == 1).unique("coder")["arm"].value_counts()["count"].to_list()
    assert abs(first[0] - first[1]) <= coders % 2
    by_case = rows.group_by("case").agg((pl.col("arm") == "assisted").sum().alias("assisted"))["assisted"]
    assert set(by_case) <= {coders // 2, coders - coders // 2}


def test_each_coders_arms_are_alike_in_mdc_and_length() -> None:
    rows = made_allocation(coders=5, cases=60).rows
    for _, own in rows.group_by("coder"):
        by_mdc = own.group_by("mdc").agg(((pl.col("arm") == "assisted").cast(pl.Int64) * 2 - 1).sum().alias("more"))
        assert by_mdc["more"].abs().max() <= 1
        words = own.group_by("arm").agg(pl.col("words").mean())["words"]
        assert abs(words[0] - words[1]) < 0.25 * words.mean()


def test_pairs_are_of_one_mdc_but_for_what_is_left_over() -> None:
    cases = pl.DataFrame({"id": list("abcdefg"), "words": [1, 9, 2, 8, 5, 5, 7], "mdc": list("1122233")})
    assert pair_up(cases) == [[0, 1], [2, 4], [5, 6], [3]]


def test_the_seed_decides_and_nothing_else() -> None:
    assert made_allocation(seed=4).rows.equals(made_allocation(seed=4).rows)
    assert not made_allocation(seed=4).rows.equals(made_allocation(seed=5).rows)


def test_fewer_cases_each_are_spread_evenly_over_all() -> None:
    rows = made_allocation(coders=9, cases=30, cases_each=10).rows
    assert rows.group_by("coder").len()["len"].to_list() == [10] * 9
    assert rows.group_by("case").len()["len"].to_list() == [3] * 30


def test_an_odd_case_is_read_as_often_in_each_arm() -> None:
    rows = allocate(made_cases(9), ["a", "b", "c", "d"], None, 0).rows
    by_case = rows.group_by("case").agg((pl.col("arm") == "assisted").sum().alias("assisted"))["assisted"]
    assert by_case.to_list() == [2] * 9
