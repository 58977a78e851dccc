"""The folder of a run: the one file that spells the names of what lies in it."""

from dataclasses import dataclass
from pathlib import Path

from src.cohort.split_names import Split

SCORED = (Split.VALIDATION, Split.TEST)
"""The splits whose predictions a run keeps."""


@dataclass(frozen=True)
class RunFolder:
    """Where the files of one run are, whether they are there or not."""

    path: Path

    @property
    def name(self) -> str:
        """The run's name, which is its W&B run's id."""
        return self.path.name

    @property
    def record(self) -> Path:
        """What a finished run is and came to, see `src.runs.record`."""
        return self.path / "result.json"

    @property
    def history(self) -> Path:
        """What it logged, a line a step, see `src.runs.history`."""
        return self.path / "history.jsonl"

    @property
    def state(self) -> Path:
        """What a job of a sweep tells while it goes on, see `src.runs.state`."""
        return self.path / "state.json"

    @property
    def job(self) -> Path:
        """What a sweep asks of a process that works here, see `src.runs.job`."""
        return self.path / "cell.json"

    @property
    def log(self) -> Path:
        """What a job of a sweep printed; it stays there."""
        return self.path / "log.txt"

    @property
    def lock(self) -> Path:
        """Folder of who works on the run, see `src.runs.lock`."""
        return self.path / ".lock"

    @property
    def adapter(self) -> Path:
        """Folder of the best epoch's adapters and head, or of a baseline's weights."""
        return self.path / "adapter"

    @property
    def checkpoints(self) -> Path:
        """Folder from which an interrupted run goes on."""
        return self.path / "checkpoints"

    def predictions(self, split: Split) -> Path:
        """Scores of the notes of one of `SCORED`; they never leave the machine."""
        return self.path / f"predictions{'' if split is Split.TEST else f'_{split}'}.parquet"

    @property
    def evaluation(self) -> Path:
        """Folder of what `src.evaluate` found."""
        return self.path / "evaluation"

    @property
    def prefixes(self) -> Path:
        """The table of what fewer tokens give."""
        return self.path / "prefixes.csv"

    @property
    def prefixes_figure(self) -> Path:
        """Its picture."""
        return self.path / "prefixes.png"

    @property
    def wandb(self) -> Path:
        """Folder that W&B writes."""
        return self.path / "wandb"

    @property
    def tracking(self) -> Path:
        """What the run is found by in W&B, see `src.tracking.run_metadata`."""
        return self.path / "tracking.json"

    @property
    def audit(self) -> Path:
        """The verdict of `src.audit`."""
        return self.path / "audit.json"

    @property
    def sync(self) -> Path:
        """The receipt of `src.sync`."""
        return self.path / "sync.json"
