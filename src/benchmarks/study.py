"""Counts how often the intervals of a study of coders hold the truth, on simulated coders: few of them, few cases.

`python -m src.benchmarks.study [studies=2000]` simulates studies as `src.study plan` allocates them, in populations
where assistance helps every coder on every case alike, not quite alike, and very differently. Every true effect is
known in closed form.
"""

import sys
import time
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import polars as pl
from scipy.stats import multivariate_normal, norm

from src.benchmarks.settings import read_settings
from src.cli.command import report_user_errors
from src.cli.progress import minutes
from src.coding_study.agreement import cohens_kappa, fleiss_kappa
from src.coding_study.allocation import Arm, allocate
from src.coding_study.crossed import Array, effect_of, mean_of
from src.coding_study.simulated_coders import Assumptions, Readings, simulate
from src.coding_study.study_results import Outcomes, median_of

USUAL = Assumptions(600, 0.8, 0.9, 0.3, 0.4, 0.15, 0.4, 0.7, 0.1, 0.3, 0.8, 0.3)
POPULATIONS: Mapping[str, Assumptions] = {
    "helps all alike": replace(USUAL, seconds_effect=0.0, right_effect=0.0),
    "not quite alike": USUAL,
    "very differently": replace(USUAL, seconds_effect=0.3, right_effect=0.6),
}
SIZES = ((4, 60), (6, 20), (6, 40), (15, 20), (15, 40))
"""Coders, and cases that each of them reads."""

OUTCOMES = ("log seconds", "accuracy", "accuracy, assisted", "median seconds", "Cohen's kappa", "Fleiss' kappa")
"""What assistance changes, but the third."""

DRGS = np.array([0.3, 0.25, 0.2, 0.1, 0.1, 0.05])
"""Shares of the adjudicated DRGs; in the place of one, each of the others is as likely."""


def readings_of(coders: int, cases: int) -> Readings:
    """Allocates made-up cases to coders."""
    draw = np.random.default_rng(cases)
    mdc = [f"{number:02d}" for number in draw.integers(1, 8, cases)]
    described = {"id": [str(case) for case in range(cases)], "words": draw.integers(100, 900, cases), "mdc": mdc}
    return allocate(pl.DataFrame(described), [str(coder) for coder in range(coders)], None, 1).readings()


def held(readings: Readings, assumed: Assumptions, studies: int) -> list[float]:
    """Counts for each of `OUTCOMES` how often its interval holds the truth."""
    seconds, right = simulate(readings, assumed, studies, np.random.default_rng([11, len(readings.coders)]))
    effect = effect_of(readings.coders, readings.cases, readings.assisted, readings.late)
    assert effect is not None
    shares = []
    for values, true in ((seconds, np.log(assumed.ratio)), (right, assumed.gain)):
        value, reach = effect.estimates(values)
        shares.append(float(np.mean(np.abs(value - true) <= reach)))
    assisted = readings.assisted == 1
    arm, level = mean_of(readings.coders[assisted], readings.cases[assisted]), assumed.accuracy + assumed.gain
    estimates = [arm.share(hits) for hits in right[assisted].T]
    shares.append(float(np.mean([part.low <= level <= part.high for part in estimates])))
    return [*shares, *_influenced_held(readings, assumed, seconds, right)]


def _influenced_held(readings: Readings, assumed: Assumptions, log_seconds: Array, right: Array) -> list[float]:
    draw, count = np.random.default_rng(12), len(DRGS)
    arms = (str(Arm.ALONE), str(Arm.ASSISTED))
    names = {"coder": readings.coders, "case": readings.cases, "period": readings.late.astype(int) + 1}
    rows = pl.DataFrame({**names, "arm": [arms[int(side)] for side in readings.assisted]})
    alone, assisted = (_true_kappas(assumed, side * assumed.gain) for side in (0, 1))
    measured = (
        ("seconds", median_of, assumed.seconds * (assumed.ratio - 1)),
        ("reading", cohens_kappa, assisted[0] - alone[0]),
        ("reading", fleiss_kappa, assisted[1] - alone[1]),
    )
    hits = np.zeros((len(measured), right.shape[1]))
    for study, (logs, hit) in enumerate(zip(log_seconds.T, right.T, strict=True)):
        adjudicated = draw.choice(count, readings.cases.max() + 1, p=DRGS)[readings.cases]
        decided = np.where(hit, adjudicated, (adjudicated + draw.integers(1, count, len(hit))) % count)
        own = rows.with_columns(seconds=np.exp(logs), reading=pl.lit(1), adjudicated=adjudicated, decided=decided)
        for index, (column, statistic, true) in enumerate(measured):
            difference = Outcomes(own, arms).influenced(pl.col(column), statistic)[-1]
            hits[index, study] = difference.low <= true <= difference.high
    return [float(share) for share in hits.mean(1)]


def _true_kappas(assumed: Assumptions, gain: float) -> tuple[float, float]:
    """Computes Cohen's and Fleiss' kappa of an arm in all cases by all coders."""
    level, others = assumed.accuracy + gain, len(DRGS) - 1
    spread = 1 + assumed.right_coder**2 + assumed.right_case**2 + assumed.right_effect**2 / 2
    shared = (assumed.right_case**2 + assumed.right_effect**2 / 4) / spread
    both = float(multivariate_normal([0, 0], [[1, shared], [shared, 1]]).cdf(np.full(2, norm.ppf(level))))
    decided = level * DRGS + (1 - level) * (1 - DRGS) / others
    agreeing = both + (1 - 2 * level + both) / others
    chances = float(decided @ DRGS), float(decided @ decided)
    return 1 - (1 - level) / (1 - chances[0]), 1 - (1 - agreeing) / (1 - chances[1])


def benchmark(studies: int) -> None:
    """Prints a row for each population and size."""
    error = np.sqrt(0.95 * 0.05 / studies)
    print(f"{studies} studies a row; a share of 95 % has a Monte Carlo error of {error:.1%}")
    print(f"{'assistance':<18}{'coders':>7}{'cases':>6}" + "".join(f"{outcome:>20}" for outcome in OUTCOMES))
    for name, assumed in POPULATIONS.items():
        for coders, cases in SIZES:
            shares = held(readings_of(coders, cases), assumed, studies)
            print(f"{name:<18}{coders:>7}{cases:>6}" + "".join(f"{share:>20.1%}" for share in shares), flush=True)


def main() -> None:
    """Runs the command."""
    with report_user_errors():
        settings = read_settings(sys.argv[1:], {"studies": 2000})
        start = time.monotonic()
        benchmark(**settings)
        print(f"took {minutes(time.monotonic() - start)}")


if __name__ == "__main__":
    main()
