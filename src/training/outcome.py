"""Writes what a finished run leaves: the trained weights, predictions, and its record."""

import dataclasses
import math
import platform
from collections.abc import Mapping

from src.cohort.split import Split
from src.models.labelspace import LabelSpace
from src.runs.folder import SCORED
from src.runs.identity import SAMPLE, as_read
from src.runs.kept_cohort import kept_of
from src.runs.predictions import (
    Predictions,
    estimates_of,
    measure,
    read_predictions,
    write_predictions,
)
from src.runs.provenance import code_version, package_versions
from src.runs.record import RunRecord, write_record
from src.tracking.flat import flat
from src.training.predictor import OpenRun, Predictor, Training


def finish(predictor: Predictor, training: Training, run: OpenRun) -> RunRecord:
    """Saves what was fitted, tests it, and writes the record with intervals; the run is finished then."""
    run.clock.lap("training")
    data = predictor.data
    if run.first:
        predictor.save(run.folder.adapter)
    predictions = score_splits(predictor, run)
    metrics: dict[str, float] = {}
    for split, scored in predictions.items():
        metrics |= measured(scored, split, data.space)
    run.recorder.log_metrics(of_test(metrics), training.counts["steps"])
    run.clock.lap("evaluation")
    targets = {split: data.targets(split) for split in Split}
    record = RunRecord(
        config=dataclasses.asdict(as_read(data.cfg)),
        axes=predictor.axes,
        cohort=data.cohort.fingerprint,
        drg_version=data.cohort.record["drg_version"],
        sample=SAMPLE,
        counts={
            **{str(split): len(drg) for split, drg in targets.items()},
            "test_drgs": len(set(targets[Split.TEST].tolist())),
            "drgs": len(data.space.codes),
            **training.counts,
        },
        metrics=dict(metrics),
        intervals=test_intervals(predictions[Split.TEST], data.space) if run.first else {},
        code=code_version(),
        versions=versions(),
        device=predictor.device,
        tokens_seen=training.tokens_seen,
        seconds={**run.clock.laps, **training.seconds, "total": run.clock.total},
    )
    if run.first:
        kept_of(data.cohort, data.cfg.data.limit).write(run.folder)
        write_record(run.folder.path, record)
    run.recorder.log_summary(flat(record))
    return record


def score_splits(predictor: Predictor, run: OpenRun) -> dict[Split, Predictions]:
    """Scores validation and test, and keeps the predictions of both in the run's folder.

    Predictions that an earlier start wrote are read instead.
    """
    predictions: dict[Split, Predictions] = {}
    for split in SCORED:
        path = run.folder.predictions(split)
        if predictor.wrote_predictions and path.is_file():
            predictions[split] = read_predictions(path, predictor.data.space)
            continue
        predictions[split] = predictor.data.predictions(split, predictor.scores(split, run.stop))
        if run.first:
            write_predictions(path, predictions[split], predictor.data.space)
    predictor.keep_stage()
    return predictions


def measured(predictions: Predictions, split: Split, space: LabelSpace) -> dict[str, float]:
    """Returns every metric of one split's predictions, under names such as `test/accuracy`."""
    return {f"{split.prefix}/{name}": value for name, value in measure(predictions, space).items()}


def of_test(metrics: Mapping[str, float]) -> dict[str, float]:
    """Picks the test's metrics, the last row of a run's curves, which validation's would bend to the best epoch."""
    return {name: value for name, value in metrics.items() if name.startswith(f"{Split.TEST.prefix}/")}


def test_intervals(tested: Predictions, space: LabelSpace) -> dict[str, list[float]]:
    """Computes the interval of 95 % of each test metric, low and high."""
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
