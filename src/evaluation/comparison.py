"""Runs on one test set are compared by paired differences of every metric by patient, corrected for their number."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
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


def read_runs(
    folders: Sequence[Path], data_dir: Path | None = None
) -> tuple[list[RunRecord], dict[str, Predictions], LabelSpace]:
    """Reads the records of finished runs on one test set, their test predictions by name, and the labels.

    Args:
        folders: of the runs.
        data_dir: where their cohort lies now; None takes the place that the first run's record names.

    Raises:
        UserError: a run is not finished, or was tested on other notes than the first one.
    """
    folders = _undamaged(folders)
    records = [read_record(folder) for folder in folders]
    cohort = read_cohort_of(records[0], folders[0], data_dir)
    space = LabelSpace.from_labels(cohort.labels)
    predictions: dict[str, Predictions] = {}
    for folder, record in zip(folders, records, strict=True):
        if record.cohort != cohort.fingerprint:
            expected = f"{cohort.folder}, whose cohort is {cohort.fingerprint}"
            raise UserError(f"{folder}: tested on the cohort {record.cohort}, not on {expected}; data_dir= names it")
        tested = predictions[folder.name] = read_predictions(RunFolder(folder).predictions(Split.TEST), space)
        first = predictions[folders[0].name]
        if not np.array_equal(first.hadm_id, tested.hadm_id):
            counts = f"{len(tested.drg):,} test notes, not the {len(first.drg):,}"
            raise UserError(f"{folder}: tested on {counts} of {folders[0]}; only runs on the same notes are compared")
    return records, predictions, space


def _undamaged(folders: Sequence[Path]) -> list[Path]:
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
    if baseline is not None and baseline not in runs:
        raise UserError(f"baseline={baseline}: its record is damaged, or it is none of the runs")
    patients = len(np.unique(next(iter(runs.values())).subject_id))
    measured = {
        name: parts(tested, space)
        for name, tested in track(runs.items(), total=len(runs), what="comparing", unit="run")
    }
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
    rows = [row for metric in names for row in _corrected(metric, pairs, measured)]
    return Comparison(pl.DataFrame(metrics), pl.DataFrame(rows))


def _corrected(
    metric: str, pairs: Sequence[tuple[str, str]], measured: dict[str, dict[str, SubsampledMetric]]
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
