"""Names the splits of a cohort; free of polars, so that a run's folder can be named without it."""

from enum import StrEnum


class Split(StrEnum):
    """Says what a patient's notes are used for."""

    TRAIN = "train"
    VALIDATION = "validation"
    TEST = "test"

    @property
    def prefix(self) -> str:
        """Is the first part of the names of its metrics, as in `val/accuracy`."""
        return "val" if self is Split.VALIDATION else str(self)
