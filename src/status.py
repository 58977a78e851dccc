"""Shows where the cells of a sweep stand: `python -m src.status SWEEP`, a sweep's name or a folder of runs."""

import sys
import time
from dataclasses import dataclass
from pathlib import Path

from src.cli.command import command, with_first_named


@dataclass
class StatusConfig:
    """Shows where the cells of a sweep stand, and the finished ones as a leaderboard."""

    sweep: str
    """A sweep's name, or a folder of runs."""
    out: str
    """Folder that holds the runs of a named sweep."""
    live: bool
    """Show it again and again until nothing runs or waits."""
    every_s: float
    """Seconds between two looks."""
    csv: str | None
    """File for every cell with its axes and metrics."""

    def problems(self) -> list[str]:
        """Lists one line for each value that cannot be."""
        return [] if self.every_s > 0 else [f"every_s={self.every_s}: must be above 0"]


def status(cfg: StatusConfig) -> None:
    """Prints a row a cell and a leaderboard, from records alone; again and again when `live`.

    Raises:
        UserError: there is no such sweep.
    """
    from src.cli.files import atomic_write
    from src.display.spreadsheet import write_csv
    from src.runs.state import RunStatus
    from src.sweeps.status_table import csv_rows, leaderboard, read_rows, status_table, summary

    while True:
        rows = read_rows(cfg.sweep, Path(cfg.out))
        if cfg.live and sys.stdout.isatty():
            print("\033[2J\033[H", end="")
        print(status_table(rows))
        board = leaderboard(rows)
        print(f"\n{board}\n" if board else "")
        print(summary(rows), flush=True)
        if cfg.csv:
            with atomic_write(Path(cfg.csv)) as tmp:
                write_csv(tmp, *csv_rows(rows))
        waits = any(row.look.standing in (RunStatus.RUNNING, RunStatus.QUEUED, RunStatus.WAITING) for row in rows)
        if not (cfg.live and waits):
            return
        time.sleep(cfg.every_s)


def main() -> None:
    """Runs the command, whose first word may be the sweep alone."""
    sys.argv[1:] = with_first_named(sys.argv[1:], "sweep")
    command(StatusConfig, "status", status)


if __name__ == "__main__":
    main()
