import numpy as np
import pytest
from scipy.stats import t as student

from src.coding_study.crossed import SHORTEST, effect_of, mean_of
from src.coding_study.simulated_coders import simulate
from src.metrics.intervals import Z
from tests.coding_study.made_log import ASSUMED, made_allocation

CODERS, CASES = np.repeat(np.arange(5), 8), np.tile(np.arange(8), 5)


def test_variances_of_a_whole_table_are_those_of_two_way_anova() -> None:
    values = np.random.default_rng(1).normal(size=(5, 8)) + np.arange(5)[:, None] + np.arange(8) / 3
    rest = values - values.mean(1, keepdims=True) - values.mean(0) + values.mean()
    chance = (rest**2).sum() / 28
    between = [values.mean(1).var(ddof=1) - chance / 8, values.mean(0).var(ddof=1) - chance / 5]
    variances = mean_of(CODERS, CASES).variances(values.reshape(-1, 1))[:, 0]
    assert variances == pytest.approx([*between, chance])


def test_the_interval_of_a_mean_counts_coders_by_their_number() -> None:
    values = np.repeat(np.random.default_rng(2).normal(size=5), 8)
    estimate = mean_of(CODERS, CASES).interval(values)
    reach = student.ppf(0.975, 4) * values[::8].std(ddof=1) / 5**0.5
    assert (estimate.value, estimate.high - estimate.value) == pytest.approx((values.mean(), reach))


def test_the_effect_is_that_of_least_squares_with_coders_cases_and_period() -> None:
    readings = made_allocation(coders=5, cases=12).readings()
    seconds, _ = simulate(readings, ASSUMED, 1, np.random.default_rng(0))
    columns = [np.eye(5)[readings.coders], np.eye(12)[readings.cases], readings.late, readings.assisted]
    solved = np.linalg.lstsq(np.column_stack(columns), seconds[:, 0])[0][-1]
    effect = effect_of(readings.coders, readings.cases, readings.assisted, readings.late)
    assert effect is not None
    assert effect.interval(seconds[:, 0]).value == pytest.approx(solved)


def test_learning_is_not_taken_for_an_effect() -> None:
    readings = made_allocation(coders=5, cases=12).readings()
    effect = effect_of(readings.coders, readings.cases, readings.assisted, readings.late)
    assert effect is not None
    assert effect.interval(-3 * readings.late).value == pytest.approx(0, abs=1e-9)


def test_an_effect_that_is_the_period_is_none() -> None:
    readings = made_allocation(coders=5, cases=12).readings()
    assert effect_of(readings.coders, readings.cases, readings.late, readings.late) is None


@pytest.mark.parametrize("cases_each", [None, 10])
def test_intervals_hold_the_true_effects_of_simulated_coders(cases_each: int | None) -> None:
    readings = made_allocation(8, 20 if cases_each is None else 80, cases_each).readings()
    seconds, right = simulate(readings, ASSUMED, 500, np.random.default_rng(3))
    effect = effect_of(readings.coders, readings.cases, readings.assisted, readings.late)
    assert effect is not None
    for values, true in ((seconds, np.log(ASSUMED.ratio)), (right, ASSUMED.gain)):
        value, reach = effect.estimates(values)
        assert abs(value.mean() - true) < 0.01
        assert 0.91 < np.mean(np.abs(value - true) <= reach) < 0.985


def test_a_share_of_which_all_are_alike_has_an_interval_of_as_many_as_coders() -> None:
    estimate = mean_of(CODERS, CASES).share(np.ones(40))
    assert (estimate.value, estimate.high) == (1.0, 1.0)
    assert estimate.low == pytest.approx(0.566, abs=0.001)  # Wilson's of 5 out of 5


def test_a_single_coder_gives_a_value_without_an_interval() -> None:
    single = mean_of(["ann"] * 6, range(6))
    assert not single.share(np.array([1.0, 0, 0, 1, 1, 0])).bounded
    assert not single.interval(np.arange(6.0)).bounded


def test_two_coders_who_change_arms_show_an_effect_without_an_interval() -> None:
    readings = made_allocation(coders=2, cases=12).readings()
    effect = effect_of(readings.coders, readings.cases, readings.assisted, readings.late)
    assert effect is not None
    estimate = effect.interval(np.random.default_rng(4).normal(size=24))
    assert np.isfinite(estimate.value)
    assert not estimate.bounded


def test_an_interval_keeps_a_length_where_coders_and_cases_differ_less_than_by_chance() -> None:
    signs = np.where((CODERS + CASES) % 2, 1.0, -1.0)  # each coder's and each case's mean is nothing
    effect = mean_of(CODERS[:32], CASES[:32])
    value, reach = effect.estimates(signs[:32, None])
    variances = effect.variances(signs[:32, None])[:, 0]
    assert max(variances[:2]) < 0 < variances[2]
    assert (value[0], reach[0]) == pytest.approx((0, SHORTEST * Z * (variances[2] / 32) ** 0.5))
