"""What a finished run leaves: adapters, predictions, and its record."""

import dataclasses
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from src.cohort.split import Split
from src.evaluation.predictions import Predictions, measure, write_predictions
from src.evaluation.record import write_record
from src.models.classifier import Classifier
from src.training.batches import TokenisedNotes
from src.training.module import DrgModule
from src.training.scoring import score_notes
from src.training.session import Session

ADAPTERS = "adapter"
"""Folder of the best epoch's adapters and head, in a run's folder."""

PREDICTIONS = {Split.VALIDATION: "predictions_validation.parquet", Split.TEST: "predictions.parquet"}
"""Files of predictions in a run's folder; they never leave the machine."""

PREFIX = {Split.VALIDATION: "val", Split.TEST: "test"}


class Stopwatch:
    """Seconds of each part of a run."""

    def __init__(self) -> None:
        self.start = self.last = time.monotonic()
        self.laps: dict[str, float] = {}

    def lap(self, name: str) -> None:
        """Ends the part that goes by `name`."""
        now = time.monotonic()
        self.laps[name], self.last = round(now - self.last, 3), now

    @property
    def total(self) -> float:
        """Seconds since the start."""
        return round(self.last - self.start, 3)
