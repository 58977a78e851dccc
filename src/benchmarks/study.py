"""Counts how often the intervals of a study of coders hold the truth, on simulated coders: few of them, few cases.

`python -m src.benchmarks.study [studies=400] [rounds=200]` simulates studies as `src.study plan` allocates them, in
populations where assistance helps every coder on every case alike, not quite alike, and very differently. Every true
effect is known in closed form. Beside this project's interval stand that of Satterthwaite's degrees of freedom over
the same variances, the pigeonhole bootstrap's percentiles (Owen 2007: coders and cases drawn anew, each with all
readings), and Student's over each coder's own difference.
"""

import sys
import time
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import polars as pl
from scipy.stats import t as student

from src.benchmarks.settings import read_settings
from src.cli.command import report_user_errors
from src.cli.progress import minutes
from src.coding_study.allocation import Arm, allocate
from src.coding_study.crossed import Array, Crossed, effect_of, mean_of, members
from src.coding_study.simulated_coders import Assumptions, Readings, simulate
from src.coding_study.study_results import Outcomes, medians

USUAL = Assumptions(600, 0.8, 0.9, 0.3, 0.4, 0.15, 0.4, 0.7, 0.1, 0.3, 0.8, 0.3)
POPULATIONS: Mapping[str, Assumptions] = {
    "helps all alike": replace(USUAL, seconds_effect=0.0, right_effect=0.0),
    "not quite alike": USUAL,
    "very differently": replace(USUAL, seconds_effect=0.3, right_effect=0.6),
}
SIZES = ((4, 60), (6, 20), (6, 40), (15, 20), (15, 40))
"""Coders, and cases that each of them reads."""


def readings_of(coders: int, cases: int) -> Readings:
    """Allocates made-up cases to coders."""
    draw = np.random.default_rng(cases)
    mdc = [f"{number:02d}" for number in draw.integers(1, 8, cases)]
    described = {"id": [str(case) for case in range(cases)], "words": draw.integers(100, 900, cases), "mdc": mdc}
    return allocate(pl.DataFrame(described), [str(coder) for coder in range(coders)], None, 1).readings()


def satterthwaite(effect: Crossed, values: Array) -> Array:
    """Computes how far the interval reaches with Satterthwaite's degrees of freedom, [R]."""
    variances = np.maximum(effect.variances(values), 0.0)
    forms = [load @ load.T for load in effect.freed_loads]
    forms.append(np.eye(len(values)) - effect.basis @ effect.basis.T)
    counted = np.linalg.pinv(effect.expected, hermitian=True) @ effect.shares
    mixed = [sum(count * form for count, form in zip(counted, forms, strict=True)) @ form for form in forms]
    spread = 2 * np.array([[np.sum(first * second.T) for second in mixed] for first in mixed])
    variance = effect.shares @ variances
    freedom = 2 * variance**2 / np.einsum("ar,ab,br->r", variances, spread, variances)
    reach: Array = student.ppf(0.975, freedom) * np.sqrt(variance)
    return reach


def pigeonhole(readings: Readings, values: Array, rounds: int, draw: np.random.Generator) -> tuple[Array, Array]:
    """Bootstraps the effect, coders and cases drawn anew; the bounds of its percentiles, [R] each."""
    coders, cases = members(readings.coders), members(readings.cases)
    columns = np.hstack([coders, cases, readings.late[:, None], readings.assisted[:, None]])
    effects = []
    for _ in range(rounds):
        times = [draw.multinomial(load.shape[1], np.full(load.shape[1], 1 / load.shape[1])) for load in (coders, cases)]
        counted = (coders @ times[0]) * (cases @ times[1])
        weighted = columns * counted[:, None]
        effects.append((np.linalg.pinv(weighted.T @ columns, hermitian=True) @ (weighted.T @ values))[-1])
    low, high = np.quantile(effects, (0.025, 0.975), axis=0)
    return low, high


def by_coder(readings: Readings, values: Array) -> tuple[Array, Array]:
    """Computes the mean of coders' own differences, and how far Student's interval over them reaches, [R] each."""
    coders, sides = members(readings.coders), (readings.assisted, 1 - readings.assisted)
    means = [(coders * side[:, None]).T @ values / (coders.T @ side)[:, None] for side in sides]
    own, count = means[0] - means[1], coders.shape[1]
    return own.mean(0), student.ppf(0.975, count - 1) * own.std(0, ddof=1) / np.sqrt(count)


def held(readings: Readings, assumed: Assumptions, studies: int, rounds: int) -> dict[str, list[float | None]]:
    """Counts for each outcome how often each kind of interval holds the truth; None where a kind is not tried."""
    draw = np.random.default_rng([11, len(readings.coders)])
    seconds, right = simulate(readings, assumed, studies, draw)
    effect = effect_of(readings.coders, readings.cases, readings.assisted, readings.late)
    assert effect is not None
    shares: dict[str, list[float | None]] = {}
    for name, values, true in (("log seconds", seconds, np.log(assumed.ratio)), ("accuracy", right, assumed.gain)):
        value, reach = effect.estimates(values)
        low, high = pigeonhole(readings, values, rounds, draw)
        middle, around = by_coder(readings, values)
        within = (
            np.abs(value - true) <= reach, np.abs(value - true) <= satterthwaite(effect, values),
            (low <= true) & (true <= high), np.abs(middle - true) <= around,
        )  # fmt: skip
        shares[name] = [float(np.mean(part)) for part in within]
    assisted = readings.assisted == 1
    arm = mean_of(readings.coders[assisted], readings.cases[assisted])
    estimates = [arm.share(hits) for hits in right[assisted].T]
    share = np.mean([part.low <= assumed.accuracy + assumed.gain <= part.high for part in estimates])
    shares["accuracy, assisted"] = [float(share), None, None, None]
    shares["median seconds"] = [_medians_held(readings, assumed, seconds), None, None, None]
    return shares


def _medians_held(readings: Readings, assumed: Assumptions, log_seconds: Array) -> float:
    arms = (str(Arm.ALONE), str(Arm.ASSISTED))
    names = {"coder": readings.coders, "case": readings.cases, "period": readings.late.astype(int) + 1}
    rows = pl.DataFrame({**names, "arm": [arms[int(side)] for side in readings.assisted]})
    true, held_by = assumed.seconds * (assumed.ratio - 1), []
    for column in log_seconds.T:
        _, difference = medians(Outcomes(rows.with_columns(seconds=np.exp(column)), arms), pl.col("seconds"))
        held_by.append(difference.low <= true <= difference.high)
    return float(np.mean(held_by))


def benchmark(studies: int, rounds: int) -> None:
    """Prints a row for each population, size and outcome."""
    error = np.sqrt(0.95 * 0.05 / studies)
    print(f"{studies} studies a row; a share of 95 % has a Monte Carlo error of {error:.1%}")
    kinds = ("this project", "Satterthwaite", "pigeonhole", "by coder")
    print(f"{'assistance':<18}{'coders':>7}{'cases':>6}  {'outcome':<19}" + "".join(f"{kind:>15}" for kind in kinds))
    for name, assumed in POPULATIONS.items():
        for coders, cases in SIZES:
            for outcome, shares in held(readings_of(coders, cases), assumed, studies, rounds).items():
                cells = "".join(f"{'-':>15}" if share is None else f"{share:>15.1%}" for share in shares)
                print(f"{name:<18}{coders:>7}{cases:>6}  {outcome:<19}{cells}", flush=True)


def main() -> None:
    """Runs the command."""
    with report_user_errors():
        settings = read_settings(sys.argv[1:], {"studies": 400, "rounds": 200})
        start = time.monotonic()
        benchmark(**settings)
        print(f"took {minutes(time.monotonic() - start)}")


if __name__ == "__main__":
    main()
