"""Seconds of each part of a run."""

import time


class Stopwatch:
    """Measures the parts of a run, one after the other."""

    def __init__(self) -> None:
        self.start = self.last = time.monotonic()
        self.laps: dict[str, float] = {}

    def lap(self, name: str) -> None:
        """Ends the part that goes by `name`."""
        now = time.monotonic()
        self.laps[name], self.last = round(now - self.last, 3), now

    @property
    def total(self) -> float:
        """Counts the seconds from the start to the last lap."""
        return round(self.last - self.start, 3)
