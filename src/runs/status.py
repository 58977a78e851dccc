"""Where each cell of a folder stands, from records alone: no scheduler is asked, nothing heavy is imported."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from src.cli.errors import UserError
from src.cli.json_files import Schema, read_json, tell_once
from src.runs.lock import Holder, held_by
from src.runs.record import damage, finished
from src.runs.state import CellState, Standing, read_state

BATCHES = ".slurm"
"""Folder beside the cells: what was submitted to Slurm, a file a job array."""

BATCH: Schema = {"cells": list[str], "job": str | None, "over": list[int], "written": float}

SWEEPS = ".sweeps"
"""Folder beside the cells: what each sweep last asked for."""


@dataclass(frozen=True)
class Look:
    """One cell, looked at once."""

    standing: Standing
    state: CellState | None
    holder: Holder | None


def look_at(folder: Path, queued: bool = False) -> Look:
    """Where a cell stands; `queued` says that a scheduler was asked to run it and has not answered yet."""
    state = read_state(folder)
    if finished(folder):
        return Look(Standing.FINISHED, state, None)
    holder = held_by(folder)
    if holder:
        return Look(Standing.RUNNING, state, holder)
    if queued and not (state and state.state is Standing.FAILED):
        return Look(Standing.QUEUED, state, None)
    if damage(folder):
        return Look(Standing.DAMAGED, state, None)
    if state is None:
        return Look(Standing.WAITING, None, None)
    died = state.state in (Standing.RUNNING, Standing.FINISHED)  # the latter: its record was removed
    return Look(Standing.LOST if died else state.state, state, None)


def read_batches(out: Path) -> list[dict[str, Any]]:
    """What was submitted to Slurm from this folder, with `mark`: `cells`, `job`, `over`."""
    found = []
    for path in sorted((out / BATCHES).glob("*.json")):
        try:
            found.append({**read_json(path, BATCH), "mark": path.stem})
        except FileNotFoundError:
            continue  # just being removed
        except UserError as error:
            tell_once(f"{error}; its jobs are not known")
    return found


def queued_cells(out: Path) -> dict[str, str]:
    """The cells that Slurm was asked to run and that no process is known to have ended, with their jobs."""
    return {
        Path(cell).name: f"{batch['job'] or '?'}_{index}"
        for batch in read_batches(out)
        for index, cell in enumerate(batch["cells"])
        if index not in batch["over"]
    }
