"""The configuration of `python -m src.compare`."""

from dataclasses import dataclass
from pathlib import Path


@dataclass
class CompareConfig:
    """Compares finished runs on one test set: paired differences, intervals and p-values of every metric."""

    runs: list[str]
    """Folders of finished runs; on the command line they may stand alone."""
    baseline: str | None
    """Folder of the run that the others are compared with; null compares every two."""
    data_dir: str | None
    """Where the prepared cohort lies now; null takes the place that the first run's record names."""
    out: str | None
    """Folder for `metrics.csv`, `differences.csv` and `comparison.md`; null only prints."""

    def problems(self) -> list[str]:
        """One line for each value that cannot be."""
        found = [
            f"runs={run}: no result.json there; it is the folder of a finished run, as runs/NAME"
            for run in self.runs
            if not (Path(run) / "result.json").is_file()
        ]
        names = [Path(run).name for run in self.runs]
        if len(self.runs) < 2:
            found.append("runs: two or more are compared; write python -m src.compare RUN_A RUN_B")
        if twice := {name for name in names if names.count(name) > 1}:
            found.append(f"runs: {', '.join(sorted(twice))} comes twice; folders need names of their own")
        if self.baseline is not None and Path(self.baseline).name not in names:
            found.append(f"baseline={self.baseline}: must be one of the runs")
        return found
