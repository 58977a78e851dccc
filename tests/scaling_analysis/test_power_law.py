import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import curve_fit

from src.scaling_analysis.power_law import EXPONENTS, curve, fit

SIZES = np.array([0.3, 0.8, 1.0, 3.3])[:, None]
GRID = np.array([(size, length) for size in (0.3, 1.0, 3.3) for length in (0.5, 1.0, 2.0)])


@pytest.mark.parametrize("truth", [(0.3, 0.2, 0.4), (0.0, 0.5, 0.1), (0.1, 0.3, 1.7)])
def test_a_law_is_found_from_its_points(truth: tuple[float, ...]) -> None:
    assert fit(SIZES, curve(np.array([truth]), SIZES))[0] == pytest.approx(truth, abs=1e-4)


@pytest.mark.parametrize("truth", [(0.3, 0.2, 0.4, 0.1, 0.8), (0.2, 0.05, 1.2, 0.4, 0.3)])
def test_a_law_of_size_and_length_is_found_from_a_grid(truth: tuple[float, ...]) -> None:
    assert fit(GRID, curve(np.array([truth]), GRID))[0] == pytest.approx(truth, abs=1e-3)


@pytest.mark.parametrize("points", [SIZES, GRID])
def test_a_metric_that_is_1_everywhere_leaves_nothing_to_a_law(points: NDArray[np.float64]) -> None:
    parameters = fit(points, np.zeros((3, len(points))))
    assert curve(parameters, points) == pytest.approx(np.zeros((3, len(points))), abs=1e-9)


def test_a_fit_leaves_as_little_as_scipy_s_own() -> None:
    dice = np.random.default_rng(0)
    points = np.geomspace(0.2, 5, 7)
    for _ in range(10):
        z = 0.3 + 0.2 * points**-0.5 + dice.normal(0, 0.01, 7)
        found = fit(points[:, None], z[None])[0]
        low, high = (0, 0, EXPONENTS[0]), (np.inf, np.inf, EXPONENTS[1])
        other, _ = curve_fit(lambda x, e, b, c: e + b * x**-c, points, z, (0.3, 0.2, 0.5), bounds=(low, high))
        mine, its = (((curve(np.array([each]), points[:, None])[0] - z) ** 2).sum() for each in (found, other))
        assert mine <= its * (1 + 1e-6)


def test_resampled_rows_are_fitted_nearly_as_well_as_the_first() -> None:
    dice = np.random.default_rng(1)
    z = curve(np.array([[0.3, 0.2, 0.4, 0.1, 0.8]]), GRID) + dice.normal(0, 0.003, (40, 9))
    together, excess = fit(GRID, z), []
    for row, told in zip(z[1:], together[1:], strict=True):
        alone = fit(GRID, row[None])[0]
        left, least = (((curve(np.array([each]), GRID)[0] - row) ** 2).sum() for each in (told, alone))
        excess.append(left / least - 1)
    assert np.median(excess) < 0.01
    assert max(excess) < 0.1


def test_values_that_do_not_fall_are_fitted_by_a_constant() -> None:
    assert fit(SIZES, np.array([[0.2, 0.3, 0.3, 0.4]]))[0, :2] == pytest.approx((0.3, 0.0), abs=1e-6)


def test_no_number_leaves_its_bounds() -> None:
    dice = np.random.default_rng(2)
    found = fit(GRID, dice.uniform(0, 1, (200, 9)))
    assert (found >= 0).all()
    assert (found[:, 2::2] >= EXPONENTS[0] * (1 - 1e-9)).all()
    assert (found[:, 2::2] <= EXPONENTS[1] * (1 + 1e-9)).all()
