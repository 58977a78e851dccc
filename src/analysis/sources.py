"""Where finished runs are read from: a folder of runs, a sweep by its name, offline W&B runs, or a W&B project."""

from dataclasses import dataclass
from pathlib import Path

from src.analysis.runs import Run
from src.analysis.scaling import Missing
from src.evaluation.record import finished, read_record
from src.shell.errors import UserError
from src.sweeps.cell import CELL, read_cell
from src.sweeps.record import read_sweep
from src.sweeps.standing import look_at, queued_cells
from src.tracking.history import read_history

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
        UserError: there is no such thing, no run in it is finished, or a record is damaged.
    """
    if source.startswith(WANDB):
        found = _project(source)
    else:
        found = _folder(Path(source)) if Path(source).is_dir() else _sweep(source, out)
    if not found.runs:
        waiting = f"; {len(found.unfinished)} are not finished" if found.unfinished else ""
        raise UserError(f"{source}: holds no finished run{waiting}")
    return found


def _project(source: str) -> Source:
    from src.analysis.wandb_runs import read_project

    parts = source.removeprefix(WANDB).split("/", 2)
    if len(parts) < 2 or not all(parts):
        raise UserError(f"{source}: write wandb:ENTITY/PROJECT or wandb:ENTITY/PROJECT/GROUP")
    runs, unfinished = read_project("/".join(parts[:2]), parts[2] if len(parts) > 2 else None)
    return Source(tuple(runs), tuple(unfinished))


def _folder(folder: Path) -> Source:
    paths = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    runs = tuple(_read(path) for path in paths if finished(path))
    queued = queued_cells(folder)
    unfinished = [
        Missing(path.name, _words(path), str(look_at(path, path.name in queued).standing))
        for path in paths
        if not finished(path) and (path / CELL).is_file()
    ]
    return Source(runs, tuple(unfinished))


def _sweep(name: str, out: Path) -> Source:
    asked = read_sweep(out, name)["cells"]
    queued = queued_cells(out)
    runs, unfinished = [], []
    for cell in asked:
        path = out / cell["name"]
        if finished(path):
            runs.append(_read(path))
        else:
            standing = look_at(path, path.name in queued).standing
            unfinished.append(Missing(path.name, " ".join(cell["words"]), str(standing)))
    return Source(tuple(sorted(runs, key=lambda run: run.name)), tuple(unfinished), closed=True)


def _read(path: Path) -> Run:
    return Run(path.name, read_record(path), read_history(path), path)


def _words(path: Path) -> str:
    return " ".join(read_cell(path)["words"])
