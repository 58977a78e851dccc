"""The configuration of `python -m src.scaling`."""

from dataclasses import dataclass


@dataclass
class ScalingConfig:
    """Says how metrics move with size, context, rank and compute: means and intervals, differences, fits, predictions.

    Reads what is finished now; a sweep may still run.
    """

    source: str
    """A folder of runs, a folder of offline W&B runs, a sweep's name, or `wandb:ENTITY/PROJECT[/GROUP]`."""
    out: str
    """Folder that holds the runs of a named sweep."""
    to: str | None
    """Folder for `scaling.json` and the tables; null only prints."""
    metrics: list[str]
    """What is compared and fitted, by the records' names; `val/loss` and `train/loss` are of the curves."""
    predictions_of: int
    """Runs up to which their predictions are read, so that patients are drawn for all of them at once."""
    data_dir: str | None
    """Where the prepared cohort lies now; null takes the place that the records name."""
    seed: int
    """Of the resampling."""
    live: bool
    """Analyse again and again until nothing that was asked for is missing."""
    every_s: float
    """Seconds between two looks."""

    def problems(self) -> list[str]:
        """One line for each value that cannot be."""
        found = []
        if not self.metrics:
            found.append("metrics=[]: name at least one, as test/accuracy")
        if self.predictions_of < 0:
            found.append(f"predictions_of={self.predictions_of}: must be at least 0, which reads none")
        if self.seed < 0:
            found.append(f"seed={self.seed}: must be at least 0")
        if self.every_s <= 0:
            found.append(f"every_s={self.every_s}: must be above 0")
        return found
