"""Runs on one test set are compared by paired differences of every metric by patient, corrected for their number."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, combinations
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from src.cli.errors import UserError
from src.cli.json_files import tell_once
from src.cli.progress import track
from src.cohort.split import Split
from src.display.catalog import View, metrics_of
from src.display.tables import p_value
from src.metrics.intervals import SubsampledMetric, difference, estimate, holm
from src.models.labelspace import LabelSpace
from src.runs.folder import RunFolder
from src.runs.predictions import Predictions, parts, read_predictions
from src.runs.record import RunRecord, damage, read_cohort_of, read_record


class SavedPredictions(Mapping[str, Predictions]):
    """Reads the predictions of finished runs whenever they are asked for, by the run's name: one run's are in memory.

    Attributes:
        folders: of the runs, by name.
        made: predictions that are in no run's folder, by name.

    Raises:
        UserError: those of a run cannot be read, or are on other notes than the first one's.
    """

    def __init__(self, folders: Mapping[str, Path], split: Split, space: LabelSpace) -> None:
        self.folders, self.made = folders, dict[str, Predictions]()
        self._split, self._space = split, space
        # All are read once now, so that a damaged one is named before minutes of work on the others.
        notes = {name: self[name].hadm_id for name in folders}
        first = next(iter(notes))
        for name, own in notes.items():
            if not np.array_equal(notes[first], own):
                counts = f"{len(own):,} {split} notes, not the {len(notes[first]):,} of {folders[first]}"
                raise UserError(f"{folders[name]}: scored on {counts}; only runs on the same notes are compared")

    def __getitem__(self, name: str) -> Predictions:
        if name in self.made:
            return self.made[name]
        return read_predictions(RunFolder(self.folders[name]).predictions(self._split), self._space)

    def __iter__(self) -> Iterator[str]:
        return chain(self.folders, self.made)

    def __len__(self) -> int:
        return len(self.folders) + len(self.made)


def read_runs(
    folders: Sequence[Path], data_dir: Path | None = None
) -> tuple[list[RunRecord], SavedPredictions, LabelSpace]:
    """Reads the records of finished runs on one test set, their test predictions by name, and the labels.

    Args:
        folders: of the runs.
        data_dir: where their cohort lies now; None takes the place that the first run's record names.

    Raises:
        UserError: a run is not finished, or was tested on other notes than the first one.
    """
    folders = undamaged(folders)
    records = [read_record(folder) for folder in folders]
    cohort = read_cohort_of(records[0], folders[0], data_dir)
    for folder, record in zip(folders, records, strict=True):
        if record.cohort != cohort.fingerprint:
            expected = f"{cohort.folder}, whose cohort is {cohort.fingerprint}"
            raise UserError(f"{folder}: tested on the cohort {record.cohort}, not on {expected}; data_dir= names it")
    space = LabelSpace.from_labels(cohort.labels)
    return records, SavedPredictions({folder.name: folder for folder in folders}, Split.TEST, space), space


def undamaged(folders: Sequence[Path]) -> list[Path]:
    """Drops the runs whose record is damaged, and says so.

    Raises:
        UserError: fewer than two are left.
    """
    errors = {folder: error for folder in folders if (error := damage(folder))}
    for error in errors.values():
        tell_once(f"{error}; left out")
    if len(folders) - len(errors) < 2:
        raise UserError("\n  ".join(["fewer than two runs are left to compare", *map(str, errors.values())]))
    return [folder for folder in folders if folder not in errors]


@dataclass(frozen=True, eq=False)
class Comparison:
    """Holds every metric of some runs, and every difference between two of them."""

    metrics: pl.DataFrame
    """Columns `run`, `metric`, `value`, `low`, `high`."""
    differences: pl.DataFrame
    """Columns `run`, `than`, `metric`, `difference` (of `run` less `than`), `low`, `high`, `p`, `p_holm`."""


def compare(runs: Mapping[str, Predictions], space: LabelSpace, baseline: str | None = None) -> Comparison:
    """Compares every two runs, or every run with the baseline.

    Both runs of a pair are measured on the same random halves of the patients, so that what makes a half hard for
    both falls out. `p_holm` is corrected over the comparisons that one metric is in.

    Args:
        runs: the predictions of each on the same test notes, by its name.
        space: their labels.
        baseline: the name of the run that all others are compared with; None for every pair.

    Raises:
        UserError: the baseline is none of the runs.
    """
    patients = len(np.unique(next(iter(runs.values())).subject_id))
    measured = {
        name: parts(tested, space)
        for name, tested in track(runs.items(), total=len(runs), what="comparing", unit="run")
    }
    return compared(measured, patients, baseline)


def compared(
    measured: Mapping[str, Mapping[str, SubsampledMetric]],
    patients: int,
    baseline: str | None = None,
    comparable: Callable[[str, tuple[str, str]], bool] = lambda metric, pair: True,
) -> Comparison:
    """Compares what was measured of runs over the same parts of the patients, as `compare` does.

    Args:
        measured: the metrics of each run, by its name.
        patients: how many there are.
        baseline: as in `compare`.
        comparable: says whether a metric means the same in a pair of runs; those of others have no difference.

    Raises:
        UserError: the baseline is none of the runs.
    """
    if baseline is not None and baseline not in measured:
        raise UserError(f"baseline={baseline}: its record is damaged, or it is none of the runs")
    metrics: list[dict[str, Any]] = [
        {"run": name, "metric": metric, "value": sampled.whole, "low": interval.low, "high": interval.high}
        for name, samples in measured.items()
        for metric, sampled in samples.items()
        for interval in [estimate(sampled.whole, sampled.error, patients)]
    ]
    pairs = [
        (pair[1], pair[0]) if pair[0] == baseline or baseline is None else pair
        for pair in combinations(measured, 2)
        if baseline is None or baseline in pair
    ]
    names = list(dict.fromkeys(row["metric"] for row in metrics))
    rows = [
        row
        for metric in names
        for row in _corrected(metric, [pair for pair in pairs if comparable(metric, pair)], measured)
    ]
    return Comparison(pl.DataFrame(metrics), pl.DataFrame(rows))


def _corrected(
    metric: str, pairs: Sequence[tuple[str, str]], measured: Mapping[str, Mapping[str, SubsampledMetric]]
) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for first, second in pairs:
        if metric in measured[first] and metric in measured[second]:
            delta = difference(measured[first][metric], measured[second][metric])
            rows.append({"run": first, "than": second, "metric": metric, "difference": delta.value})
            rows[-1] |= {"low": delta.low, "high": delta.high, "p": delta.p}
    corrected = holm([row["p"] for row in rows])
    return [row | {"p_holm": p} for row, p in zip(rows, corrected, strict=True)]


def as_text(comparison: Comparison) -> str:
    """Lays out as text the metrics that the catalog shows, with intervals and differences; the files have all."""
    lines = []
    width = max(map(len, comparison.metrics["run"]))
    shown = [metric.key for metric in metrics_of(View.COMPARISON).values()]
    for metric in [key for key in shown if key in set(comparison.metrics["metric"])]:
        lines.append(f"\n{metric}")
        for row in comparison.metrics.filter(pl.col("metric") == metric).to_dicts():
            lines.append(f"  {row['run']:<{width}}  {row['value']:.3f}  [{row['low']:.3f}, {row['high']:.3f}]")
        for row in comparison.differences.filter(pl.col("metric") == metric).to_dicts():
            pair = f"{row['run']} - {row['than']}"
            interval = f"[{row['low']:+.3f}, {row['high']:+.3f}]"
            chances = f"p {p_value(row['p'])}, corrected {p_value(row['p_holm'])}"
            lines.append(f"  {pair:<{2 * width + 3}}  {row['difference']:+.3f}  {interval}  {chances}")
    return "\n".join(lines).strip()
