"""Fits saturating power laws to many resampled grids at once.

A loss, or one less a metric, is z = e + b x^-c, or e + b N^-c + d L^-f. Once the exponents are given the rest is linear
with e, b and d at least 0, so that the least squares are had in closed form: of the solutions with some of them held
at 0 that are feasible, the best. The exponents are found on a grid, and from there by steps of least squares.
"""

from collections.abc import Sequence
from functools import lru_cache
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares

EXPONENTS = (0.02, 2.0)
"""Bounds of c and f: below, a power law is a logarithm; above, it is a step."""

GRID = {1: 40, 2: 14}
"""Exponents tried along each of one or two dimensions, evenly in their logarithm."""

STEPS = {1: 1, 2: 4}
"""Of Gauss and Newton from the grid's best, over one or two dimensions."""

DAMPING = 1e-9
"""Of a step, relative to the trace: a term that is 0 has no slope."""


def curve(parameters: NDArray[np.float64], x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Evaluates the law at some points.

    Args:
        parameters: [R, 3] of (e, b, c), or [R, 5] of (e, b, c, d, f).
        x: [P, 1] or [P, 2], positive.

    Returns:
        [R, P].

    >>> curve(np.array([[0.5, 0.2, 1.0]]), np.array([[1.0], [2.0]])).tolist()
    [[0.7, 0.6]]
    """
    values = parameters[:, :1] + np.zeros((1, len(x)))
    for dimension in range(x.shape[1]):
        b, c = parameters[:, 1 + 2 * dimension, None], parameters[:, 2 + 2 * dimension, None]
        values = values + b * x[:, dimension] ** -c
    return values


def fit(x: NDArray[np.float64], z: NDArray[np.float64], first: bool = True) -> NDArray[np.float64]:
    """Fits the law of least squares through each of R sets of values at the same points.

    Args:
        x: [P, 1] or [P, 2], positive, about 1; at least as many points as terms.
        z: [R, P].
        first: the first row is fitted to scipy's precision; the others, which are resampled, by a few steps.

    Returns:
        [R, 3] of (e, b, c), or [R, 5] of (e, b, c, d, f).
    """
    steps = np.geomspace(*EXPONENTS, GRID[x.shape[1]])
    designs = _designs(x.tobytes(), *x.shape)
    # With an orthonormal basis Q the squares left are |z|^2 - |Q'z|^2: no array of R x E x P residuals is needed.
    left = np.full((len(z), len(steps) ** x.shape[1]), np.inf)
    size = (z**2).sum(1)[:, None]
    for inverse, basis in designs:
        feasible = (_times(z, inverse) >= 0).all(-1)
        left = np.where(feasible, np.minimum(left, size - (_times(z, basis) ** 2).sum(-1)), left)
    left = left.reshape(len(z), *[len(steps)] * x.shape[1])
    exponents = np.column_stack([_along(steps, left, dimension) for dimension in range(x.shape[1])])
    exponents, linear = _closer(x, z, exponents)
    pairs = [column for pair in zip(linear.T[1:], exponents.T, strict=True) for column in pair]
    parameters = np.column_stack([linear[:, 0], *pairs])
    if first:
        parameters[0] = _polished(x, z[0], parameters[0])
    return parameters


@lru_cache(maxsize=64)
def _designs(points: bytes, count: int, dimensions: int) -> list[tuple[NDArray[Any], NDArray[Any]]]:
    """Prepares for each choice of terms above 0 what solves for them, and an orthonormal basis, [E, P, k] each."""
    # Bytes, as an array has no hash: a fit, its draws and those of the other metrics share the same points.
    x = np.frombuffer(points).reshape(count, dimensions)
    exponents = np.array(list(product(np.geomspace(*EXPONENTS, GRID[dimensions]), repeat=dimensions)))
    columns = _columns(x, exponents)
    designs = [columns[..., terms] for terms in _subsets(columns.shape[-1])]
    return [(np.linalg.pinv(design).swapaxes(1, 2), np.linalg.qr(design)[0]) for design in designs]


def _times(z: NDArray[np.float64], matrices: NDArray[np.float64]) -> NDArray[np.float64]:
    """Multiplies z, [R, P], with E matrices, [E, P, k], to [R, E, k]."""
    count, points, terms = matrices.shape
    flat = matrices.transpose(1, 0, 2).reshape(points, -1)
    return np.asarray((z @ flat).reshape(len(z), count, terms))


def _along(steps: NDArray[np.float64], left: NDArray[np.float64], dimension: int) -> NDArray[np.float64]:
    """Picks one exponent of least error, by the parabola through the best step and its neighbours, [R]."""
    flat = left.reshape(len(left), -1).argmin(1)
    best = list(np.unravel_index(flat, left.shape[1:]))
    lowest, rows = best[dimension], np.arange(len(left))
    inside = np.clip(lowest, 1, len(steps) - 2)

    def error(step: int) -> NDArray[np.float64]:
        return np.asarray(
            left[rows, *[inside + step if axis == dimension else best[axis] for axis in range(len(best))]]
        )

    before, here, after = error(-1), error(0), error(1)
    bend = before - 2 * here + after
    # The steps are even in their logarithm, in which the parabola's lowest point is at most one step away.
    shift = np.divide(before - after, 2 * bend, out=np.zeros_like(bend), where=bend > 1e-300)
    moved = steps[inside] * (steps[1] / steps[0]) ** np.clip(shift, -1, 1)
    return np.asarray(np.where(lowest == inside, moved, steps[lowest]))


def _closer(
    x: NDArray[np.float64], z: NDArray[np.float64], exponents: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Improves each row's exponents by steps of Gauss and Newton, in which terms that are 0 stay 0.

    Returns:
        The exponents, [R, 1 or 2], and (e, b[, d]), [R, 2 or 3].
    """
    linear, left = _linear(x, z, exponents)
    logs = np.log(x)
    for _ in range(STEPS[x.shape[1]]):
        columns = _columns(x, exponents)
        # d(b x^-c)/dc = -b x^-c log x.
        slopes = -columns[..., 1:] * logs * linear[:, None, 1:]
        turn = np.concatenate([columns * (linear > 0)[:, None], slopes], -1)
        square = turn.swapaxes(1, 2) @ turn
        # Where every term is 0, as of a metric that is 1 everywhere, there is nothing to solve, and no step.
        scale = np.maximum(np.trace(square, axis1=1, axis2=2), 1e-100)
        square += DAMPING * np.eye(square.shape[-1]) * scale[:, None, None]
        off = z - (columns @ linear[..., None])[..., 0]
        moves = np.linalg.solve(square, (turn.swapaxes(1, 2) @ off[..., None]))[..., 0][:, linear.shape[1] :]
        # A full step may overshoot or fall short; of it and a further quarter a row keeps what lowers its error.
        for part in (1.0, 0.25):
            tried = np.clip(exponents + part * moves, *EXPONENTS)
            solved, remains = _linear(x, z, tried)
            better = remains < left
            exponents, linear = np.where(better[:, None], tried, exponents), np.where(better[:, None], solved, linear)
            left = np.where(better, remains, left)
    return exponents, linear


def _linear(
    x: NDArray[np.float64], z: NDArray[np.float64], exponents: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Solves for each row's (e, b[, d]), [R, 2 or 3], given its exponents; also returns the squared error left, [R]."""
    columns = _columns(x, exponents)
    least, linear = np.full(len(z), np.inf), np.zeros((len(z), columns.shape[-1]))
    for terms in _subsets(columns.shape[-1]):
        some = columns[..., terms]
        turned = some.swapaxes(1, 2)
        solved = np.linalg.solve(turned @ some, turned @ z[..., None])[..., 0]
        left = (((some @ solved[..., None])[..., 0] - z) ** 2).sum(-1)
        better = np.flatnonzero((solved >= 0).all(-1) & (left < least))
        least[better] = left[better]
        linear[better] = 0
        linear[better[:, None], terms] = solved[better]
    return linear, least


def _polished(x: NDArray[np.float64], z: NDArray[np.float64], start: NDArray[np.float64]) -> NDArray[np.float64]:
    """Refines the law by scipy's bounded least squares over all of its numbers, where that is better."""
    low, high = np.zeros(len(start)), np.full(len(start), np.inf)
    low[2::2], high[2::2] = EXPONENTS

    def off(numbers: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(curve(numbers[None], x)[0] - z)

    # The trust-region method starts strictly inside its bounds, where terms of 0 are not; its cost is half the squares.
    inside = np.clip(start, low + 1e-9, high - 1e-9)
    polished = least_squares(off, inside, bounds=(low, high), xtol=1e-10, ftol=1e-12, gtol=1e-12, max_nfev=200)
    return np.asarray(polished.x) if 2 * polished.cost < (off(start) ** 2).sum() else start


def _columns(x: NDArray[np.float64], exponents: NDArray[np.float64]) -> NDArray[np.float64]:
    """Builds what e, b and d are multiplied with, [E, P, 2 or 3]."""
    powers = [x[:, dimension] ** -exponents[:, dimension, None] for dimension in range(x.shape[1])]
    return np.stack([np.ones((len(exponents), len(x))), *powers], -1)


def _subsets(count: int) -> Sequence[list[int]]:
    """Lists the choices of terms that may be above 0, all of them first, never none."""
    choices = product((True, False), repeat=count)
    return [[term for term, on in enumerate(choice) if on] for choice in choices if any(choice)]
