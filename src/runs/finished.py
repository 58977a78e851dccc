"""Finished runs as every source tells them: a folder of records, offline W&B runs, or a W&B project."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from src.cohort.disclosure import MIN_GROUP_PATIENTS
from src.cohort.split import Split
from src.runs.folder import SCORED, RunFolder
from src.runs.history import Curves


@dataclass(frozen=True)
class Run:
    """One finished run.

    Attributes:
        name: of its folder, which is its W&B run's id.
        record: `axes`, `cohort`, `code`, `counts`, `metrics`, `intervals`, `tokens_seen` and `seconds` as `result.json`
            has them; `config` where the source has it.
        curves: what it logged, by metric and step.
        folder: where its predictions are; None when it comes from W&B.
        few: splits of fewer than 10 patients, by the first part of the names of their metrics, which are left out.
    """

    name: str
    record: Mapping[str, Any]
    curves: Curves = field(default_factory=dict)
    folder: Path | None = None
    few: tuple[str, ...] = ()

    @property
    def axes(self) -> Mapping[str, Any]:
        """The grid's axes."""
        return dict(self.record["axes"])

    @property
    def metrics(self) -> Mapping[str, float | None]:
        """Final metrics by name, such as `test/accuracy`."""
        return dict(self.record["metrics"])


def of_many(run: Run) -> Run:
    """The run without what was measured on fewer than 10 patients: metrics, intervals, curves, and the test's rows."""
    few = [split.prefix for split in SCORED if _patients(run, split) < MIN_GROUP_PATIENTS]
    if not few:
        return run

    def kept(held: Mapping[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in held.items() if name.split("/")[0] not in few}

    record = {**run.record, **{part: kept(run.record.get(part, {})) for part in ("metrics", "intervals")}}
    return Run(run.name, record, kept(run.curves), None if Split.TEST.prefix in few else run.folder, tuple(few))


def _patients(run: Run, split: Split) -> int:
    """Patients of a split by the run's predictions; without them its notes, of which there are no fewer."""
    if run.folder:
        with suppress(pl.exceptions.PolarsError, OSError):
            rows = pl.scan_parquet(RunFolder(run.folder).predictions(split))
            return int(rows.select(pl.col("subject_id").n_unique()).collect().item())
    return int(run.record.get("counts", {}).get(str(split), MIN_GROUP_PATIENTS))
