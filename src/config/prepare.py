"""The configuration of `python -m src.prepare`."""

from dataclasses import dataclass
from pathlib import Path


@dataclass
class PrepareData:
    """From where to where."""

    dir: str
    """Folder of MIMIC-IV files, with `note` and `hosp` in it."""
    out: str
    """Folder for the prepared cohort; must not hold anything yet."""


@dataclass
class PrepareConfig:
    """Makes a cohort of hospital courses with MS-DRG labels, split by patient, from MIMIC-IV files."""

    data: PrepareData
    test_share: float
    """Share of patients in the test split."""
    validation_share: float
    """Share of patients in the validation split."""
    split_seed: int

    def problems(self) -> list[str]:
        """One line for each value that cannot be."""
        found = []
        for key, share in (("test_share", self.test_share), ("validation_share", self.validation_share)):
            if not 0 <= share < 1:
                found.append(f"{key}={share}: must be at least 0 and below 1")
        if self.test_share + self.validation_share >= 1:
            found.append("test_share and validation_share: together they must leave patients for training")
        if not Path(self.data.dir).is_dir():
            found.append(f"data.dir={self.data.dir}: no such folder; it is where MIMIC-IV's note and hosp folders lie")
        if Path(self.data.out).is_dir() and any(Path(self.data.out).iterdir()):
            found.append(f"data.out={self.data.out}: the folder is not empty; name another, or remove it first")
        return found
