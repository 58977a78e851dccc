"""What a finished run leaves: adapters, predictions, and its record."""

import dataclasses
import math
import platform
import time
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from src.cli.signals import Stop
from src.cohort.split import Split
from src.models.classifier import Classifier
from src.models.labelspace import LabelSpace
from src.runs.folder import SCORED, RunFolder
from src.runs.identity import SAMPLE
from src.runs.predictions import (
    Predictions,
    estimates_of,
    measure,
    read_predictions,
    write_predictions,
)
from src.runs.provenance import code_version, package_versions
from src.runs.record import RunRecord, write_record
from src.training.batches import TokenisedNotes
from src.training.context import Session
from src.training.learner import Learner, Stage
from src.training.ranks import ALONE, Ranks
from src.training.scoring import score_notes


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


def score_split(
    session: Session,
    classifier: Classifier,
    notes: TokenisedNotes,
    split: Split,
    ranks: Ranks = ALONE,
    stop: Stop | None = None,
) -> tuple[Predictions, dict[str, float]]:
    """Scores one split's notes, shared by processes, and measures them under names such as `test/accuracy`."""
    cfg = session.cfg
    heads = score_notes(
        classifier,
        session.scheme,
        notes,
        batch_size=cfg.batch_size,
        ranks=ranks,
        stop=stop or Stop(),
        device=session.device,
        what=f"scores {split}",
    )
    predictions = predictions_of(session, notes, split, heads)
    return predictions, measured(predictions, split, session.space)


def measured(predictions: Predictions, split: Split, space: LabelSpace) -> dict[str, float]:
    """Every metric of one split's predictions, under names such as `test/accuracy`."""
    return {f"{split.prefix}/{name}": value for name, value in measure(predictions, space).items()}


def of_test(metrics: Mapping[str, float]) -> dict[str, float]:
    """The test's metrics: the last row of a run's curves, which validation's would bend to the best epoch."""
    return {name: value for name, value in metrics.items() if name.startswith(f"{Split.TEST.prefix}/")}


def predictions_of(
    session: Session, notes: TokenisedNotes, split: Split, heads: Mapping[str, NDArray[np.float32]]
) -> Predictions:
    """The scores of one split's notes beside their ids and labels."""
    rows = session.cohort.notes(split, session.cfg.data.limit)
    target = np.asarray(notes.drg, dtype=np.int64)
    return Predictions(rows["subject_id"].to_numpy(), rows["hadm_id"].to_numpy(), target, heads)


def evaluate_splits(learner: Learner, stop: Stop) -> tuple[dict[str, float], dict[Split, Predictions]]:
    """Measures validation and test, and keeps the predictions of both in the run's folder.

    Predictions that an earlier start wrote are read instead.
    """
    metrics: dict[str, float] = {}
    predictions: dict[Split, Predictions] = {}
    space = learner.session.space
    for split in SCORED:
        path, notes = RunFolder(learner.run_dir).predictions(split), learner.notes[split]
        if learner.stage is Stage.RECORD and path.is_file():
            predictions[split] = read_predictions(path, space)
            metrics |= measured(predictions[split], split, space)
            continue
        scored = score_split(learner.session, learner.classifier, notes, split, learner.ranks, stop)
        predictions[split] = scored[0]
        metrics |= scored[1]
        if learner.ranks.first:
            write_predictions(path, predictions[split], space)
    learner.scored()
    return metrics, predictions


def record(learner: Learner, metrics: dict[str, float], tested: Predictions, clock: Stopwatch) -> RunRecord:
    """Writes the record, with the intervals of the test's predictions; the run is finished then."""
    session, notes = learner.session, learner.notes
    finished = RunRecord(
        config=dataclasses.asdict(session.cfg),
        axes=session.axes,
        cohort=session.cohort.fingerprint,
        sample=SAMPLE,
        counts={
            **{str(split): len(rows) for split, rows in notes.items()},
            "test_drgs": len(set(notes[Split.TEST].drg)),
            "drgs": len(session.space.codes),
            "trainable_parameters": session.parameters.trained,
            "base_parameters": session.parameters.base,
            "steps": learner.progress.step,
            "best_step": learner.progress.best_step,
        },
        metrics=dict(metrics),
        intervals=test_intervals(tested, session.space) if learner.ranks.first else {},
        code=code_version(),
        versions=versions(),
        device=session.device,
        tokens_seen=learner.progress.tokens_seen,
        seconds={**clock.laps, "training": round(learner.progress.seconds, 3), "total": clock.total},
    )
    if learner.ranks.first:
        write_record(learner.run_dir, finished)
    return finished


def test_intervals(tested: Predictions, space: LabelSpace) -> dict[str, list[float]]:
    """The interval of 95 % of each test metric, low and high."""
    estimates = estimates_of(tested, space).items()
    return {f"test/{name}": [metric.low, metric.high] for name, metric in estimates if math.isfinite(metric.low)}


def versions() -> dict[str, str]:
    """Versions of what decides a run's numbers, of packages that are installed."""
    packages = (
        "torch",
        "transformers",
        "peft",
        "pytorch-lightning",
        "torchmetrics",
        "hydra-core",
        "polars",
        "drgpy",
        "numpy",
        "wandb",
    )
    installed = {name: version for name, version in package_versions(packages).items() if version}
    return {"python": platform.python_version(), **installed}
