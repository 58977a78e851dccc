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
    prefixes: list[int]
    """Fewer tokens than the run's `max_len`, for the accuracy that they alone give; empty for none."""

    def problems(self) -> list[str]:
        """One line for each value that cannot be."""
        found = []
        if not (Path(self.run) / "result.json").is_file():
            found.append(f"run={self.run}: no result.json there; it is the folder of a finished run, as runs/NAME")
        if any(length < 16 for length in self.prefixes):
            found.append(f"prefixes={self.prefixes}: must be numbers of at least 16")
        return found
