"""The configuration of `python -m src.demo`."""

from dataclasses import dataclass


@dataclass
class DemoConfig:
    """Runs the main job end to end on a synthetic hospital, and ends with a table and pictures."""

    out: str
    """Folder for everything that the demo makes; what is there already is used again."""
    admissions: int
    seed: int
    test_share: float
    validation_share: float
    limit: int
    """Notes taken from each split."""
    train: list[str]
    """Words added to both training commands."""

    def problems(self) -> list[str]:
        """One line for each value that cannot be."""
        found = []
        if self.limit < 10:
            found.append(f"limit={self.limit}: must be at least 10")
        if self.admissions < 100:
            found.append(f"admissions={self.admissions}: must be at least 100, or a split stays empty")
        return found
