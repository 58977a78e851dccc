"""The names of what lies in a run's folder are spelled here and nowhere else."""

from dataclasses import dataclass
from pathlib import Path

from src.cohort.split_names import Split

SCORED = (Split.VALIDATION, Split.TEST)
"""The splits whose predictions a run keeps."""


@dataclass(frozen=True)
class RunFolder:
    """Names the files and folders of one run, whether they are there or not."""

    path: Path

    @property
    def name(self) -> str:
        """Is the run's name, and its W&B run's id."""
        return self.path.name

    def problems(self, key: str = "run") -> list[str]:
        """Says in a line what a command that takes a finished run lacks here."""
        what = "no result.json there; it is the folder of a finished run, as runs/NAME"
        return [] if self.record.is_file() else [f"{key}={self.path}: {what}"]

    @property
    def record(self) -> Path:
        """Holds what a finished run is and came to, see `src.runs.record`."""
        return self.path / "result.json"

    @property
    def cohort(self) -> Path:
        """Holds what prediction needs of the cohort, see `src.runs.kept_cohort`."""
        return self.path / "cohort.json"

    @property
    def words(self) -> Path:
        """Says which words the training notes have, see `src.cohort.familiar_words`."""
        return self.path / "words.npz"

    @property
    def history(self) -> Path:
        """Holds what the run logged, a line a step, see `src.runs.history`."""
        return self.path / "history.jsonl"

    @property
    def state(self) -> Path:
        """Holds what a job of a sweep says while it goes on, see `src.runs.state`."""
        return self.path / "state.json"

    @property
    def job(self) -> Path:
        """Holds what a sweep asks of a process that works here, see `src.runs.job`."""
        return self.path / "cell.json"

    @property
    def trial(self) -> Path:
        """Holds what a trial of a search came to on validation notes, see `src.runs.trial_record`."""
        return self.path / "trial.json"

    @property
    def log(self) -> Path:
        """Holds what a job of a sweep printed; it stays when the job ends."""
        return self.path / "log.txt"

    @property
    def lock(self) -> Path:
        """Is the folder that says who works on the run, see `src.runs.lock`."""
        return self.path / ".lock"

    @property
    def adapter(self) -> Path:
        """Is the folder of the best epoch's adapters and head, or of a baseline's weights."""
        return self.path / "adapter"

    @property
    def head_rows(self) -> Path:
        """Says where each row of the head started, of a run that `init_from` started from another."""
        return self.path / "head_rows.csv"

    @property
    def checkpoints(self) -> Path:
        """Is the folder from which an interrupted run goes on."""
        return self.path / "checkpoints"

    def predictions(self, split: Split) -> Path:
        """Holds the scores of the notes of one of `SCORED`; they never leave the machine."""
        return self.path / f"predictions{'' if split is Split.TEST else f'_{split}'}.parquet"

    @property
    def evaluation(self) -> Path:
        """Is the folder that `src.evaluate` writes its tables and figures into."""
        return self.path / "evaluation"

    @property
    def prefixes(self) -> Path:
        """Holds the metrics of notes cut to fewer tokens, see `src.evaluation.prefixes`."""
        return self.path / "prefixes.csv"

    @property
    def prefixes_figure(self) -> Path:
        """Shows the metrics of `prefixes` as curves."""
        return self.path / "prefixes.png"

    @property
    def wandb(self) -> Path:
        """Is the folder that W&B writes."""
        return self.path / "wandb"

    @property
    def tracking(self) -> Path:
        """Holds what the run is found by in W&B, see `src.tracking.run_metadata`."""
        return self.path / "tracking.json"

    @property
    def audit(self) -> Path:
        """Holds the verdict of `src.audit`."""
        return self.path / "audit.json"

    @property
    def sync(self) -> Path:
        """Holds what `src.sync` sent of the run, and where to."""
        return self.path / "sync.json"
