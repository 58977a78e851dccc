"""A job is one configuration of a sweep and the folder that follows from it."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from src.cli.compose import to_schema
from src.cli.errors import UserError
from src.cli.json_files import Schema, read_json, write_json
from src.config.train import TrainConfig
from src.runs.folder import RunFolder
from src.runs.provenance import code_version

CELL = "src.cell"
"""The command that works on a job; launchers start it by this name."""

SCHEMA: Schema = {"config": dict, "words": list[str], "search?": dict}


@dataclass(frozen=True)
class Job:
    """Describes one run of a sweep, as a launcher starts it.

    Attributes:
        folder: where it lives; its name is the cell's.
        cfg: what it trains.
        words: the overrides in which it differs from other cells.
        launcher: the values of `hydra.launcher` for it.
    """

    folder: Path
    cfg: TrainConfig
    words: list[str]
    launcher: dict[str, Any]

    @property
    def name(self) -> str:
        """Is the folder's name, and the id of the W&B run."""
        return self.folder.name


def write_job(job: Job, cohort_fingerprint: str, search: dict[str, Any] | None = None) -> None:
    """Writes what a process needs to work on the cell, `cell.json`, unless it is there already.

    Args:
        job: the cell.
        cohort_fingerprint: of the cohort that it reads.
        search: what a trial is of; where the file is of the same, it stays, as somebody may be choosing values now.
    """
    content = {
        "config": dataclasses.asdict(job.cfg),
        "words": job.words,
        "cohort": cohort_fingerprint,
        "code": code_version(),
    }
    if search is not None:
        content["search"] = search
    try:
        there = read_job(job.folder)
        same = there == content if search is None else there.get("search") == search
    except UserError:
        same = False
    if not same:
        write_json(RunFolder(job.folder).job, content, SCHEMA, indent=1)


def read_job(folder: Path) -> dict[str, Any]:
    """Reads what `cell.json` holds: `config`, `words`, `cohort`, `code`.

    Raises:
        UserError: there is none, or it is damaged.
    """
    try:
        return read_json(RunFolder(folder).job, SCHEMA, "start the sweep again")
    except FileNotFoundError:
        raise UserError(f"{RunFolder(folder).job}: no such file; start the sweep again") from None


def config_of(folder: Path) -> TrainConfig:
    """Reads the configuration of a job's folder.

    Raises:
        UserError: `cell.json` is missing or damaged, or holds a key that is unknown now.
    """
    return to_schema(TrainConfig, read_job(folder)["config"])
