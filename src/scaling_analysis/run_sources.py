"""Where finished runs are read from: a folder of runs, a sweep by its name, offline W&B runs, or a W&B project."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from src.cli.errors import UserError
from src.cli.json_files import read_json, tell_once
from src.runs.finished import Run, of_many
from src.runs.folder import RunFolder
from src.runs.history import read_history
from src.runs.record import damage, read_record
from src.runs.state import RunStatus
from src.runs.status import queued_jobs, read_status
from src.scaling_analysis.result import Missing
from src.sweeps.manifest import read_sweep

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
    """Finished runs from wherever they are, the same from all.

    Args:
        source: a folder of runs or of offline W&B runs, a sweep's name, `wandb:ENTITY/PROJECT`, or
            `wandb:ENTITY/PROJECT/GROUP`.
        out: folder that holds the runs of a named sweep.

    Raises:
        UserError: there is no such thing, or no run in it is finished with a whole record.
    """
    if source.startswith(WANDB):
        found = _project(source)
    else:
        found = _folder(Path(source)) if Path(source).is_dir() else _sweep(source, out)
    if not found.runs:
        waiting = "".join(f"\n  {run.name}: {run.standing}" for run in found.unfinished)
        raise UserError(f"{source}: holds no finished run{waiting}")
    return dataclasses.replace(found, runs=tuple(map(of_many, found.runs)))


def _project(source: str) -> Source:
    from src.scaling_analysis.wandb_runs import read_project

    parts = source.removeprefix(WANDB).split("/", 2)
    if len(parts) < 2 or not all(parts):
        raise UserError(f"{source}: write wandb:ENTITY/PROJECT or wandb:ENTITY/PROJECT/GROUP")
    runs, unfinished = read_project("/".join(parts[:2]), parts[2] if len(parts) > 2 else None)
    return Source(tuple(runs), tuple(unfinished))


def _folder(folder: Path) -> Source:
    paths = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    runs = [_read(path) for path in paths if RunFolder(path).finished]
    offline, begun = _offline([path for path in paths if not RunFolder(path).finished])
    runs += offline
    have, queued = {run.name for run in runs}, queued_jobs(folder)
    cells = [path for path in paths if path.name not in have and ((RunFolder(path).job).is_file() or damage(path))]
    unfinished = {
        **{each.name: each for each in begun},
        **{path.name: Missing(path.name, _words(path), _standing(path, path.name in queued)) for path in cells},
    }
    return Source(tuple(sorted(runs, key=lambda run: run.name)), tuple(unfinished.values()))


def _offline(folders: Sequence[Path]) -> tuple[list[Run], list[Missing]]:
    """Runs of which only W&B's files are there; W&B is imported only where there are some."""
    from src.privacy.offline_runs import journal_files

    written = [folder for folder in folders if journal_files(folder)]
    if not written:
        return [], []
    from src.scaling_analysis.wandb_runs import read_offline_folders

    return read_offline_folders(written)


def _sweep(name: str, out: Path) -> Source:
    asked = read_sweep(out, name)["cells"]
    queued = queued_jobs(out)
    runs, unfinished = [], []
    for cell in asked:
        path = out / cell["name"]
        if RunFolder(path).finished:
            runs.append(_read(path))
        else:
            unfinished.append(Missing(path.name, " ".join(cell["words"]), _standing(path, path.name in queued)))
    return Source(tuple(sorted(runs, key=lambda run: run.name)), tuple(unfinished), closed=True)


def _read(path: Path) -> Run:
    return Run(path.name, read_record(path), read_history(path), path)


def _standing(path: Path, queued: bool) -> str:
    """Where a run stands; what is wrong with a damaged one is told on standard error."""
    if error := damage(path):
        tell_once(f"{error}; left out")
        return str(RunStatus.DAMAGED)
    return str(read_status(path, queued).standing)


def _words(path: Path) -> str:
    try:
        return " ".join(read_json(RunFolder(path).job, {"words": list[str]})["words"])
    except (FileNotFoundError, UserError):
        return ""
