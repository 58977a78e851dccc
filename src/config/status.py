"""The configuration of `python -m src.status`."""

from dataclasses import dataclass


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
        """One line for each value that cannot be."""
        return [] if self.every_s > 0 else [f"every_s={self.every_s}: must be above 0"]
