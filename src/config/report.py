"""The configuration of `python -m src.report`."""

from dataclasses import dataclass

from src.config.train import TrainConfig


@dataclass
class ReportConfig(TrainConfig):
    """Describes a prepared cohort: flow, labels, lengths, splits, and the paper's figures beside its own.

    Takes the words of a training command; the model's tokenizer and the prompt decide the lengths in tokens.
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
