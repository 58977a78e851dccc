"""Finds runs as they stand: in a folder of runs, in a run's own folder, or by the name of a sweep."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from src.cli.errors import UserError
from src.cli.json_files import Schema, read_json
from src.runs.folder import RunFolder
from src.runs.status import SWEEPS, StatusSnapshot, queued_jobs, read_status

SWEEP: Schema = {"cells": [{"name": str, "words": list[str]}]}
"""What of a sweep's file is read."""


@dataclass(frozen=True)
class ListedRun:
    """Describes one run as it stands, finished or not.

    Attributes:
        folder: where it lives.
        words: the overrides in which it differs from others of its sweep; empty in a folder of runs.
        job: of Slurm, which was asked to run it and has not answered yet.
        status: where it stands.
    """

    folder: Path
    words: str
    job: str | None
    status: StatusSnapshot


def is_run(folder: Path) -> bool:
    """Says whether a folder keeps a run: it has a record, or is a job of a sweep."""
    run = RunFolder(folder)
    return run.record.exists() or run.state.exists() or run.job.exists()


def run_folders(folder: Path, is_run: Callable[[Path], bool] = is_run) -> list[Path]:
    """Lists the folder itself where it is a run, else the runs in it, by name; a hidden folder is none."""
    if is_run(folder):
        return [folder]
    return sorted(path for path in folder.glob("*") if not path.name.startswith(".") and is_run(path))


def find_runs(source: str, out: Path) -> list[ListedRun]:
    """Finds the runs of a folder, a folder that is a run, or the runs that a sweep last asked for.

    Args:
        source: a folder, or a sweep's name.
        out: folder that holds the runs of a named sweep.

    Raises:
        UserError: no such sweep was started there.
    """
    folder = Path(source)
    if folder.is_dir():
        rows = [(path, "") for path in run_folders(folder)]
        out = folder.parent if rows and rows[0][0] == folder else folder
    else:
        rows = [(out / job["name"], " ".join(job["words"])) for job in read_sweep(out, source)["cells"]]
    queued = queued_jobs(out)
    return [
        ListedRun(path, words, queued.get(path.name), read_status(path, path.name in queued)) for path, words in rows
    ]


def read_sweep(out: Path, name: str) -> dict[str, Any]:
    """Reads what the sweep last asked for: `cells`, each with `name` and `words`.

    Raises:
        UserError: no sweep of that name was started from this folder, or what it asked for is damaged.
    """
    path = out / SWEEPS / f"{name}.json"
    try:
        return read_json(path, SWEEP, "start the sweep again")
    except FileNotFoundError:
        sweeps = ", ".join(sorted(file.stem for file in (out / SWEEPS).glob("*.json"))) or "none"
        raise UserError(f"{name}: no sweep of that name was started with out={out}; there are {sweeps}") from None
