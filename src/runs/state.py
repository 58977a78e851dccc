"""A job says in `state.json` where it stands while it is not finished; the file is replaced whole.

It holds numbers and short names. Of an error it keeps the class, and the text only of our own errors and of the
system's, which name files, keys and values, never a note.
"""

import time
import typing
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path

from src.cli.errors import UserError, system_error_line
from src.cli.json_files import read_json, tell_once, write_json
from src.runs.folder import RunFolder

ROOT = Path(__file__).parents[1]


class RunStatus(StrEnum):
    """Names where a job stands."""

    FINISHED = "finished"
    RUNNING = "running"
    QUEUED = "queued"
    WAITING = "waiting"
    PREEMPTED = "preempted"
    LOST = "lost"
    DAMAGED = "damaged"
    FAILED = "failed"
    TRIED = "tried"
    """A trial of a search, trained to its end and measured on validation notes alone."""
    STOPPED = "stopped"
    """A trial that others were better than."""


ENDED = (RunStatus.FINISHED, RunStatus.TRIED, RunStatus.STOPPED)
"""Where nothing is left to do."""


@dataclass
class JobState:
    """Holds what a job last said of itself.

    Attributes:
        state: running, preempted or failed; a cell with a `result.json` is finished, whatever this says.
        attempts: how often a process began to work on it.
        started: when this attempt began, in seconds since 1970.
        told: when this was written.
        stage: what it is doing.
        done: steps or batches of the stage that are done.
        total: of how many.
        left_s: seconds that the stage will still take, as far as its speed so far tells.
        metric: accuracy on validation patients after the last epoch.
        notes: validation notes that `metric` was measured on.
        error: one line.
        code: hashes of the sources that have trained the cell, the latest last.
        seconds: where the time of a finished cell went, by part: `start` of the process, `load` up to the first step,
            `training` up to the last, `evaluation` up to the record.
    """

    state: RunStatus
    host: str = ""
    pid: int = 0
    job: str | None = None
    gpu: str | None = None
    attempts: int = 0
    started: float = 0.0
    told: float = 0.0
    stage: str = ""
    done: int = 0
    total: int = 0
    left_s: float | None = None
    metric: float | None = None
    notes: int = 0
    error: str | None = None
    code: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)


def read_state(run_dir: Path) -> JobState | None:
    """Reads what the job last said; None where it said nothing that can be read."""
    hints = typing.get_type_hints(JobState)
    try:
        schema = {name if name == "state" else f"{name}?": hints[name] for name in hints}
        written = read_json(RunFolder(run_dir).state, schema)
    except FileNotFoundError:
        return None
    except UserError as error:
        tell_once(str(error))
        return None
    return JobState(**{**{key: written[key] for key in hints if key in written}, "state": RunStatus(written["state"])})


def write_state(run_dir: Path, state: JobState) -> None:
    """Writes what the job says now, whole or not at all, and sets `told` to the time."""
    state.told = time.time()
    write_json(RunFolder(run_dir).state, asdict(state))


def error_line(error: BaseException) -> str:
    """Words an error as a record may keep it: its class, and its text when it is ours.

    >>> error_line(ValueError("patient was admitted"))
    'ValueError'
    >>> error_line(UserError("lora.r=0: must be at least 1"))
    'lora.r=0: must be at least 1'
    """
    if isinstance(error, UserError):
        return " ".join(str(error).split())[:300]
    return system_error_line(error) or type(error).__name__ + _location(error)


def _location(error: BaseException) -> str:
    """Locates the line of our own code in which an error arose, as ` at file.py:12`; empty where there is none."""
    location, trace = "", error.__traceback__
    while trace:
        path = Path(trace.tb_frame.f_code.co_filename)
        if path.is_relative_to(ROOT):
            location = f" at {path.relative_to(ROOT)}:{trace.tb_lineno}"
        trace = trace.tb_next
    return location
