"""What became of the cells of one start of a sweep, and which of them are started again."""

import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from src.cli.progress import SECONDS_BETWEEN_LINES, minutes
from src.runs.job import Cell
from src.runs.state import CellState, Standing, write_state
from src.runs.status import look_at


class Tally:
    """Counts ends, and decides which deaths are worth another start."""

    def __init__(self, what: str, cells: Sequence[Cell], retries: int) -> None:
        self.what, self.cells, self.retries = what, cells, retries
        self.left = {cell.folder for cell in cells}
        self._deaths: Counter[Path] = Counter()
        self._start = self._said = time.monotonic()

    def again(self, folder: Path, how: str, *, stopped: bool = False, died: bool = False) -> bool:
        """Whether a cell whose process is gone is to be started again.

        Args:
            folder: the cell's.
            how: what is known of the process's end, in a few words.
            stopped: someone meant it to end.
            died: its process is known to be dead, though its lock may still look alive from here.
        """
        look = look_at(folder)
        unfinished = [
            Standing.LOST,
            Standing.WAITING,
            Standing.PREEMPTED,
            Standing.DAMAGED,
            *([Standing.RUNNING] if died else []),
        ]
        dead = look.standing in unfinished and not stopped
        self._deaths[folder] += dead
        if dead and self._deaths[folder] <= self.retries:
            print(f"{folder.name}: {how}; started again", file=sys.stderr, flush=True)
            return True
        self.left.discard(folder)
        if dead:
            state = look.state or CellState(Standing.FAILED)
            state.state, state.error = Standing.FAILED, f"{how}, {self._deaths[folder]} times"
            write_state(folder, state)
        self._tell(folder)
        return False

    def _tell(self, folder: Path) -> None:
        look, ended = look_at(folder), len(self.cells) - len(self.left)
        why = f": {look.state.error}" if look.state and look.state.error and look.standing is Standing.FAILED else ""
        by = f" by {look.holder}" if look.holder else ""
        print(f"{ended} of {len(self.cells)}  {folder.name}  {look.standing}{by}{why}", file=sys.stderr, flush=True)

    def line(self, running: int) -> None:
        """Tells now and then how far the sweep is."""
        now = time.monotonic()
        if now - self._said < SECONDS_BETWEEN_LINES or not self.left:
            return
        self._said = now
        ended, elapsed = len(self.cells) - len(self.left), now - self._start
        left = f", about {minutes(elapsed / ended * len(self.left))} left" if ended else ""
        told = f"{self.what}: {ended} of {len(self.cells)} ended, {running} running, {minutes(elapsed)} gone{left}"
        print(told, file=sys.stderr, flush=True)
