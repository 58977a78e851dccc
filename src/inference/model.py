"""Opens finished runs from their folders alone; one, or the mean of several, says how likely each DRG is."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from src.baselines.systems import build_predictor
from src.cli.errors import UserError
from src.cli.signals import Stop
from src.cohort.prepared import Cohort
from src.cohort.split import Split
from src.evaluation.calibration import confidences, fit_temperature, threshold_for
from src.evaluation.reopen import config_in
from src.metrics.definitions import log_softmax
from src.models.labelspace import LabelSpace
from src.runs.folder import RunFolder
from src.runs.kept_cohort import KeptCohort, kept_of, read_kept
from src.runs.predictions import Predictions, read_predictions
from src.runs.record import RunRecord, read_cohort_of, read_record
from src.training.predictor import Predictor
from src.training.run_data import RunData


@dataclass(frozen=True, eq=False)
class Model:
    """Holds a finished run with its weights, and what it kept of its cohort."""

    run: RunFolder
    record: RunRecord
    kept: KeptCohort
    predictor: Predictor

    @cached_property
    def fingerprint(self) -> str:
        """Names the run, and its weights by a hash of their files."""
        digest = hashlib.sha256()
        for path in sorted(self.run.adapter.iterdir()):
            digest.update(path.name.encode() + hashlib.sha256(path.read_bytes()).digest())
        return f"{self.run.name}:{digest.hexdigest()[:12]}"

    @property
    def space(self) -> LabelSpace:
        """Says which DRG each column of its scores stands for."""
        return self.predictor.data.space

    @cached_property
    def validation(self) -> Predictions:
        """Holds its scores of validation notes, by which probabilities are calibrated.

        Raises:
            UserError: the file is missing or damaged.
        """
        return read_predictions(self.run.predictions(Split.VALIDATION), self.space)

    @cached_property
    def temperature(self) -> float:
        """Is the temperature that fits its validation notes."""
        return fit_temperature(self.validation)

    def log_probabilities(self, rows: pl.DataFrame, stop: Stop) -> NDArray[np.float64]:
        """Computes calibrated log-probabilities of each DRG, [B, D].

        Args:
            rows: B notes, each what the model reads of one as `text`; with the columns of `admissions.parquet` where
                it reads facts.
            stop: raises between batches when a signal came.
        """
        return self.calibrated(self.predictor.score(rows, stop)["scores"])

    def calibrated(self, scores: NDArray[np.floating]) -> NDArray[np.float64]:
        """Brings scores, [B, D], to the temperature that fits validation; each row's probabilities then sum to 1."""
        return log_softmax(scores.astype(np.float64) / self.temperature)


@dataclass(frozen=True, eq=False)
class Models:
    """Holds the models that are asked together; their probabilities are averaged."""

    members: tuple[Model, ...]

    @property
    def first(self) -> Model:
        """Is the one whose cohort decides how notes are read."""
        return self.members[0]

    @property
    def space(self) -> LabelSpace:
        """Says which DRG each column of the probabilities stands for."""
        return self.first.space

    @property
    def drg_version(self) -> str | None:
        """Is the MS-DRG version of the labels, or `apr`; None for classes of a hospital's own."""
        version: str | None = self.first.kept.record["drg_version"]
        return version

    def probabilities(self, rows: pl.DataFrame, stop: Stop) -> NDArray[np.float64]:
        """Averages the members' calibrated probabilities, [B, D], see `Model.log_probabilities`."""
        return self._mean([model.log_probabilities(rows, stop) for model in self.members])

    def threshold(self, aim: float) -> float | None:
        """Picks the confidence from which on validation notes are right as often as `aim`; None where none is."""
        first = self.first.validation
        mean = self._mean([model.calibrated(model.validation.heads["scores"]) for model in self.members])
        with np.errstate(divide="ignore"):  # the log of 0 is -inf, and the highest score is none
            scored = Predictions(first.subject_id, first.hadm_id, first.drg, {"scores": np.log(mean)})
        return threshold_for(confidences(scored), aim)

    @property
    def tokens_scored(self) -> int:
        """Counts the tokens that the members have read so far."""
        return sum(model.predictor.tokens_scored for model in self.members)

    def facts_in(self, hosp: str | None) -> Path | None:
        """Returns MIMIC-IV's folder `hosp` where a member reads facts of the admission; None where none does.

        Raises:
            UserError: one does, and the folder is not given.
        """
        reading = [model for model in self.members if model.predictor.data.cfg.model.kind.reads_facts]
        if reading and hosp is None:
            raise UserError(
                f"run={reading[0].run.path}: model={reading[0].predictor.data.cfg.model.name} reads facts of the "
                "admission; name MIMIC-IV's folder of them, hosp=DIR"
            )
        return Path(hosp) if reading and hosp else None

    def reading_whole(self) -> "Models":
        """Returns the same models, of notes that hold nothing but what a model reads."""
        return Models(tuple(replace(model, kept=model.kept.reading_whole()) for model in self.members))

    def _mean(self, logs: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
        mean: NDArray[np.float64] = np.mean([np.exp(log) for log in logs], axis=0)
        return mean


def open_models(runs: Sequence[Path], device: str = "auto", data_dir: Path | None = None) -> Models:
    """Opens finished runs, which must be of one cohort.

    Args:
        runs: their folders.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        data_dir: the cohort of runs that kept nothing of it, which an earlier version trained.

    Raises:
        UserError: one is not finished, damaged, or of another cohort than the first.
    """
    members = tuple(open_model(run, device, data_dir) for run in runs)
    for model in members[1:]:
        if model.record.cohort != members[0].record.cohort:
            raise UserError(
                f"run={model.run.path}: of cohort {model.record.cohort}, and {members[0].run.path} is of "
                f"{members[0].record.cohort}; only runs of one cohort are averaged"
            )
    return Models(members)


def open_model(run: Path, device: str = "auto", data_dir: Path | None = None) -> Model:
    """Opens one finished run, see `open_models`."""
    record, folder = read_record(run), RunFolder(run)
    cohort_dir, kept = run, read_kept(folder)
    if kept is None:
        try:
            trained_on = read_cohort_of(record, run, data_dir)
        except UserError as error:
            raise UserError(
                f"{run}: an earlier version trained it, and it keeps nothing of its cohort; {error}"
            ) from None
        cohort_dir, kept = trained_on.folder, kept_of(trained_on, record.config["data"].get("limit"))
    cohort = Cohort(cohort_dir, kept.record)
    # The loss changes no score, and its class counts are of training notes.
    cfg = config_in(record, device, cohort_dir, loss="cross_entropy", loss_strength=None)
    predictor = build_predictor(RunData(cfg, cohort, LabelSpace.from_labels(cohort.labels)))
    predictor.load(folder.adapter)
    return Model(folder, record, kept, predictor)
