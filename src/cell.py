"""Works on one cell of a sweep, as its launcher asks: `python -m src.cell FOLDER`, or `BATCH.json` in a Slurm array."""

import os
import sys
from importlib.util import find_spec
from pathlib import Path

from src.cli.command import report_user_errors
from src.cli.errors import UserError


def work_on(folder: Path) -> int:
    """Trains the cell of a folder; its record or its state tell what became of it."""
    from src.runs.job import read_job
    from src.sweeps.trial import run_trial
    from src.sweeps.worker import work
    from src.train import train

    # Lightning starts the further processes of a run by repeating what this one seems to be: this cell, no sweep.
    sys.argv[1:] = [str(folder)]
    sys.modules["__main__"].__spec__ = find_spec("src.cell")
    return work(folder, lambda cfg, run_dir: (run_trial if "search" in read_job(run_dir) else train)(cfg, run_dir))


def _of_array(batch: Path) -> Path:
    from src.cli.json_files import read_json
    from src.runs.status import BATCH

    task = os.environ.get("SLURM_ARRAY_TASK_ID", "0")
    try:
        return Path(read_json(batch, BATCH, "start the sweep again")["cells"][int(task)])
    except FileNotFoundError:
        raise UserError(f"{batch}: no such file; start the sweep again") from None
    except IndexError:
        raise UserError(f"{batch}: holds no cell {task}; start the sweep again") from None


def main() -> None:
    """Runs the command."""
    with report_user_errors():
        if len(sys.argv) != 2:
            raise UserError("python -m src.cell FOLDER; sweeps are started with python -m src.train")
        folder = Path(sys.argv[1])
        if folder.suffix == ".json":
            folder = _of_array(folder)
        from src.runs.folder import RunFolder

        if not (job := RunFolder(folder).job).is_file():
            raise UserError(f"{folder}: holds no {job.name}; sweeps are started with python -m src.train")
        sys.exit(work_on(folder))


if __name__ == "__main__":
    main()
