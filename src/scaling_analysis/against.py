"""Compares every cell with one of them: metrics, and macro-F1 by how many training notes a DRG had."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from src.cli.errors import UserError
from src.cli.progress import track
from src.cohort.prepared import Cohort
from src.cohort.split import Split
from src.evaluation.error_tables import BANDS
from src.evaluation.groups import band_name
from src.metrics.intervals import SubsampledMetric, holm, subsample
from src.metrics.weighted import WeightedMetric, Weights, counts_by_class
from src.models.labelspace import LabelSpace
from src.runs.finished import Run
from src.runs.folder import RunFolder
from src.runs.predictions import Predictions, Task, read_predictions
from src.runs.record import read_cohort_of
from src.scaling_analysis.differences import paired_difference
from src.scaling_analysis.grid import gather, measured_over_seeds
from src.scaling_analysis.resampling import DRAWS, TEST, Resampler
from src.scaling_analysis.result import Cell, Difference

COMPARED = (f"{TEST}macro_f1", f"{TEST}accuracy")


@dataclass(frozen=True)
class Band:
    """Describes the DRGs that had as many training notes: what a metric over them is of."""

    name: str
    """As `band_name` writes it; its metric is `BAND` followed by it."""
    drgs: int
    patients: int
    notes: int


BAND = "macro-F1 by training notes: "


@dataclass(frozen=True)
class Against:
    """Holds the cells of one cohort beside the one that they are compared with.

    Attributes:
        base: its place in `cells`.
        cells: those of `gather`, with the metrics of the bands; None for one of another cohort.
        bands: few training notes to many.
        differences: of each cell less the base, by its place and the metric; p is corrected over the cells.
    """

    base: int
    cells: Sequence[Cell | None]
    bands: Sequence[Band]
    differences: Mapping[tuple[int, str], Difference]


class BandF1:
    """Averages F1 over the DRGs of each band that have notes, as `macro_f1` does over all."""

    def __init__(
        self, predicted: NDArray[np.int64], target: NDArray[np.int64], bands: Mapping[str, NDArray[np.bool_]]
    ) -> None:
        self._bands = bands
        classes = len(next(iter(bands.values())))
        hits = np.where(predicted == target, target, -1)
        self._sums = tuple(counts_by_class(index, classes) for index in (hits, target, predicted))

    def over(self, weights: Weights) -> dict[str, NDArray[np.float64]]:
        hits, true, predicted = ((sums @ weights.T).T for sums in self._sums)
        f1, present = 2 * hits / np.maximum(true + predicted, 1), true > 0
        means = {}
        for name, inside in self._bands.items():
            counted = present[:, inside]
            # A part without a note of the band has no mean there; 0 keeps it from the rest.
            means[BAND + name] = (f1[:, inside] * counted).sum(1) / np.maximum(counted.sum(1), 1)
        return means


def compare_against(runs: Sequence[Run], base_run: str, seed: int = 0, data_dir: Path | None = None) -> Against:
    """Compares the cells of one cohort with the cell of one run, paired by seed and by patient.

    Args:
        runs: finished ones, from folders.
        base_run: the name of a run of the cell that the others are compared with.
        seed: of the resampling.
        data_dir: where the prepared cohort lies now; None takes the place that the records name.

    Raises:
        UserError: no run has the name, predictions are missing, or runs were tested on different notes.
    """
    grid = gather(runs)
    base = next((index for index, cell in enumerate(grid.cells) if base_run in cell.runs), None)
    if base is None:
        raise UserError(f"against={base_run}: is none of the runs; there are {', '.join(sorted(r.name for r in runs))}")
    ground = grid.cells[base].ground
    alike = [index for index, cell in enumerate(grid.cells) if cell.ground == ground]
    members = [run for index in alike for run in grid.members[index]]
    if without := next((run for run in members if run.folder is None), None):
        raise UserError(
            f"against={base_run}: {without.name} is of W&B, which has no predictions; name a folder of runs"
        )
    parts, bands = _measure(members, grid.members[base][0], data_dir)
    metrics = [*COMPARED, *(BAND + band.name for band in bands)]
    cells: list[Cell | None] = [
        _with_parts(cell, parts, metrics) if cell.ground == ground else None for cell in grid.cells
    ]
    measured = dataclasses.replace(grid, cells=tuple(new or old for new, old in zip(cells, grid.cells, strict=True)))
    noise = Resampler(measured, parts, seed)
    differences: dict[tuple[int, str], Difference] = {}
    for metric in metrics:
        rows = [paired_difference(measured, noise, metric, "", index, base) for index in alike if index != base]
        for row, p in zip(rows, holm([row.p if np.isfinite(row.p) else 1.0 for row in rows]), strict=True):
            differences[row.one, metric] = dataclasses.replace(row, p_holm=p)
    return Against(base, cells, bands, differences)


def _measure(
    runs: Sequence[Run], first: Run, data_dir: Path | None
) -> tuple[dict[str, dict[str, SubsampledMetric]], list[Band]]:
    folder = Path(first.folder or "")
    cohort = read_cohort_of(first.record, folder, data_dir)
    space = LabelSpace.from_labels(cohort.labels)
    tested = read_predictions(RunFolder(folder).predictions(Split.TEST), space)
    masks, bands = _bands(cohort, space, tested, first.record.config["data"].get("limit"))
    parts = {}
    for run in track(runs, total=len(runs), what="comparing", unit="run"):
        predictions = read_predictions(RunFolder(Path(run.folder or "")).predictions(Split.TEST), space)
        if not np.array_equal(predictions.hadm_id, tested.hadm_id):
            raise UserError(f"{run.folder}: tested on other notes than {folder}")
        predicted, target = predictions.heads["scores"].argmax(1), predictions.drg
        tallies: list[WeightedMetric] = [
            *Task("", target, predicted, len(space.codes)).tallies(),
            BandF1(predicted, target, masks),
        ]
        subsampled = subsample(tallies, predictions.subject_id, DRAWS)
        parts[run.name] = {name if name.startswith(BAND) else TEST + name: part for name, part in subsampled.items()}
    return parts, bands


def _bands(
    cohort: Cohort, space: LabelSpace, tested: Predictions, limit: int | None
) -> tuple[dict[str, NDArray[np.bool_]], list[Band]]:
    """Sorts the DRGs by their training notes, [D] each, and counts what the test has of each band."""
    trained = [space.index[code] for code in cohort.rows(Split.TRAIN, limit)["drg"]]
    seen = np.bincount(trained, minlength=len(space.codes))
    masks, bands = {}, []
    for low, high in BANDS:
        inside = (seen >= low) & (seen <= high)
        notes = inside[tested.drg]
        if notes.any():
            masks[band_name(low, high)] = inside
            drgs, patients = (np.unique(values[notes]).size for values in (tested.drg, tested.subject_id))
            bands.append(Band(band_name(low, high), drgs, patients, int(notes.sum())))
    return masks, bands


def _with_parts(cell: Cell, parts: Mapping[str, Mapping[str, SubsampledMetric]], metrics: Sequence[str]) -> Cell:
    """Measures a cell's metrics anew from predictions, those of the bands too."""
    of_seeds = dict(zip(cell.metrics[COMPARED[0]].values, cell.runs, strict=True))
    measured = {
        metric: measured_over_seeds(
            metric,
            {seed: parts[run][metric].whole for seed, run in of_seeds.items()},
            [parts[run][metric].error for run in cell.runs],
        )
        for metric in metrics
    }
    return dataclasses.replace(cell, metrics={**cell.metrics, **measured})
