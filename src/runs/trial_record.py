"""A trial's record, `trial.json`, says how a trial of a search ended and what it came to on validation notes."""

from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path

from src.cli.errors import UserError
from src.cli.json_files import Schema, read_json, tell_once, write_json
from src.runs.folder import RunFolder
from src.runs.state import RunStatus

SCHEMA: Schema = {"number": int, "end": str, "words": list[str], "steps": int, "full_steps": int}


class TrialEnd(StrEnum):
    """Names how a trial ended."""

    COMPLETE = "complete"
    PRUNED = "pruned"
    FAILED = "failed"
    """It cannot be trained: its loss is no number, memory runs out, or its values rule each other out."""


STANDING = {
    TrialEnd.COMPLETE: RunStatus.TRIED,
    TrialEnd.PRUNED: RunStatus.STOPPED,
    TrialEnd.FAILED: RunStatus.FAILED,
}
"""What the status of a run's folder makes of it."""


@dataclass(frozen=True, kw_only=True)
class TrialRecord:
    """Holds one trial that has ended.

    Attributes:
        number: in the search's journal, from 0.
        end: how it ended.
        words: what was chosen for it.
        steps: optimiser steps that it took.
        full_steps: how many it would have taken unstopped; 0 for a system that takes none.
        value: of the search's metric on validation notes; of a stopped trial, at its last validation.
        low: lower end of the value's interval of 95 %; None where it has none, as `high`.
        high: its upper end.
        metrics: all of the validation notes; empty for a trial that was not trained to its end.
        validations: after how many it was stopped.
        reason: why it failed, in one line.
    """

    number: int
    end: TrialEnd
    words: list[str]
    steps: int
    full_steps: int
    value: float | None = None
    low: float | None = None
    high: float | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    validations: int = 0
    reason: str | None = None

    @property
    def standing(self) -> RunStatus:
        """Says where its run stands."""
        return STANDING[self.end]

    @property
    def line(self) -> str:
        """Says in a few words how it ended."""
        endings = {
            TrialEnd.COMPLETE: f"trial {self.number}: {' '.join(self.words)}",
            TrialEnd.PRUNED: f"trial {self.number} stopped after validation {self.validations}: {' '.join(self.words)}",
            TrialEnd.FAILED: f"trial {self.number} failed: {self.reason}",
        }
        return endings[self.end]


def read_trial(folder: Path) -> TrialRecord | None:
    """Reads how the trial of a folder ended; None where it has not, or where nothing can be read of it."""
    try:
        written = read_json(RunFolder(folder).trial, SCHEMA)
    except FileNotFoundError:
        return None
    except UserError as error:
        tell_once(str(error))
        return None
    return TrialRecord(**{**written, "end": TrialEnd(written["end"])})


def write_trial(folder: Path, record: TrialRecord) -> None:
    """Writes `trial.json`, whole or not at all."""
    write_json(RunFolder(folder).trial, asdict(record), SCHEMA, indent=1)
