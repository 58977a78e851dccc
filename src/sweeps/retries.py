"""Counts what became of the cells of one start of a sweep, and decides which are started again."""

import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from src.cli.progress import SECONDS_BETWEEN_LINES, minutes
from src.runs.job import Job
from src.runs.state import JobState, RunStatus, write_state
from src.runs.status import read_status


class RetryTracker:
    """Counts ends, and decides which deaths are worth another start."""

    def __init__(self, name: str, jobs: Sequence[Job], retries: int) -> None:
        self.name, self.jobs, self.retries = name, jobs, retries
        self.pending = {job.folder for job in jobs}
        self._deaths: Counter[Path] = Counter()
        self._start = self._said = time.monotonic()

    def again(self, folder: Path, reason: str, *, stopped: bool = False, died: bool = False) -> bool:
        """Decides whether a cell whose process is gone is to be started again.

        Args:
            folder: the cell's.
            reason: what is known of the process's end, in a few words.
            stopped: someone meant it to end.
            died: its process is known to be dead, though its lock may still look alive from here.
        """
        status = read_status(folder)
        unfinished = [
            RunStatus.LOST,
            RunStatus.WAITING,
            RunStatus.PREEMPTED,
            RunStatus.DAMAGED,
            *([RunStatus.RUNNING] if died else []),
        ]
        dead = status.standing in unfinished and not stopped
        self._deaths[folder] += dead
        if dead and self._deaths[folder] <= self.retries:
            print(f"{folder.name}: {reason}; started again", file=sys.stderr, flush=True)
            return True
        self.pending.discard(folder)
        if dead:
            state = status.state or JobState(RunStatus.FAILED)
            state.state, state.error = RunStatus.FAILED, f"{reason}, {self._deaths[folder]} times"
            write_state(folder, state)
        self._tell(folder)
        return False

    def _tell(self, folder: Path) -> None:
        status, ended = read_status(folder), len(self.jobs) - len(self.pending)
        error = status.state.error if status.state and status.standing is RunStatus.FAILED else None
        end = f"{status.standing} by {status.holder}" if status.holder else str(status.standing)
        reason = f": {error}" if error else ""
        print(f"{ended} of {len(self.jobs)}  {folder.name}  {end}{reason}", file=sys.stderr, flush=True)

    def line(self, running: int) -> None:
        """Tells now and then how far the sweep is."""
        now = time.monotonic()
        if now - self._said < SECONDS_BETWEEN_LINES or not self.pending:
            return
        self._said = now
        ended, elapsed = len(self.jobs) - len(self.pending), now - self._start
        remaining = f", about {minutes(elapsed / ended * len(self.pending))} left" if ended else ""
        text = f"{self.name}: {ended} of {len(self.jobs)} ended, {running} running, {minutes(elapsed)} gone{remaining}"
        print(text, file=sys.stderr, flush=True)
