"""The configuration of `python -m src.audit`."""

from dataclasses import dataclass
from pathlib import Path


@dataclass
class AuditConfig:
    """Audits what W&B wrote of runs: its form, and every string of it against the notes; status 1 with findings."""

    runs: list[str]
    """Folders of runs, or folders that hold them; on the command line they may stand alone."""
    data_dir: str | None
    """Where the runs' cohort lies now; null takes the place that each run's record names."""
    notes: bool
    """Whether to match against the cohort's notes; without them the verdict says so."""

    def problems(self) -> list[str]:
        """One line for each value that cannot be."""
        return run_problems(self.runs, "audit")


def run_problems(runs: list[str], command: str) -> list[str]:
    """What is wrong with the runs that a command names."""
    if not runs:
        return [f"runs: none named; write python -m src.{command} RUN, a run's folder or a folder of runs"]
    return [f"runs={run}: no such folder" for run in runs if not Path(run).is_dir()]
