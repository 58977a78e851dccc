"""The configuration of `python -m src.evaluate`."""

from dataclasses import dataclass
from pathlib import Path


@dataclass
class EvaluateConfig:
    """Scores a finished run's test notes again, and compares every number with its record."""

    run: str
    """Folder of a finished run."""
    data_dir: str | None
    """Where the prepared cohort lies now; null takes the place that the run's record names."""
    device: str
    """`auto`, `cpu`, `cuda` or `cuda:N`."""

    def problems(self) -> list[str]:
        """One line for each value that cannot be."""
        if not (Path(self.run) / "result.json").is_file():
            return [f"run={self.run}: no result.json there; it is the folder of a finished run, as runs/NAME"]
        return []
