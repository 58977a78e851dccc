"""What a baseline learns from: notes with labels, and the facts of their admissions where it reads them."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from src.cli.errors import UserError
from src.cohort.admissions import read_admissions
from src.cohort.prepared import Cohort, read_cohort
from src.cohort.split import Split
from src.config.train import TrainConfig
from src.models.labelspace import LabelSpace, check_classes
from src.training.notes import split_rows


@dataclass(frozen=True, eq=False)
class Notes:
    """B notes: their rows, and the index of each note's DRG in the label space."""

    rows: pl.DataFrame
    """Columns of `notes.parquet`, with those of `admissions.parquet` where a baseline reads them."""
    drg: NDArray[np.int64]
    """[B]."""

    @property
    def texts(self) -> list[str]:
        """What the notes say."""
        return self.rows["text"].to_list()

    def __len__(self) -> int:
        return len(self.drg)


@dataclass(frozen=True, eq=False)
class Material:
    """A configuration with its cohort."""

    cfg: TrainConfig
    cohort: Cohort
    space: LabelSpace
    facts: pl.DataFrame | None
    """Of every admission; None for a baseline that reads notes only."""

    def notes(self, split: Split) -> Notes:
        """The notes of one split.

        Raises:
            UserError: the split holds no note.
        """
        rows = self.cohort.notes(split, self.cfg.data.limit)
        if rows.is_empty():
            raise UserError(
                f"data.dir={self.cfg.data.dir}: no note in the {split} split; prepare more, or other shares"
            )
        if self.facts is not None:
            rows = rows.join(self.facts, "hadm_id", how="left", maintain_order="left")
        return Notes(rows, np.array([self.space.index[code] for code in rows["drg"]], dtype=np.int64))


def open_material(cfg: TrainConfig) -> Material:
    """Reads the cohort, and the facts of its admissions where the model needs them.

    Raises:
        UserError: one of them cannot be had.
    """
    cohort = read_cohort(Path(cfg.data.dir))
    facts = read_admissions(cohort.folder) if cfg.model.kind.reads_facts else None
    if facts is None and cfg.model.kind.reads_facts:
        raise UserError(
            f"data.dir={cfg.data.dir}: no admissions.parquet, which model={cfg.model.name} needs; "
            "prepare the cohort again from a folder with hosp/admissions and hosp/patients"
        )
    check_classes(split_rows(cohort, Split.TRAIN, cfg.data.limit)["drg"].to_list(), f"data.dir={cfg.data.dir}")
    return Material(cfg, cohort, LabelSpace.from_labels(cohort.labels), facts)
