"""The configuration of `python -m src.evaluate`."""

from dataclasses import dataclass
from pathlib import Path


@dataclass
class EvaluateConfig:
    """Scores a finished run's test notes again, compares every number with its record, and reports."""

    run: str
    """Folder of a finished run."""
    data_dir: str | None
    """Where the prepared cohort lies now; null takes the place that the run's record names."""
    device: str
    """`auto`, `cpu`, `cuda` or `cuda:N`."""
    prefixes: list[int]
    """Fewer tokens than the run's `max_len`, for the accuracy that they alone give; empty for none."""
    table5: str | None
    """CMS's Table 5 with the relative weights; null takes the one of FY 2026 that comes with the project."""

    def problems(self) -> list[str]:
        """One line for each value that cannot be."""
        found = []
        if not (Path(self.run) / "result.json").is_file():
            found.append(f"run={self.run}: no result.json there; it is the folder of a finished run, as runs/NAME")
        if any(length < 16 for length in self.prefixes):
            found.append(f"prefixes={self.prefixes}: must be numbers of at least 16")
        if self.table5 is not None and not Path(self.table5).is_file():
            found.append(f"table5={self.table5}: no such file; it is a CMS Table 5 as text, FY 2017 for v34")
        return found
