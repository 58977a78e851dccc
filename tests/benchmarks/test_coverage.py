import numpy as np
import pytest

from src.benchmarks.coverage import POPULATIONS, draw_test_set, mean_metrics, trial


def test_patients_come_back_and_two_models_are_equally_good() -> None:
    draw = np.random.default_rng(0)
    tests = [draw_test_set(POPULATIONS[2], draw) for _ in range(20)]
    assert all(len(test.target) > len(set(test.patients)) for test in tests)
    right = np.array([[(chosen == test.target).mean() for chosen in test.predicted] for test in tests])
    assert abs(right[:, 0].mean() - right[:, 1].mean()) < 0.01


@pytest.mark.slow
def test_percentiles_miss_macro_f1_on_a_long_tail_where_ours_holds_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("src.benchmarks.coverage.FOR_THE_MEAN", 600)
    population = POPULATIONS[4]
    means = mean_metrics(population)
    held = np.array([trial(population, means, 200, seed)["macro_f1"][:3] for seed in range(40)]).mean(0)
    percentile, _, ours = held
    assert percentile < 0.4
    assert ours > 0.82
