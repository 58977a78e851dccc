import numpy as np
import pytest

from src.coding_study.simulated_coders import simulate
from tests.coding_study.made_log import ASSUMED, made_allocation


def test_what_is_assumed_is_what_is_simulated() -> None:
    readings = made_allocation(10, 30).readings()
    seconds, right = simulate(readings, ASSUMED, 2_000, np.random.default_rng(0))
    assisted, late = readings.assisted == 1, readings.late == 1
    assert np.exp(seconds[~assisted].mean()) == pytest.approx(ASSUMED.seconds, rel=0.02)
    assert np.exp(seconds[assisted].mean() - seconds[~assisted].mean()) == pytest.approx(ASSUMED.ratio, rel=0.01)
    assert np.exp(seconds[late].mean() - seconds[~late].mean()) == pytest.approx(ASSUMED.learning, rel=0.01)
    assert right[~assisted].mean() == pytest.approx(ASSUMED.accuracy, abs=0.01)
    assert right[assisted].mean() == pytest.approx(ASSUMED.accuracy + ASSUMED.gain, abs=0.01)
