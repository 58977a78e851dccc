"""Says what a run or a whole sweep would do and take, without doing it: `dry_run=true`."""

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from src.baselines.systems import build_predictor, predictor_class
from src.cli.errors import UserError
from src.cli.progress import minutes
from src.cohort.prepared import NOTES, read_cohort
from src.cohort.split import Split
from src.config.choices import Labels, Weights
from src.config.train import TrainConfig
from src.estimates.flop import count_parameters
from src.estimates.memory import GIB, PlannedRun, plan_steps, remedy
from src.estimates.time import GPUS, SHARE_OF_DATA_SHEET, expected_work, run_seconds
from src.models.bases import STAND_IN, locate
from src.models.devices import all_bytes, is_cpu
from src.models.labelspace import LabelSpace
from src.models.pretrained import read_pretrained
from src.models.prompts import prompt_template
from src.models.schemes import build_scheme
from src.runs.job import Job
from src.runs.record import read_record
from src.runs.state import RunStatus
from src.runs.status import read_status
from src.sweeps.status_table import columns
from src.training.notes import split_rows
from src.training.run_data import open_data, pick_device, pick_precision
from src.training.run_plan import rate_here
from src.training.tokens import open_tokens

TOKENS_A_WORD = 1.5
"""Of clinical English under a vocabulary of 32,000: an assumption, where the model's tokenizer cannot be had."""


def print_plan(cfg: TrainConfig) -> None:
    """Prints the resolved configuration and what one run would read and take; never a note's text."""
    lines = build_predictor(open_data(cfg)).plan_lines()
    print("\n".join([json.dumps(dataclasses.asdict(cfg), indent=2), "", *lines]))


@dataclass(frozen=True)
class JobCost:
    """Holds what one cell takes.

    Attributes:
        memory: bytes in a training step.
        seconds: of training and evaluation.
        source: `measured` by finished cells of the same model, or `estimated`.
        hint: what would fit where this does not.
    """

    memory: float
    seconds: float
    source: str
    hint: str


def print_costs(name: str, jobs: Sequence[Job]) -> None:
    """Prints a row a cell and the total of what is still to do; never a note.

    Raises:
        UserError: the cohort cannot be read, or `hydra.launcher.gpu` is unknown.
    """
    gpu = jobs[0].launcher.get("gpu")
    if gpu is not None and gpu not in GPUS:
        raise UserError(f"hydra.launcher.gpu={gpu}: unknown; choose {', '.join(GPUS)}")
    body, seconds, tight = [], 0.0, 0
    speeds = measured_speeds(jobs)
    for job in jobs:
        cost, standing = cost_of(job.cfg, gpu, speeds), read_status(job.folder).standing
        todo = standing is not RunStatus.FINISHED
        seconds += cost.seconds if todo else 0.0
        tight += bool(cost.hint)
        numbers = [f"{cost.memory / GIB:.1f}", minutes(cost.seconds), f"{cost.seconds / 3600:.2f}"]
        body.append([job.name, standing, *(numbers if cost.seconds else "---"), cost.source, cost.hint])
    unit = "GPU-hours" if gpu or not is_cpu(pick_device(jobs[0].cfg)) else "hours"
    print(columns(["cell", "state", "GiB", "time", unit, "from", "remark"], body))
    device = f"one {gpu}, at {SHARE_OF_DATA_SHEET:.0%} of its data sheet's rate" if gpu else "this machine"
    print(f"\n{name}: {len(jobs)} cells, {seconds / 3600:.2f} {unit} left on {device}, one cell at a time")
    if tight:
        print(f"{tight} cells do not fit; see their remarks")


def cost_of(cfg: TrainConfig, gpu: str | None, speeds: dict[tuple[str, int], float]) -> JobCost:
    """Estimates what one cell takes on a GPU of the table, or on this machine; nothing is foretold of a baseline."""
    if not predictor_class(cfg).has_base:
        return JobCost(0.0, 0.0, "not foretold", "")
    device = "cuda" if gpu else pick_device(cfg)
    precision, on_gpu = pick_precision(cfg, device), not is_cpu(device)
    parameters = count_parameters(cfg, _width(str(cfg.cohort_dir), str(cfg.labels), cfg.severity_weight))
    run = PlannedRun(cfg, parameters, precision, on_gpu)
    capacity = GPUS[gpu][1] * 1e9 if gpu else all_bytes(device)
    planned = plan_steps([run], capacity)
    hint = "" if planned.fits else f"does not fit {capacity / GIB:.0f} GiB; {remedy(run, capacity)}"
    work = expected_work(cfg, {split: _kept(cfg, split) for split in Split})
    if speed := speeds.get((cfg.model.name, cfg.max_len)) or speeds.get((cfg.model.name, 0)):
        return JobCost(planned.memory.total, work.trained / speed, "measured", hint)
    rate = GPUS[gpu][0] * SHARE_OF_DATA_SHEET if gpu else rate_here(cfg, precision, device)
    seconds = run_seconds(cfg, parameters, work, rate, recompute=planned.setting.recompute, on_gpu=on_gpu)
    return JobCost(planned.memory.total, seconds, "estimated", hint)


def measured_speeds(jobs: Sequence[Job]) -> dict[tuple[str, int], float]:
    """Training tokens a second of finished cells, evaluation included, by model and length; length 0 is any."""
    by_model: dict[tuple[str, int], list[float]] = {}
    for job in jobs:
        if read_status(job.folder).standing is RunStatus.FINISHED:
            record = read_record(job.folder)
            speed = record.tokens_seen / record.seconds["total"]
            for length in (job.cfg.max_len, 0):
                by_model.setdefault((job.cfg.model.name, length), []).append(speed)
    return {key: sum(speeds) / len(speeds) for key, speeds in by_model.items()}


def _kept(cfg: TrainConfig, split: Split) -> NDArray[np.float64]:
    full_lengths, template_tokens = _lengths(
        str(cfg.cohort_dir),
        cfg.model.path,
        str(cfg.model.weights),
        split,
        str(cfg.prompt),
        cfg.data.limit,
        _Tokenizer(cfg),
    )
    return np.asarray(np.minimum(full_lengths + template_tokens, cfg.max_len), dtype=np.float64)


class _Tokenizer:
    """Leads to the tokenizer of a configuration, and does not count as an argument of its own."""

    def __init__(self, cfg: TrainConfig) -> None:
        self.cfg = cfg

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Tokenizer)

    def __hash__(self) -> int:
        return 0


@cache
def _lengths(
    folder: str, path: str, weights: str, split: Split, prompt: str, limit: int | None, way: _Tokenizer
) -> tuple[NDArray[Any], int]:
    """Tokens of each note of a split, or of a sample of it, uncut, and of what stands around it."""
    cohort, cfg = read_cohort(Path(folder)), way.cfg
    rows = split_rows(cohort, split, limit)["row"].to_numpy()
    tokenizer = _tokenizer_here(cfg)
    if tokenizer is None:
        words = pl.read_parquet(cohort.folder / NOTES, columns=["words"])["words"].to_numpy()
        return words[rows] * TOKENS_A_WORD, 0
    return open_tokens(cohort, tokenizer).lengths(rows), prompt_template(tokenizer, cfg.prompt, 512).tokens


def _tokenizer_here(cfg: TrainConfig) -> Any:
    """Reads the model's tokenizer when it lies on this machine; a plan does not wait for a hub."""
    from transformers import AutoTokenizer

    try:
        source = STAND_IN if cfg.model.weights is Weights.RANDOM else locate(cfg.model)
        return read_pretrained(AutoTokenizer, source, local_files_only=True)
    except (UserError, OSError, ValueError, ImportError):
        return None


@cache
def _width(folder: str, labels: str, severity_weight: float) -> int:
    space = LabelSpace.from_labels(read_cohort(Path(folder)).labels)
    return build_scheme(Labels(labels), space, severity_weight).width
