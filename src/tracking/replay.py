"""A run is sent to W&B from its own record and history: whole, at any time, whatever it went through."""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from src.cli.compose import to_schema
from src.cli.errors import UserError
from src.cli.json_files import Damaged
from src.config.train import TrainConfig, WandbConfig
from src.runs.folder import RunFolder
from src.runs.history import read_history
from src.runs.record import finished, read_cohort_of, read_record
from src.tracking.flat import flat
from src.tracking.guard import METRIC, LeakError, guarded
from src.tracking.run_metadata import RunMetadata, about, read_metadata
from src.tracking.wandb_run import guarded_labels

Rows = dict[int, dict[str, float]]
"""Metrics by the trainer's step."""


@dataclass(frozen=True)
class Replay:
    """Holds a run as it is sent; all of it has passed the guard.

    Attributes:
        run: its folder.
        files: SHA-256 of each file that it was read from, by its name.
        wandb: its project and its group.
        metadata: what it is found by.
        rows: its curves; of steps that a resumed run repeats the last counts.
        summary: its final metrics; none of a run that is not finished.
        finished: whether it has its record.
    """

    run: Path
    files: dict[str, str]
    wandb: WandbConfig
    metadata: RunMetadata
    rows: Rows
    summary: dict[str, float]
    finished: bool

    @property
    def last_values(self) -> dict[str, float]:
        """Gives the summary as W&B makes it: the last value of each curve, and over it the final metrics."""
        return {name: value for row in self.rows.values() for name, value in row.items()} | self.summary


def read_replay(run_dir: Path, data_dir: Path | None = None) -> Replay:
    """Reads what a run's folder holds to be sent.

    Args:
        run_dir: the run's folder.
        data_dir: the cohort of a run without `tracking.json`, see `_read_tracked`.

    Raises:
        UserError: the run cannot be read, or holds what may not be sent; the message names no value.
    """
    files, done = hashes_of_sources(run_dir), finished(run_dir)
    cfg, metadata = _read_tracked(run_dir, data_dir, done)
    try:
        guarded_labels(cfg, run_dir, metadata)
        summary = metadata.of_many(guarded(flat(read_record(run_dir)))) if done else {}
    except LeakError as error:
        raise UserError(f"{run_dir}: {error}; it is not sent") from None
    rows = {step: many for step, row in rows_of(run_dir).items() if (many := metadata.of_many(row))}
    return Replay(run_dir, files, cfg, metadata, rows, summary, done)


def rows_of(run_dir: Path) -> Rows:
    """Reads what a run logged, by step, as far as it may be sent."""
    rows: Rows = {}
    for name, values in read_history(run_dir).items():
        for step, value in values.items() if re.fullmatch(METRIC, name) else ():
            rows.setdefault(step, {})[name] = value
    return dict(sorted(rows.items()))


def hashes_of_sources(run_dir: Path) -> dict[str, str]:
    """Hashes each file that a run is sent from by SHA-256; nothing that W&B wrote is among them."""
    run = RunFolder(run_dir)
    paths = [path for path in (run.tracking, run.history, run.record) if path.is_file()]
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def _read_tracked(run_dir: Path, data_dir: Path | None, done: bool) -> tuple[WandbConfig, RunMetadata]:
    """Reads what a run is found by: as it said itself, or, of an earlier version, as its record and its cohort say."""
    run = RunFolder(run_dir)
    try:
        return read_metadata(run_dir)
    except (FileNotFoundError, Damaged) as error:
        if not done:
            reason = (
                str(error)
                if isinstance(error, Damaged)
                else f"{run_dir}: has neither {run.record.name} nor {run.tracking.name}"
            )
            raise UserError(f"{reason}; what it is found by is not known, start its training again") from None
    record = read_record(run_dir)
    cfg = to_schema(TrainConfig, record.config)
    return cfg.wandb, about(cfg, read_cohort_of(record, run_dir, data_dir), record.axes, record.code)
