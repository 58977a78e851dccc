"""What W&B wrote of a run on this machine: its records, and from them configuration, summary and history.

A run that was started several times has a folder a start; together they tell one run. `wandb.Api` reads servers only,
and `wandb leet inspect` prints one file at a time, neither its tear nor its damage.
"""

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from src.cli.errors import UserError
from src.privacy.wandb_frames import read_frames
from src.runs.history import Curves
from src.tracking.policy import ENVIRONMENT

STEP = "trainer/global_step"
"""The trainer's step in a row of the history; W&B's own `_step` counts the rows of one start."""

Row = dict[str, Any]


@dataclass(frozen=True)
class Journal:
    """One file, which is one start of a run.

    Attributes:
        records: place in the file, and `wandb_internal_pb2.Record`, in order.
        torn: whether its end is missing, as after a kill.
    """

    path: Path
    records: list[tuple[int, Any]]
    torn: bool

    @property
    def run(self) -> Any:
        """The `RunRecord` with which it begins; None where the file was torn before."""
        return next((record.run for _, record in self.records if record.HasField("run")), None)

    def of(self, kind: str) -> Iterator[Any]:
        """The records of a kind, such as `history`."""
        return (getattr(record, kind) for _, record in self.records if record.WhichOneof("record_type") == kind)


@dataclass(frozen=True)
class OfflineRun:
    """One run as its files tell it together.

    Attributes:
        config: without W&B's own part.
        summary: the last value of each name, W&B's own (`_step`) left out.
        rows: of the history, sorted by the trainer's step; of what several starts told of a step, the last.
        exit_code: with which its last start ended; None where it was killed.
    """

    id: str
    project: str
    entity: str = ""
    group: str = ""
    job_type: str = ""
    name: str = ""
    tags: tuple[str, ...] = ()
    config: dict[str, Any] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)
    exit_code: int | None = None

    @property
    def curves(self) -> Curves:
        """Each metric by the trainer's step."""
        found: Curves = {}
        for row in self.rows:
            for key, value in row.items():
                if STEP in row and not key.startswith("_") and key != STEP and isinstance(value, int | float):
                    found.setdefault(key, {})[int(row[STEP])] = value
        return found


def journal_files(run_dir: Path) -> list[Path]:
    """The files of a run's starts: below its `wandb`, or of `run_dir` itself where that is what W&B wrote."""
    for pattern in ("wandb/*run-*/*.wandb", "*run-*/*.wandb", "*.wandb"):
        if found := sorted(path for path in run_dir.glob(pattern) if not path.parent.is_symlink()):
            return found
    return []


def read_journal(path: Path) -> Journal:
    """The records of one file, up to its tear.

    Raises:
        UserError: it is damaged, or not W&B's; the message says where.
    """
    frames, message, records = read_frames(path), record_type(), []
    for place, body in frames.bodies:
        record = message()
        try:
            record.ParseFromString(body)
        except Exception as error:  # `DecodeError` of whichever implementation protobuf chose
            raise UserError(
                f"{path}: byte {place}: no record of W&B's that this version knows ({type(error).__name__})"
            ) from None
        records.append((place, record))
    return Journal(path, records, frames.torn is not None)


@cache
def record_type() -> Any:
    """W&B's message class for one record; imported under the policy's environment."""
    os.environ.update(ENVIRONMENT)
    from wandb.proto import wandb_internal_pb2

    return wandb_internal_pb2.Record


def read_journals(run_dir: Path) -> list[Journal]:
    """A run's starts, first to last; those that were torn before their first record are left out.

    Raises:
        UserError: a file is damaged, or there are files of several runs.
    """
    begun = [journal for path in journal_files(run_dir) if (journal := read_journal(path)).run is not None]
    if len(names := sorted({journal.run.run_id for journal in begun})) > 1:
        raise UserError(f"{run_dir}: holds {len(names)} W&B runs, {names[0]} and {names[1]} among them; name one run")
    return sorted(begun, key=lambda each: (each.run.start_time.ToNanoseconds(), str(each.path)))


def tell(journals: Sequence[Journal]) -> OfflineRun:
    """One run from its starts, first to last."""
    config: dict[str, Any] = {}
    summary: dict[str, Any] = {}
    for journal in journals:
        for _, record in journal.records:
            if record.HasField("run"):
                _update(config, record.run.config)
            elif record.HasField("config"):
                _update(config, record.config)
            elif record.HasField("summary"):
                _update(summary, record.summary)
    run, ends = journals[-1].run, list(journals[-1].of("exit"))
    return OfflineRun(
        id=run.run_id,
        project=run.project,
        entity=run.entity,
        group=run.run_group,
        job_type=run.job_type,
        name=run.display_name,
        tags=tuple(run.tags),
        config={key: value for key, value in config.items() if key != "_wandb"},
        summary={key: value for key, value in summary.items() if not key.startswith("_")},
        rows=merged_rows([[row_of(history) for history in journal.of("history")] for journal in journals]),
        exit_code=ends[-1].exit_code if ends else None,
    )


def row_of(history: Any) -> Row:
    """A `HistoryRecord` as a row."""
    return {key_of(item): json.loads(item.value_json) for item in history.item}


def key_of(item: Any) -> str:
    """The name of an item of configuration, summary or history; the parts of a nested one joined by dots."""
    return item.key or ".".join(item.nested_key)


def merged_rows(starts: Sequence[Sequence[Row]]) -> list[Row]:
    """The rows of several starts as one start would have told them, by the trainer's step.

    A resumed run repeats the steps since its last checkpoint; of what it tells again of a step, the last counts.

    >>> merged_rows([[{"trainer/global_step": 1, "a": 1.0}, {"trainer/global_step": 2, "a": 9.0}],
    ...              [{"trainer/global_step": 2, "a": 2.0}, {"trainer/global_step": 2, "b": 3.0}]])
    ... # doctest: +NORMALIZE_WHITESPACE
    [{'trainer/global_step': 1, 'a': 1.0}, {'trainer/global_step': 2, 'a': 2.0}, {'trainer/global_step': 2, 'b': 3.0}]
    """
    later: set[tuple[Any, str]] = set()
    kept: list[Row] = []
    for rows in reversed(starts):
        mine = []
        for row in rows:
            left = {key: value for key, value in row.items() if (row.get(STEP), key) not in later or _own(key)}
            if STEP not in row or any(not _own(key) for key in left):
                mine.append(left)
        later |= {(row[STEP], key) for row in rows if STEP in row for key in row if not _own(key)}
        kept = mine + kept
    return sorted(kept, key=lambda row: row[STEP]) if all(STEP in row for row in kept) else kept


def _own(key: str) -> bool:
    """Whether a value of a row is W&B's, or its place, rather than a metric."""
    return key.startswith("_") or key == STEP


def _update(held: dict[str, Any], record: Any) -> None:
    for item in record.update:
        path = list(item.nested_key) or [item.key]
        inner = held
        for key in path[:-1]:
            if not isinstance(inner.get(key), dict):
                inner[key] = {}
            inner = inner[key]
        inner[path[-1]] = json.loads(item.value_json)
    for item in record.remove:
        path, inner = list(item.nested_key) or [item.key], held
        for key in path[:-1]:
            inner = inner.get(key, {})
        inner.pop(path[-1], None)
