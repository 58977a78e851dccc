"""Counts how often intervals hold what they should, and how often tests find what is not there, on simulated test sets.

`python -m src.benchmarks.coverage [repetitions=400] [rounds=400]` draws test sets from populations whose DRGs have
tails of several lengths, with patients who come back, and models that are the worse the rarer the DRG. The value
that an interval of 95 % should hold is the metric's mean over test sets of that size; it is found by drawing 4,000
of them. Beside this project's interval stand the plain bootstrap's: its percentiles, and the value with 1.96 of its
standard errors to either side. The last columns compare two models that are equally good: the share of their
p-values below 0.05 and 0.01.
"""

import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from src.benchmarks.settings import read_settings
from src.cli.command import report_user_errors
from src.cli.progress import minutes, track
from src.metrics.definitions import measure_choices
from src.metrics.intervals import Z, difference, estimates, subsample
from src.metrics.weighted import ClassF1, NoteMeans, WeightedMetric

METRICS = ("accuracy", "macro_f1", "macro_f1_all")
FOR_THE_MEAN = 4_000
RESAMPLES = 300
AGAIN, SAME = 0.35, 0.4
"""The chance that a patient comes back, and that a later note repeats the first one's DRG and fate."""


@dataclass(frozen=True)
class Population:
    """Holds DRGs with chances like 1 / rank ** tail, and a model that is right with log-odds that rise with them."""

    name: str
    classes: int
    tail: float
    patients: int
    skill: float
    """Log-odds of being right on a DRG of average chance."""
    slope: float
    """What they gain for each factor e of the chance."""

    def chances(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Computes the chance of each DRG, and of being right on it, [C] each."""
        draw = np.random.default_rng(1)  # the same DRGs are hard in every test set
        drg: NDArray[np.float64] = np.power(1.0 + np.arange(self.classes), -self.tail, dtype=np.float64)
        drg = drg / drg.sum()
        odds = self.skill + self.slope * np.log(drg * self.classes) + draw.normal(0, 0.8, self.classes)
        return drg, 1 / (1 + np.exp(-odds))


POPULATIONS = (
    Population("few DRGs, all common", 100, 0.3, 1_500, 0.0, 0.5),
    Population("738 DRGs, short tail", 738, 0.6, 1_500, 0.0, 0.5),
    Population("738 DRGs, long tail", 738, 1.0, 1_500, 0.0, 0.5),
    Population("738 DRGs, long tail, rare ones missed", 738, 1.0, 4_000, -1.0, 1.5),
    Population("738 DRGs, longer tail, rare ones missed", 738, 1.3, 3_000, 0.0, 1.5),
    Population("738 DRGs, long tail, a good model", 738, 1.0, 1_500, 1.5, 0.5),
)


@dataclass(frozen=True, eq=False)
class TestSet:
    """Holds the notes of patients, with the choices of two models that are equally good."""

    patients: NDArray[np.int64]
    target: NDArray[np.int64]
    predicted: tuple[NDArray[np.int64], NDArray[np.int64]]

    def tallies(self, model: int, classes: int) -> list[WeightedMetric]:
        """Prepares accuracy and the averages of F1 of one of the models."""
        hit = self.predicted[model] == self.target
        return [NoteMeans({"accuracy": hit}), ClassF1("", self.predicted[model], self.target, classes)]


def draw_test_set(population: Population, draw: np.random.Generator) -> TestSet:
    """Draws one test set: each patient's notes lean to one DRG and one fate under each model."""
    drg, right = population.chances()
    count = len(drg)
    patients = np.repeat(np.arange(population.patients), draw.geometric(1 - AGAIN, population.patients))
    notes = len(patients)
    stays = draw.random(notes) < SAME
    first = draw.choice(count, population.patients, p=drg)
    target = np.where(stays, first[patients], draw.choice(count, notes, p=drg))
    predicted = []
    for _ in range(2):
        fate = np.where(stays, draw.random(population.patients)[patients], draw.random(notes))
        neighbour = (target + draw.integers(1, 4, notes)) % count
        wrong = np.where(draw.random(notes) < 0.5, neighbour, draw.choice(count, notes, p=drg))
        predicted.append(np.where(fate < right[target], target, wrong))
    return TestSet(patients, target, (predicted[0], predicted[1]))


def resampled(test: TestSet, classes: int, draw: np.random.Generator) -> dict[str, NDArray[np.float64]]:
    """Bootstraps plainly over patients: each metric in `RESAMPLES` resamples."""
    count = test.patients[-1] + 1
    drawn = draw.integers(0, count, (RESAMPLES, count))
    times = np.stack([np.bincount(sample, minlength=count) for sample in drawn]).astype(np.float32)
    weights = times[:, test.patients]
    return {name: values for tally in test.tallies(0, classes) for name, values in tally.over(weights).items()}


def trial(
    population: Population, means: Mapping[str, float], rounds: int, seed: int
) -> dict[str, tuple[bool, bool, bool, float]]:
    """Says for each metric whether percentiles, bootstrap errors and our interval hold its mean, with the test's p."""
    draw = np.random.default_rng([7, seed])
    test = draw_test_set(population, draw)
    first, second = (
        subsample(test.tallies(model, population.classes), test.patients, rounds, seed) for model in (0, 1)
    )
    ours = estimates(first, population.patients)
    outcomes = {}
    for name, values in resampled(test, population.classes, draw).items():
        if name in METRICS:
            low, high = np.quantile(values, (0.025, 0.975))
            mean, own = means[name], ours[name]
            plain = abs(own.value - mean) <= Z * values.std(ddof=1)
            p = difference(first[name], second[name]).p
            outcomes[name] = (bool(low <= mean <= high), bool(plain), own.low <= mean <= own.high, p)
    return outcomes


def mean_metrics(population: Population) -> dict[str, float]:
    """Averages each metric over test sets of the population's size."""
    draw = np.random.default_rng(3)
    by_metric: dict[str, list[float]] = {name: [] for name in METRICS}
    for _ in range(FOR_THE_MEAN // 2):
        test = draw_test_set(population, draw)
        for predicted in test.predicted:
            measured = measure_choices(predicted, test.target, population.classes)
            for name, values in by_metric.items():
                values.append(measured[name])
    return {name: float(np.mean(values)) for name, values in by_metric.items()}


def benchmark(repetitions: int, rounds: int) -> None:
    """Prints a row for each population and metric."""
    error = np.sqrt(0.95 * 0.05 / repetitions)
    print(f"{repetitions} test sets a population; a share of 95 % has a Monte Carlo error of {error:.1%}")
    columns = ("mean", "percentile", "bootstrap error", "this project", "p < 0.05", "p < 0.01")
    print(f"{'population':<40} {'metric':<13}" + "".join(f"{name:>17}" for name in columns))
    for population in POPULATIONS:
        means = mean_metrics(population)
        seeds = track(range(repetitions), total=repetitions, what=population.name, unit="test set")
        trials = [trial(population, means, rounds, seed) for seed in seeds]
        for name in METRICS:
            outcomes = np.array([outcome[name] for outcome in trials])
            shares = [*outcomes[:, :3].mean(0), (outcomes[:, 3] < 0.05).mean(), (outcomes[:, 3] < 0.01).mean()]
            cells = f"{means[name]:>17.4f}" + "".join(f"{share:>17.1%}" for share in shares)
            print(f"{population.name:<40} {name:<13}{cells}", flush=True)


def main() -> None:
    """Runs the command."""
    with report_user_errors():
        settings = read_settings(sys.argv[1:], {"repetitions": 400, "rounds": 400})
        start = time.monotonic()
        benchmark(**settings)
        print(f"took {minutes(time.monotonic() - start)}")


if __name__ == "__main__":
    main()
