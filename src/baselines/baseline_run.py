"""One run of a baseline: trained, tested, recorded and scored again like a run of LLaMA."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

from safetensors import SafetensorError

from src.baselines.boosted import Boosted
from src.baselines.data import Material, Notes, open_material
from src.baselines.linear import Linear, Majority, Scores
from src.baselines.tuned import Tuned
from src.cli.files import exchanging_folder
from src.cli.json_files import REMADE, Damaged
from src.cohort.split import Split
from src.config.train import Kind, TrainConfig
from src.runs.folder import SCORED, RunFolder
from src.runs.identity import SAMPLE, as_read, axes
from src.runs.predictions import Predictions, write_predictions
from src.runs.provenance import code_version
from src.runs.record import RunRecord, write_record
from src.tracking.flat import flat
from src.tracking.recorder import recording
from src.tracking.run_metadata import about
from src.training.context import pick_device
from src.training.outcome import Stopwatch, measured, of_test, test_intervals, versions
from src.training.quiet_libraries import quiet_libraries


class Baseline(Protocol):
    """A model that is trained on a cohort and scores notes."""

    def fit(self, log: Any) -> dict[str, int]:
        """Trains; the counts that its record holds: `trainable_parameters` and `steps`."""

    def scores(self, notes: Notes) -> Scores:
        """Log-probabilities of each head, as `Predictions.heads` has them."""

    def save(self, folder: Path) -> None:
        """Writes what `load` needs."""

    def load(self, folder: Path) -> None:
        """Becomes what was saved."""


KINDS: dict[Kind, type[Majority | Linear | Boosted | Tuned]] = {
    Kind.MAJORITY: Majority,
    Kind.TFIDF: Linear,
    Kind.FUSION: Linear,
    Kind.STRUCTURED: Boosted,
    Kind.CODED: Boosted,
    Kind.CAML: Tuned,
    Kind.BERT: Tuned,
}


def train_baseline(cfg: TrainConfig, run_dir: Path) -> RunRecord:
    """Trains a baseline, tests what validation patients chose, and writes the run's record.

    An interrupted run is trained anew.

    Returns:
        Its record.

    Raises:
        UserError: the cohort, the weights or the device are not what the configuration says.
    """
    quiet_libraries()
    clock = Stopwatch()
    material = open_material(cfg)
    model: Baseline = KINDS[cfg.model.kind](material)
    named = axes(cfg, 0, material.cohort.protocol)
    with recording(cfg.wandb, run_dir, about(cfg, material.cohort, named)) as log:
        counts = model.fit(log)
        clock.lap("training")
        _save(model, RunFolder(run_dir).adapter)
        metrics: dict[str, float] = {}
        sizes: dict[str, int] = {}
        for split, predictions in scored(model, material):  # the test is the last
            write_predictions(RunFolder(run_dir).predictions(split), predictions, material.space)
            metrics |= measured(predictions, split, material.space)
            sizes[str(split)] = len(predictions.drg)
        log.log_metrics(of_test(metrics), counts["steps"])
        clock.lap("evaluation")
        counts = {"train": len(material.notes(Split.TRAIN)), **sizes, "drgs": len(material.space.codes), **counts}
        counts["test_drgs"] = len(set(material.notes(Split.TEST).drg))
        record = RunRecord(
            config=dataclasses.asdict(as_read(cfg)),
            axes=named,
            cohort=material.cohort.fingerprint,
            sample=SAMPLE,
            counts=counts,
            metrics=dict(metrics),
            intervals=test_intervals(predictions, material.space),
            code=code_version(),
            versions=versions(),
            device=pick_device(cfg) if cfg.model.kind in (Kind.CAML, Kind.BERT) else "cpu",
            seconds={**clock.laps, "total": clock.total},
        )
        write_record(run_dir, record)
        log.log_summary(flat(record))
    return record


def load_baseline(cfg: TrainConfig, run_dir: Path) -> tuple[Baseline, Material]:
    """The baseline that a finished run saved.

    Raises:
        Damaged: a file of it is missing, or not what was saved.
    """
    quiet_libraries()
    material = open_material(cfg)
    model: Baseline = KINDS[cfg.model.kind](material)
    try:
        model.load(RunFolder(run_dir).adapter)
    except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError, SafetensorError) as error:
        raise Damaged(RunFolder(run_dir).adapter, type(error).__name__, REMADE) from None
    return model, material


def scored(model: Baseline, material: Material) -> Iterator[tuple[Split, Predictions]]:
    """Its predictions of validation and test."""
    for split in SCORED:
        notes = material.notes(split)
        who, stay = (notes.rows[name].to_numpy() for name in ("subject_id", "hadm_id"))
        yield split, Predictions(who, stay, notes.drg, model.scores(notes))


def _save(model: Baseline, folder: Path) -> None:
    # One that is there is of an interrupted run.
    with exchanging_folder(folder, ours=Path.is_dir, instead="remove it") as tmp:
        model.save(tmp)
