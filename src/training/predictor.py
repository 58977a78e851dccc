"""One protocol for every system: it is fitted on a cohort, scores notes, and is saved and loaded."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import polars as pl
from numpy.typing import NDArray

from src.cli.signals import Stop
from src.cohort.split import Split
from src.config.train import TrainConfig
from src.runs.folder import RunFolder
from src.runs.identity import axes
from src.tracking.recorder import recording
from src.tracking.run_metadata import about
from src.training.ranks import is_rank_zero
from src.training.run_data import RunData
from src.training.stopwatch import Stopwatch

Scores = Mapping[str, NDArray[np.float32]]
"""Log-probabilities of B notes by head, as `Predictions.heads` has them."""


@dataclass(frozen=True)
class OpenRun:
    """Holds what a run in progress writes to and listens to."""

    folder: RunFolder
    recorder: Any
    stop: Stop
    clock: Stopwatch
    first: bool
    """Whether this process writes the run's files; one of several that share a run does."""


@dataclass(frozen=True)
class Training:
    """Holds what a training came to, for the run's record."""

    counts: dict[str, int]
    """`trainable_parameters` and `steps`, and what else the system counts."""
    seconds: dict[str, float] = field(default_factory=dict)
    """By part, where the run's clock does not know them, as of earlier starts."""
    tokens_seen: int = 0


class Predictor(ABC):
    """A system on its data. LLaMA with LoRA is one, and so is every baseline; `src/baselines/systems.py` lists them."""

    has_base: ClassVar[bool] = False
    """Whether it is adapters over a frozen base: such systems can share the base, and their cost can be foretold."""

    def __init__(self, data: RunData) -> None:
        self.data = data
        self.tokens_scored = 0
        """Tokens that `score` has read so far; none of a system that has no tokens."""

    @property
    def axes(self) -> dict[str, Any]:
        """Names where the run stands in the grid."""
        base = self.data.parameters.base if self.has_base else 0
        return axes(self.data.cfg, base, self.data.cohort.protocol)

    @property
    def device(self) -> str:
        """Names where it computes."""
        return "cpu"

    @property
    def wrote_predictions(self) -> bool:
        """Says whether an earlier start wrote the predictions of the weights that it goes on with."""
        return False

    def listening(self) -> AbstractContextManager[Stop]:
        """Notices signals that ask to end, where the system can save its work; elsewhere they end the process."""
        return nullcontext(Stop())

    @abstractmethod
    def fit(self, run: OpenRun) -> Training:
        """Learns from the training notes, and chooses by the validation notes; goes on from a checkpoint of the run.

        Raises:
            UserError: the device or the weights are not what the configuration says.
            Interrupted: a signal came; the run is saved.
        """

    @abstractmethod
    def scores(self, split: Split, stop: Stop) -> Scores:
        """Scores the notes of one split."""

    @abstractmethod
    def score(self, rows: pl.DataFrame, stop: Stop) -> Scores:
        """Scores notes that need not be of a cohort, by their `text`, and by their admissions' facts if it reads those.

        A note has the scores that it would have in a split, but for the order in which a GPU adds up.
        """

    def cut_texts(self, texts: Sequence[str]) -> NDArray[np.int64]:
        """Counts for each text the tokens that are not read, [B]; none where a system reads it whole."""
        return np.zeros(len(texts), dtype=np.int64)

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Writes what `load` needs; the folder is whole or absent."""

    @abstractmethod
    def load(self, folder: Path) -> None:
        """Becomes what was saved.

        Raises:
            UserError: a file of it is missing or damaged, or does not fit the configuration.
        """

    @abstractmethod
    def keep_stage(self) -> None:
        """Notes in the run's checkpoint that its predictions are written."""

    def cut(self, split: Split) -> NDArray[np.bool_] | None:
        """Says of each note of a split whether only its beginning is read; None where that has no meaning."""
        return None

    @abstractmethod
    def plan_lines(self) -> list[str]:
        """Says what a run would read, and take where that can be foretold; never a note's text."""

    @classmethod
    @abstractmethod
    def out_of_memory_line(cls, cfg: TrainConfig) -> str:
        """Says in one line what a run that ran out of memory can do."""


@contextmanager
def open_run(predictor: Predictor, run_dir: Path, clock: Stopwatch, stop: Stop | None = None) -> Iterator[OpenRun]:
    """Opens the recorder of a run, and listens to signals unless someone else does, who gives `stop`."""
    cfg = predictor.data.cfg
    metadata, first = about(cfg, predictor.data.cohort, predictor.axes), is_rank_zero(cfg)
    with ExitStack() as stack:
        stop = stop or stack.enter_context(predictor.listening())
        recorder = stack.enter_context(recording(cfg.wandb, run_dir, metadata, first))
        yield OpenRun(RunFolder(run_dir), recorder, stop, clock, first)
