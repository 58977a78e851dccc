"""The configuration of `python -m src.hospital`."""

from dataclasses import dataclass
from pathlib import Path


@dataclass
class HospitalConfig:
    """Builds a synthetic hospital in MIMIC-IV's file formats."""

    out: str
    """Folder for the hospital; must not hold anything yet."""
    admissions: int
    seed: int
    test_share: float
    """Share of patients whose notes use held-out phrasings; the share that `src.prepare` will test on."""
    split_seed: int
    """The seed that `src.prepare` will split by."""

    def problems(self) -> list[str]:
        """One line for each value that cannot be."""
        found = []
        if not 1 <= self.admissions <= 900_000:
            found.append(f"admissions={self.admissions}: must be from 1 to 900000, for hadm_id has eight digits")
        if not 0 <= self.test_share < 1:
            found.append(f"test_share={self.test_share}: must be at least 0 and below 1")
        if Path(self.out).is_dir() and any(Path(self.out).iterdir()):
            found.append(f"out={self.out}: the folder is not empty; name another, or remove it first")
        return found
