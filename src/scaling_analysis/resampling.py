"""Draws what cells would have scored on other patients and with other seeds; fits and differences share the draws.

Patients: with the runs' predictions, two random halves of the patients, the same for all runs, are two test sets; a
metric's difference between them, brought to its standard error (`src.metrics.intervals`), is one draw of what other
patients would change, in all cells at once. Without predictions each cell draws from its own recorded interval, as if
`COMMON` of its variance were the test set's and the same in all cells. Seeds: each cell's deviations from its mean,
drawn with repetition, their variance widened by n / (n - 1); a cell of one seed takes those of the other cells of its
model, or else of all, and where no cell has two seeds there is no such draw.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from src.metrics.intervals import SubsampledMetric, mean_of
from src.runs.finished import Run
from src.scaling_analysis.combined_interval import patient_error
from src.scaling_analysis.grid import Grid
from src.scaling_analysis.result import How

DRAWS = 400
"""The edges of an interval of 95 % are then exact to about a tenth of its width."""

COMMON = 0.5
"""Correlation of what other patients change in two runs on one test set. On a grid of 3 small models and
3 lengths with predictions, the mean over pairs of cells was 0.58 for accuracy and 0.35 for macro-F1."""

LIGHT = ("accuracy", "macro_f1", "macro_f1_all", "micro_f1", "micro_f1_all")
"""Metrics that need the chosen DRGs only, and a tenth of the time."""

TEST = "test/"


@dataclass(frozen=True, eq=False)
class Resampler:
    """Draws the uncertainty of a grid's cells together.

    Attributes:
        grid: the cells.
        parts: each run's metrics over random parts of the patients, by run and metric, where predictions were read.
        seed: of the draws.
    """

    grid: Grid
    parts: Mapping[str, Mapping[str, SubsampledMetric]]
    seed: int
    _columns: dict[tuple[int, str, How], NDArray[np.float64]] = field(default_factory=dict)

    def method(self, cells: Sequence[int], metric: str) -> How:
        """Says whether these cells' patients are drawn together, from predictions, or cell by cell, from records."""
        runs = [run for index in cells for run in self._runs(index, metric)]
        return "predictions" if all(metric in self.parts.get(run.name, {}) for run in runs) else "recorded"

    def seeds_known(self, cells: Sequence[int], metric: str) -> bool:
        """Says whether some cell of their ground has two seeds."""
        return any(len(self._pool(index, metric)) for index in cells)

    def drawn(self, cells: Sequence[int], metric: str) -> NDArray[np.float64]:
        """Returns the cells' means, then what they would have been in each draw, [1 + draws, P]."""
        method = self.method(cells, metric)
        return np.column_stack([self._column(index, metric, method) for index in cells])

    def paired(self, larger: int, smaller: int, metric: str, seeds: Sequence[int]) -> tuple[float, How]:
        """Estimates the error by patients of the difference of two cells over some seeds; nan where it is not known."""
        method = self.method([larger, smaller], metric)
        if method == "predictions":
            return (self._mean(larger, metric, seeds) - self._mean(smaller, metric, seeds)).error, method
        return math.hypot(self._recorded(larger, metric), self._recorded(smaller, metric)), method

    def _column(self, index: int, metric: str, method: How) -> NDArray[np.float64]:
        # With its method: a cell with predictions is drawn from its record beside cells without them.
        key = index, metric, method
        if key not in self._columns:
            moved = self._patients(index, metric, method) + self._seeds(index, metric)
            self._columns[key] = self.grid.cells[index].metrics[metric].mean + np.concatenate([[0.0], moved])
        return self._columns[key]

    def _runs(self, index: int, metric: str, seeds: Sequence[int] | None = None) -> list[Run]:
        among = self.grid.cells[index].metrics[metric].values if seeds is None else seeds
        return [run for run in self.grid.members[index] if run.axes["seed"] in among]

    def _mean(self, index: int, metric: str, seeds: Sequence[int] | None = None) -> SubsampledMetric:
        return mean_of([self.parts[run.name][metric] for run in self._runs(index, metric, seeds)])

    def _recorded(self, index: int, metric: str) -> float:
        measured = self.grid.cells[index].metrics[metric]
        intervals = [run.record.intervals.get(metric) for run in self._runs(index, metric)]
        values = list(measured.values.values())
        errors = [patient_error(value, *edges) for value, edges in zip(values, intervals, strict=True) if edges]
        return float(np.mean(errors)) if len(errors) == len(values) else float("nan")

    def _patients(self, index: int, metric: str, method: How) -> NDArray[np.float64]:
        if method == "predictions":
            parts = self._mean(index, metric)
            # Two disjoint halves: where they differ, so would two test sets of other patients, in all cells at once.
            apart = parts.halves[:, 0] - parts.halves[:, 1]
            size = np.sqrt((apart**2).mean())
            return np.asarray(apart / size * parts.error if size else np.zeros(DRAWS))
        error = self._recorded(index, metric)
        # Stream -1 is the same for all cells, and moves them alike; each cell's own stream moves it alone.
        common, own = (self._random(stream, metric, 0).standard_normal(DRAWS) for stream in (-1, index))
        normal = math.sqrt(COMMON) * common + math.sqrt(1 - COMMON) * own
        return np.asarray(np.zeros(DRAWS) if np.isnan(error) else normal * error)

    def _seeds(self, index: int, metric: str) -> NDArray[np.float64]:
        pool, count = self._pool(index, metric), len(self.grid.cells[index].metrics[metric].values)
        if not len(pool):
            return np.zeros(DRAWS)
        # A mean of as many seeds as the cell has: more seeds, less spread.
        return np.asarray(self._random(index, metric, 1).choice(pool, (DRAWS, count)).mean(1))

    def _pool(self, index: int, metric: str) -> NDArray[np.float64]:
        own = _deviations(self.grid, index, metric)
        if len(own):
            return own
        for axes in (("model",), ()):
            pool = np.concatenate(
                [own, *(_deviations(self.grid, similar, metric) for similar in self._like(index, axes))]
            )
            if len(pool):
                return pool
        return own

    def _like(self, index: int, axes: Sequence[str]) -> list[int]:
        """Lists the cells of its ground that share some axes with a cell."""
        cells, cell = self.grid.cells, self.grid.cells[index]
        return [
            i
            for i, candidate in enumerate(cells)
            if candidate.ground == cell.ground and all(candidate.axes[axis] == cell.axes[axis] for axis in axes)
        ]

    def _random(self, index: int, metric: str, purpose: int) -> np.random.Generator:
        # A seed of numpy's is not negative, and the shared stream is -1.
        return np.random.default_rng([self.seed, purpose, index + 1, *metric.encode()])


def _deviations(grid: Grid, index: int, metric: str) -> NDArray[np.float64]:
    """Measures the seeds' distances from the cell's mean, widened to the spread between seeds; empty for one seed."""
    measured = grid.cells[index].metrics.get(metric)
    if measured is None or len(measured.values) < 2:
        return np.zeros(0)
    values = np.array(list(measured.values.values()))
    return np.asarray((values - measured.mean) * np.sqrt(len(values) / (len(values) - 1)))


def read_parts(
    grid: Grid, metrics: Sequence[str], most: int, data_dir: Path | None
) -> tuple[dict[str, dict[str, SubsampledMetric]], list[str]]:
    """Measures metrics over the same random parts of the patients, for every run whose predictions can be read.

    Args:
        grid: whose runs.
        metrics: by the records' names.
        most: runs; with more of them none is read.
        data_dir: where the prepared cohort lies now; None takes the place that the records name.

    Returns:
        Parts by run and metric; and what a reader must know.
    """
    wanted = [name.removeprefix(TEST) for name in metrics if name.startswith(TEST)]
    runs = [run for members in grid.members for run in members]
    if not wanted or not most:
        return {}, []
    if len(runs) > most:
        return {}, [f"{len(runs):,} runs, more than predictions_of={most}: their recorded intervals stand for patients"]
    parts: dict[str, dict[str, SubsampledMetric]] = {}
    notes: list[str] = []
    for ground in range(len(grid.grounds)):
        of_ground = [
            run for index, members in enumerate(grid.members) if grid.cells[index].ground == ground for run in members
        ]
        try:
            parts |= _parts_of_ground(of_ground, wanted, data_dir)
        except (OSError, ValueError, KeyError) as error:  # UserError is a ValueError
            notes.append(f"recorded intervals stand for patients: the predictions cannot be read ({error})")
    return parts, notes


def _parts_of_ground(
    runs: Sequence[Run], wanted: Sequence[str], data_dir: Path | None
) -> dict[str, dict[str, SubsampledMetric]]:
    # Here, as an analysis of records alone needs none of these.
    from src.cli.errors import UserError
    from src.cli.progress import track
    from src.cohort.split import Split
    from src.models.labelspace import LabelSpace
    from src.runs.folder import RunFolder
    from src.runs.predictions import read_predictions
    from src.runs.record import read_cohort_of

    if not all(run.folder for run in runs):
        return {}  # of W&B, which has none
    cohort = read_cohort_of(runs[0].record, Path(runs[0].folder or ""), data_dir)
    space = LabelSpace.from_labels(cohort.labels)
    parts, notes = {}, None
    for run in track(runs, total=len(runs), what="reading predictions", unit="run") if len(runs) > 30 else runs:
        predictions = read_predictions(RunFolder(Path(run.folder or "")).predictions(Split.TEST), space)
        notes = predictions.hadm_id if notes is None else notes
        if not np.array_equal(notes, predictions.hadm_id):
            raise UserError(f"{run.folder}: tested on other notes than {runs[0].folder}")
        parts[run.name] = {TEST + name: part for name, part in _parts(predictions, space, wanted).items()}
    return parts


def _parts(predictions: Any, space: Any, wanted: Sequence[str]) -> dict[str, SubsampledMetric]:
    from src.metrics.intervals import subsample
    from src.metrics.weighted import ClassF1, NoteMeans, WeightedMetric
    from src.runs.predictions import parts

    if not set(wanted) <= set(LIGHT):
        return {name: part for name, part in parts(predictions, space, DRAWS).items() if name in wanted}
    scores = predictions.heads["scores"]
    predicted = scores.argmax(1)
    tallies: list[WeightedMetric] = [
        NoteMeans({"accuracy": predicted == predictions.drg}),
        ClassF1("", predicted, predictions.drg, scores.shape[1]),
    ]
    subsampled = subsample(tallies, predictions.subject_id, DRAWS)
    return {name: subsampled[name] for name in wanted}
