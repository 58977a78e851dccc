"""Reads finished runs from a folder of runs, a run, a sweep by its name, or a W&B project."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from src.cli.errors import UserError
from src.cli.json_files import read_json, tell_once
from src.runs.find import ListedRun, find_runs
from src.runs.finished import Run, of_many, read_run
from src.runs.folder import RunFolder
from src.runs.record import damage
from src.runs.state import RunStatus
from src.scaling_analysis.result import Missing

WANDB = "wandb:"


@dataclass(frozen=True, eq=False)
class Source:
    """Runs as they stand now.

    Attributes:
        runs: the finished ones, in the order of their names.
        unfinished: those that are known to be asked for.
        closed: `unfinished` is all that is missing, as of a sweep; else the grid's holes are missing too.
    """

    runs: tuple[Run, ...]
    unfinished: tuple[Missing, ...] = ()
    closed: bool = False


def read_source(source: str, out: Path = Path("runs")) -> Source:
    """Reads finished runs from wherever they are, the same from all.

    Args:
        source: a folder of runs, a run's folder, a sweep's name, `wandb:ENTITY/PROJECT`, or
            `wandb:ENTITY/PROJECT/GROUP`.
        out: folder that holds the runs of a named sweep.

    Raises:
        UserError: there is no such thing, or no run in it is finished with a whole record.
    """
    runs = _project(source) if source.startswith(WANDB) else _listed(source, out)
    if not runs.runs:
        waiting = "".join(f"\n  {run.name}: {run.standing}" for run in runs.unfinished)
        raise UserError(f"{source}: holds no finished run{waiting}")
    return dataclasses.replace(runs, runs=tuple(map(of_many, runs.runs)))


def _project(source: str) -> Source:
    from src.scaling_analysis.wandb_runs import read_project

    parts = source.removeprefix(WANDB).split("/", 2)
    if len(parts) < 2 or not all(parts):
        raise UserError(f"{source}: write wandb:ENTITY/PROJECT or wandb:ENTITY/PROJECT/GROUP")
    runs, unfinished = read_project("/".join(parts[:2]), parts[2] if len(parts) > 2 else None)
    return Source(tuple(runs), tuple(unfinished))


def _listed(source: str, out: Path) -> Source:
    folder, listed = Path(source), find_runs(source, out)
    if folder.is_dir():
        _refuse_wandb_alone(folder, [run.folder for run in listed])
    finished = sorted(run.folder for run in listed if run.status.standing is RunStatus.FINISHED)
    unfinished = [_missing(run) for run in listed if run.status.standing is not RunStatus.FINISHED]
    return Source(tuple(map(read_run, finished)), tuple(unfinished), closed=not folder.is_dir())


def _refuse_wandb_alone(folder: Path, run_folders: Sequence[Path]) -> None:
    """Refuses a folder in which only W&B wrote; beside runs, such folders are left out and named once.

    Raises:
        UserError: there is no run beside them.
    """
    if not run_folders and next(folder.rglob("run-*.wandb"), None):
        raise UserError(
            f"{folder}: holds what W&B wrote, and no result.json; name the folder in which the runs were trained, or "
            "wandb:ENTITY/PROJECT"
        )
    for path in sorted(folder.iterdir()):
        if path not in run_folders and RunFolder(path).wandb.is_dir():
            tell_once(f"{path}: holds what W&B wrote, and no result.json; left out")


def _missing(run: ListedRun) -> Missing:
    """Describes an unfinished run; what is wrong with a damaged one is told on standard error."""
    standing = run.status.standing
    if error := damage(run.folder):
        tell_once(f"{error}; left out")
        standing = RunStatus.DAMAGED
    words = run.words
    if not words:
        try:
            words = " ".join(read_json(RunFolder(run.folder).job, {"words": list[str]})["words"])
        except (FileNotFoundError, UserError):
            words = ""
    return Missing(run.folder.name, words, str(standing))
