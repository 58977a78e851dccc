"""The configuration of `python -m src.report`."""

from dataclasses import dataclass

from src.config.train import TrainConfig


@dataclass
class ReportConfig(TrainConfig):
    """Describes a prepared cohort: flow, labels, lengths, splits, and the paper's figures beside its own.

    Takes the words of a training command; the model's tokenizer and the prompt decide the lengths in tokens. With a
    source of finished runs as its first word, `python -m src.report SOURCE`, the command reports on these.
    """

    lengths: list[int]
    """Tokens at which the share of cut notes is told."""
    to: str | None
    """Folder for `report.html` and `report.json`; null for the cohort's own."""

    def problems(self) -> list[str]:
        """One line for each value that cannot be."""
        found = super().problems()
        if not self.lengths or min(self.lengths) < 16:
            found.append(f"lengths={self.lengths}: must be numbers of at least 16")
        if self.data.limit is not None:
            found.append(f"data.limit={self.data.limit}: a report describes every note; leave it out")
        return found


@dataclass
class RunsReportConfig:
    """Reports on finished runs: results beside the published ones, scaling, cost, errors; a page, tables and figures.

    The source may be the first word alone: `python -m src.report SOURCE`.
    """

    source: str
    """A folder of runs or of offline W&B runs, a sweep's name, `wandb:ENTITY/PROJECT`, or `.../GROUP` after it."""
    out: str
    """Folder that holds the runs of a named sweep."""
    to: str | None
    """Folder of the report; null for `report` in the source's folder, or `reports/NAME` in `out`."""
    data_dir: str | None
    """Where the prepared cohort lies now; null takes the place that the records name."""
    seed: int
    """Of the resampling."""

    def problems(self) -> list[str]:
        """One line for each value that cannot be."""
        return [] if self.seed >= 0 else [f"seed={self.seed}: must be at least 0"]
