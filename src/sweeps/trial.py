"""Works on a trial of a search: a cell whose values are chosen when it begins, and which never sees the test."""

import dataclasses
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers.logger import Logger

from src.baselines.systems import build_predictor
from src.cli.compose import to_schema
from src.cli.errors import UserError
from src.cli.json_files import write_json
from src.cli.search_space import Dimension
from src.cli.typed_words import parsed
from src.cohort.split import Split
from src.config.sweeper import SearchConfig
from src.config.train import TrainConfig
from src.metrics.intervals import Estimate
from src.runs.folder import RunFolder
from src.runs.identity import unread
from src.runs.job import SCHEMA, read_job
from src.runs.predictions import estimates_of, measure
from src.runs.state import error_line
from src.runs.trial_record import TrialEnd, TrialRecord, write_trial
from src.sweeps.study import SlotTrial, Study
from src.training.divergence import NotFinite
from src.training.memory import ran_out
from src.training.predictor import open_run
from src.training.run_data import RunData, open_data
from src.training.stopwatch import Stopwatch

Validate = Callable[[TrainConfig, Path, "Report"], tuple[dict[str, Estimate], dict[str, float], int]]
"""Trains a configuration in a folder, and gives validation's estimates and metrics, and the steps it took."""

Report = Callable[[Mapping[str, float], int | None], None]
"""Is given what was measured at a step; raises `TrialStopped` where the trial is to end there."""


class TrialStopped(Exception):
    """Says that other trials were better after as many validations."""


def run_trial(undecided: TrainConfig, folder: Path, validate: Validate | None = None) -> TrialRecord:
    """Chooses the values of a search's slot unless an earlier start did, trains, and tells how the trial ended.

    Killed anywhere, it goes on where it was: with the same trial, from its last checkpoint. Its record is written
    before the journal is told; what a kill between the two leaves untold, `tell_records` tells.

    Raises:
        UserError: the trial failed, as the sampler is told.
        Interrupted: a signal came; the trial is saved.
    """
    search = read_job(folder)["search"]
    settings = to_schema(SearchConfig, search["settings"])
    study = Study(Path(undecided.out), search["name"], settings, search["seed"], search["slot"])
    trial = study.begin([Dimension(**dimension) for dimension in search["space"]])
    full_steps = 0
    try:
        cfg = decide(folder, trial.words)
        data = open_data(cfg)
        full_steps = steps_unstopped(data)

        def report(metrics: Mapping[str, float], step: int | None) -> None:
            value = metrics.get(f"val/{settings.metric}")
            if value is not None and step is not None and trial.report(step, value, step >= full_steps):
                raise TrialStopped

        if trial.pruned:
            raise TrialStopped
        estimates, metrics, steps = (validate or train_and_validate)(cfg, folder, report)
        estimate = estimates[settings.metric]
        if not math.isfinite(estimate.value):
            raise TrialFailed(f"its {settings.metric} on validation notes is no number")
        low, high = (bound if math.isfinite(bound) else None for bound in (estimate.low, estimate.high))
        record = TrialRecord(number=trial.number, end=TrialEnd.COMPLETE, words=trial.words, steps=steps,
                             full_steps=full_steps, value=estimate.value, low=low, high=high,
                             metrics=metrics)  # fmt: skip
    except TrialStopped:
        record = _ended(trial, TrialEnd.PRUNED, full_steps)
    except Exception as error:
        if not is_failure(error):
            raise
        record = _ended(trial, TrialEnd.FAILED, full_steps, error_line(error))
        _keep(study, folder, record)
        raise
    _keep(study, folder, record)
    print(f"{folder}: {record.line}", flush=True)
    return record


def decide(folder: Path, words: list[str]) -> TrainConfig:
    """Writes into the folder's `cell.json` what was chosen; from then on the folder is a cell as any.

    Raises:
        TrialFailed: the values rule each other out.
    """
    job = read_job(folder)
    for word in words:
        *groups, leaf = word.partition("=")[0].split(".")
        part = job["config"]
        for group in groups:
            part = part[group]
        part[leaf] = parsed(word).value()
    try:
        cfg = to_schema(TrainConfig, job["config"])
    except UserError as error:
        raise TrialFailed(str(error)) from None
    if job["words"] != words:
        write_json(RunFolder(folder).job, {**job, "words": words}, SCHEMA, indent=1)
    return cfg


class TrialFailed(UserError):
    """Says that a trial can be trained by nobody: its values rule each other out, or it learned no number."""


def is_failure(error: Exception) -> bool:
    """Says whether an error is the trial's own, as it would be each time; others leave it to be gone on with."""
    return isinstance(error, TrialFailed | ArithmeticError | NotFinite) or ran_out(error)


def steps_unstopped(data: RunData) -> int:
    """Counts the steps of a run that nothing stops; 0 for a system that takes none."""
    cfg = data.cfg
    if "batch_size" in unread(cfg.model.kind):
        return 0
    steps = cfg.epochs * math.ceil(len(data.targets(Split.TRAIN)) / cfg.batch_size)
    return min(steps, cfg.max_steps or steps)


def train_and_validate(
    cfg: TrainConfig, folder: Path, report: Report
) -> tuple[dict[str, Estimate], dict[str, float], int]:
    """Trains to the best epoch's weights and scores the validation notes by them, and no others."""
    data = open_data(cfg)
    predictor = build_predictor(data)
    with open_run(predictor, folder, Stopwatch()) as run:
        training = predictor.fit(dataclasses.replace(run, recorder=Reporter(run.recorder, report)))
        scored = data.predictions(Split.VALIDATION, predictor.scores(Split.VALIDATION, run.stop))
    return estimates_of(scored, data.space), measure(scored, data.space), training.counts["steps"]


class Reporter(Logger):
    """Is a run's recorder that also reports what is validated."""

    def __init__(self, recorder: Any, report: Report) -> None:
        super().__init__()
        self._recorder, self._report = recorder, report

    @property
    def name(self) -> str | None:
        """Names the recorder's project, as Lightning asks."""
        return str(self._recorder.name)

    @property
    def version(self) -> int | str | None:
        """Names the recorder's run, as Lightning asks."""
        return str(self._recorder.version)

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """Does nothing: the axes were given when the run began."""

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Records them, and reports them.

        Raises:
            TrialStopped: the trial is to end here.
        """
        self._recorder.log_metrics(metrics, step)
        self._report(metrics, step)


def _ended(trial: SlotTrial, end: TrialEnd, full_steps: int, reason: str | None = None) -> TrialRecord:
    return TrialRecord(
        number=trial.number,
        end=end,
        words=trial.words,
        steps=max(trial.steps, default=0),
        full_steps=full_steps,
        value=trial.last_value,
        validations=trial.pruned,
        reason=reason,
    )


def _keep(study: Study, folder: Path, record: TrialRecord) -> None:
    write_trial(folder, record)
    study.tell(study.slot, record)
