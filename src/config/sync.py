"""The configuration of `python -m src.sync`."""

from dataclasses import dataclass

from src.config.audit import run_problems


@dataclass
class SyncConfig:
    """Sends runs to the W&B server that this machine is logged in to, those only whose audit finds nothing."""

    runs: list[str]
    """Folders of runs, or folders that hold them; on the command line they may stand alone."""
    entity: str | None
    """User or team whose projects the runs go to; null takes the one that is logged in."""
    data_dir: str | None
    """Where the runs' cohort lies now; null takes the place that each run's record names."""
    notes: bool
    """Whether the audit must have matched against the cohort's notes."""

    def problems(self) -> list[str]:
        """One line for each value that cannot be."""
        return run_problems(self.runs, "sync")
