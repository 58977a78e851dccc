"""Shows a row a cell, and the finished cells as a leaderboard, for `python -m src.status`."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from src.cli.errors import UserError
from src.cli.progress import minutes
from src.cli.terminal import visible
from src.display.catalog import View, metrics_of
from src.display.published import sampling_interval
from src.runs.find import ListedRun, find_runs
from src.runs.provenance import code_version
from src.runs.record import RunRecord, damage, of_apr, read_record
from src.runs.state import ENDED, RunStatus
from src.runs.status import StatusSnapshot
from src.runs.trial_record import read_trial

ORDER = list(RunStatus)
METRIC = "test/accuracy"
"""What the leaderboard is sorted by."""


@dataclass(frozen=True)
class Row:
    """Holds one cell as it stands."""

    name: str
    words: str
    look: StatusSnapshot
    job: str | None
    record: RunRecord | None
    folder: Path

    @property
    def progress(self) -> str:
        """Says which stage it is at, and how much of it is done."""
        state = self.look.state
        if self.look.standing in ENDED or state is None or not state.total:
            return ""
        stage = state.stage if state.stage.startswith("scores") else "training"
        return f"{stage} {state.done / state.total:.0%}"

    @property
    def time_left(self) -> str:
        """Says how long the stage still takes."""
        state = self.look.state
        running = self.look.standing is RunStatus.RUNNING and state and state.left_s is not None
        return minutes(state.left_s) if running and state and state.left_s is not None else ""

    @property
    def metric(self) -> str:
        """Writes the accuracy with its 95 % interval: of test patients, or of validation patients so far."""
        if self.record:
            value, notes = self.record.metrics.get(METRIC), self.record.counts["test"]
            return "" if value is None else f"test {with_interval(value, notes)}"
        state = self.look.state
        return f"val {with_interval(state.metric, state.notes)}" if state and state.metric is not None else ""

    @property
    def where(self) -> str:
        """Names host and process that work on it or did last, or the job that waits."""
        status, state = self.look, self.look.state
        if status.standing is RunStatus.QUEUED:
            return f"job {self.job}"
        if status.holder:
            return str(status.holder)
        return "" if state is None or not state.host else f"{state.host} job {state.job}" if state.job else state.host

    @property
    def remark(self) -> str:
        """Tells the last error, or that other code trained it."""
        state = self.look.state
        if (trial := read_trial(self.folder)) and not self.record:
            return trial.line
        if self.look.standing is RunStatus.DAMAGED:
            return str(damage(self.folder))
        if state is None:
            return ""
        if state.error and self.look.standing in (RunStatus.FAILED, RunStatus.PREEMPTED):
            return state.error
        if len(state.code) > 1:
            return f"trained by {len(state.code)} versions of the code"
        return "by other code" if state.code and state.code[-1] != code_version()["source"] else ""


def read_rows(sweep: str, out: Path) -> list[Row]:
    """Reads the cells that a sweep last asked for, or those of a folder of runs, or of a run's folder.

    Raises:
        UserError: it is neither.
    """
    runs = find_runs(sweep, out)
    if not runs:
        raise UserError(f"{sweep}: holds no run")
    return [_row(run) for run in runs]


def _row(run: ListedRun) -> Row:
    record = read_record(run.folder) if run.status.standing is RunStatus.FINISHED else None
    return Row(run.folder.name, run.words, run.status, run.job, record, run.folder)


def with_interval(value: float, notes: int) -> str:
    """Writes a share of `notes` with Wilson's 95 % interval.

    >>> with_interval(0.44, 1497)
    '0.440 [0.415, 0.465]'
    """
    if not notes:
        return f"{value:.3f}"
    low, high = sampling_interval(value, notes)
    return f"{value:.3f} [{max(0.0, low):.3f}, {min(1.0, high):.3f}]"


def summary(rows: Sequence[Row]) -> str:
    """Counts how many cells stand where."""
    counts = Counter(row.look.standing for row in rows)
    return f"{len(rows)} cells: " + ", ".join(f"{counts[status]} {status}" for status in ORDER if counts[status])


def status_table(rows: Sequence[Row]) -> str:
    """Writes a row a cell."""
    head = ["cell", "state", "progress", "left", "metric", "where", "remark"]
    body = [
        [row.name, str(row.look.standing), row.progress, row.time_left, row.metric, row.where, row.remark[:100]]
        for row in rows
    ]
    return columns(head, body)


def leaderboard(rows: Sequence[Row]) -> str:
    """Finished cells, the best test accuracy first; those of each cohort by themselves, as notes and DRGs differ."""
    ended = sorted((row for row in rows if row.record), key=lambda row: -(_metric(row, METRIC) or 0.0))
    cohorts: dict[str, list[Row]] = {}
    for row in ended:
        cohorts.setdefault(row.record.cohort if row.record else "", []).append(row)
    boards = []
    for cohort, ranked in cohorts.items():
        configs = [row.record.config for row in ranked if row.record]
        folders = sorted({config["data"]["dir"] for config in configs if "data" in config})
        title = visible(f"cohort {cohort[:12]}: {', '.join(folders)}") + "\n" if len(cohorts) > 1 else ""
        boards.append(title + _board(ranked))
    return "\n\n".join(boards)


def _board(ranked: Sequence[Row]) -> str:
    apr = of_apr(row.record for row in ranked if row.record)
    shown = {key: metric.brief or metric.name for key, metric in metrics_of(View.LEADERBOARD, apr).items()}
    first = f"{shown.pop(METRIC)} [95 %]"
    body = [
        [str(rank), row.name, row.metric.removeprefix("test "), *(_number(row, key) for key in shown)]
        for rank, row in enumerate(ranked, 1)
    ]
    return columns(["", "cell", first, *shown.values()], body)


def csv_rows(rows: Sequence[Row]) -> tuple[list[str], list[list[Any]]]:
    """Every cell with its axes, its standing and all its metrics: the head of the table, and its rows."""
    axes = list(dict.fromkeys(key for row in rows if row.record for key in row.record.axes))
    metrics = list(dict.fromkeys(key for row in rows if row.record for key in row.record.metrics))
    first = ["cell", "words", "state", "progress", "left_s", "metric", "notes", "where", "remark", "seconds", "cohort"]
    head, body = [*first, *axes, *metrics], []
    for row in rows:
        state, record = row.look.state, row.record
        facts = {"cell": row.name, "words": row.words, "state": row.look.standing, "progress": row.progress,
                 "left_s": state.left_s if state and row.time_left else None, "metric": state.metric if state else None,
                 "notes": state.notes if state else None, "where": row.where, "remark": row.remark,
                 "seconds": record and record.seconds.get("total"), "cohort": record and record.cohort}  # fmt: skip
        values = {**facts, **(record.axes if record else {}), **(record.metrics if record else {})}
        body.append([values.get(name) for name in head])
    return head, body


def columns(head: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    """Text in columns, as wide as they need to be; those without a value are left out.

    >>> print(columns(["a", "b", "c"], [["1", "", "3"]]))
    a  c
    1  3
    """
    table = [[visible(cell) for cell in row] for row in (head, *body)]
    kept = [index for index in range(len(head)) if not body or any(row[index] for row in body)]
    widths = [max(len(row[index]) for row in table) for index in kept]
    lines = ["  ".join(row[index].ljust(width) for index, width in zip(kept, widths, strict=True)) for row in table]
    return "\n".join(line.rstrip() for line in lines)


def _metric(row: Row, key: str) -> float | None:
    value = row.record.metrics.get(key) if row.record else None
    return None if value is None else float(value)


def _number(row: Row, key: str) -> str:
    value = _metric(row, key)
    return "-" if value is None else f"{value:.3f}"
