"""The configuration of `python -m src.gauge`."""

from dataclasses import dataclass
from pathlib import Path


@dataclass
class GaugeData:
    """The prepared cohort."""

    dir: str
    """Folder that `python -m src.prepare` wrote."""


@dataclass
class GaugeConfig:
    """Measures how hard a cohort is: TF-IDF and a linear model, by how many words are shown."""

    data: GaugeData
    words: list[int]
    """How many words of each note are shown."""

    def problems(self) -> list[str]:
        """One line for each value that cannot be."""
        found = []
        if not (Path(self.data.dir) / "cohort.json").is_file():
            found.append(f"data.dir={self.data.dir}: no prepared cohort there; make one with python -m src.prepare")
        if not self.words or min(self.words) < 1:
            found.append(f"words={self.words}: must be numbers of at least 1")
        return found
