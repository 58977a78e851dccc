"""A finished run has a record and what it logged, whether it was read from a folder or from W&B."""

import dataclasses
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from src.cohort.disclosure import MIN_GROUP_PATIENTS
from src.cohort.split import Split
from src.runs.folder import SCORED, RunFolder
from src.runs.history import Curves, read_history
from src.runs.record import RunRecord, read_record


@dataclass(frozen=True)
class Run:
    """Holds the record and the curves of one finished run.

    Attributes:
        name: of its folder, which is its W&B run's id.
        record: what it is and came to.
        curves: what it logged, by metric and step.
        folder: where its predictions are; None when it comes from W&B.
        few: splits of fewer than 10 patients, by the first part of the names of their metrics, which are left out.
    """

    name: str
    record: RunRecord
    curves: Curves = field(default_factory=dict)
    folder: Path | None = None
    few: tuple[str, ...] = ()

    @property
    def axes(self) -> Mapping[str, Any]:
        """Gives the run's values of the grid's axes."""
        return self.record.axes

    @property
    def metrics(self) -> Mapping[str, float | None]:
        """Gives the final metrics by name, such as `test/accuracy`; None where one is not defined."""
        return self.record.metrics


def read_run(folder: Path) -> Run:
    """Reads the finished run of a folder.

    Raises:
        UserError: it has no record, or a damaged one.
    """
    return Run(folder.name, read_record(folder), read_history(folder), folder)


def of_many(run: Run) -> Run:
    """Leaves out what was measured on fewer than 10 patients: metrics, intervals, curves, and the test's rows."""
    few = tuple(split.prefix for split in SCORED if _patients(run, split) < MIN_GROUP_PATIENTS)
    if not few:
        return run

    def kept(values: Mapping[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in values.items() if name.split("/")[0] not in few}

    metrics, intervals = kept(run.record.metrics), kept(run.record.intervals)
    record = dataclasses.replace(run.record, metrics=metrics, intervals=intervals)
    return Run(run.name, record, kept(run.curves), None if Split.TEST.prefix in few else run.folder, few)


def _patients(run: Run, split: Split) -> int:
    """Counts the patients of a split in the run's predictions; without those, its notes, which are no fewer."""
    if run.folder:
        with suppress(pl.exceptions.PolarsError, OSError):
            rows = pl.scan_parquet(RunFolder(run.folder).predictions(split))
            return int(rows.select(pl.col("subject_id").n_unique()).collect().item())
    return run.record.counts.get(str(split), MIN_GROUP_PATIENTS)
