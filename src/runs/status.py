"""The status of each job of a folder follows from its files: no scheduler is asked, nothing heavy is imported."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from src.cli.errors import UserError
from src.cli.json_files import Schema, read_json, tell_once
from src.runs.lock import Holder, held_by
from src.runs.record import damage, finished
from src.runs.state import JobState, RunStatus, read_state
from src.runs.trial_record import read_trial

BATCHES = ".slurm"
"""Folder beside the cells: what was submitted to Slurm, a file a job array."""

BATCH: Schema = {"cells": list[str], "job": str | None, "over": list[int], "written": float}

SWEEPS = ".sweeps"
"""Folder beside the cells: what each sweep last asked for."""


@dataclass(frozen=True)
class StatusSnapshot:
    """Holds what one look at a job showed."""

    standing: RunStatus
    state: JobState | None
    holder: Holder | None


def read_status(folder: Path, queued: bool = False) -> StatusSnapshot:
    """Reads where a job stands; `queued` says that a scheduler was asked to run it and has not answered yet."""
    state = read_state(folder)
    if finished(folder):
        return StatusSnapshot(RunStatus.FINISHED, state, None)
    holder = held_by(folder)
    if holder:
        return StatusSnapshot(RunStatus.RUNNING, state, holder)
    if trial := read_trial(folder):
        return StatusSnapshot(trial.standing, state, None)
    if queued and not (state and state.state is RunStatus.FAILED):
        return StatusSnapshot(RunStatus.QUEUED, state, None)
    if damage(folder):
        return StatusSnapshot(RunStatus.DAMAGED, state, None)
    if state is None:
        return StatusSnapshot(RunStatus.WAITING, None, None)
    died = state.state in (RunStatus.RUNNING, RunStatus.FINISHED)  # the latter: its record was removed
    return StatusSnapshot(RunStatus.LOST if died else state.state, state, None)


def read_batches(out: Path) -> list[dict[str, Any]]:
    """Reads what was submitted to Slurm from this folder, with `mark`: `cells`, `job`, `over`."""
    batches = []
    for path in sorted((out / BATCHES).glob("*.json")):
        try:
            batches.append({**read_json(path, BATCH), "mark": path.stem})
        except FileNotFoundError:
            continue  # just being removed
        except UserError as error:
            tell_once(f"{error}; its jobs are not known")
    return batches


def queued_jobs(out: Path) -> dict[str, str]:
    """Maps each job that Slurm was asked to run, and that no process is known to have ended, to its Slurm job."""
    return {
        Path(job).name: f"{batch['job'] or '?'}_{index}"
        for batch in read_batches(out)
        for index, job in enumerate(batch["cells"])
        if index not in batch["over"]
    }
