"""What a whole sweep would take, before anything is spent: memory, time and GPU-hours of every cell, and the total."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from src.cli.errors import UserError
from src.cli.progress import minutes
from src.cohort.prepared import NOTES, read_cohort
from src.cohort.split import Split
from src.config.train import Kind, Precision, TrainConfig, Weights
from src.estimates.training_step import count_parameters, matrix_rate
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
from src.sweeps.out_of_memory import GIB, fitting, needs
from src.sweeps.status_table import columns
from src.training.context import pick_device, pick_precision
from src.training.notes import split_rows
from src.training.tokens import open_tokens

GPUS = {
    "h100": (989e12, 80),
    "h200": (989e12, 141),
    "a100-80": (312e12, 80),
    "a100-40": (312e12, 40),
    "l40s": (362e12, 48),
    "rtx4090": (165e12, 24),
}
"""Dense bf16 operations a second with fp32 sums, and GB of memory, from NVIDIA's data sheets."""

UTILISATION = 0.4
"""Share of a data sheet's rate that training is taken to reach on a GPU: an assumption until cells are finished."""

UTILISATION_HERE = 0.6
"""The same of the matrix-product rate measured on this machine: 0.68 to 0.83 at hidden 1024, less below."""

START_S, STEP_S = 6.0, 0.02
"""Seconds that a cell takes before its first step, and a step beside its products, on a CPU: they are most of a small
model's time."""

TOKENS_A_WORD = 1.5
"""Of clinical English under a vocabulary of 32,000: an assumption, where the model's tokenizer cannot be had."""


@dataclass(frozen=True)
class Cost:
    """What one cell takes.

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
        told = [f"{cost.memory / GIB:.1f}", minutes(cost.seconds), f"{cost.seconds / 3600:.2f}"]
        body.append([job.name, standing, *(told if cost.seconds else "---"), cost.source, cost.hint])
    unit = "GPU-hours" if gpu or not is_cpu(pick_device(jobs[0].cfg)) else "hours"
    print(columns(["cell", "state", "GiB", "time", unit, "from", "remark"], body))
    where = f"one {gpu}, at {UTILISATION:.0%} of its data sheet's rate" if gpu else "this machine"
    print(f"\n{name}: {len(jobs)} cells, {seconds / 3600:.2f} {unit} left on {where}, one cell at a time")
    if tight:
        print(f"{tight} cells do not fit; see their remarks")


def cost_of(cfg: TrainConfig, gpu: str | None, speeds: dict[tuple[str, int], float]) -> Cost:
    """What one cell takes on a GPU of the table, or on this machine; nothing is foretold of a baseline."""
    if cfg.model.kind is not Kind.LLAMA:
        return Cost(0.0, 0.0, "not foretold", "")
    device = "cuda" if gpu else pick_device(cfg)
    precision = pick_precision(cfg, device)
    width = _width(cfg.data.dir, str(cfg.labels), cfg.severity_weight)
    parameters = count_parameters(cfg, width)
    room = GPUS[gpu][1] * 1e9 if gpu else all_bytes(device)
    held = needs(cfg, width, precision, device, 0.9 * room)
    change = "" if held < 0.95 * room else fitting(cfg, width, precision, room, device)
    hint = f"does not fit {room / GIB:.0f} GiB; {change}" if change else ""
    trained, scored = tokens_of(cfg)
    body = parameters.base - cfg.model.vocab_size * cfg.model.hidden_size
    flop = body * (trained * (6 if cfg.checkpointing else 4) + scored * 2.0)
    speed = speeds.get((cfg.model.name, cfg.max_len)) or speeds.get((cfg.model.name, 0))
    if speed:
        return Cost(held, trained / speed, "measured", hint)
    rate = GPUS[gpu][0] * UTILISATION if gpu else _rate_here(cfg, precision, device)
    beside = 0.0 if gpu else START_S + STEP_S * steps_of(cfg, len(_kept(cfg, Split.TRAIN)))
    return Cost(held, flop / rate + beside, "estimated", hint)


def measured_speeds(jobs: Sequence[Job]) -> dict[tuple[str, int], float]:
    """Training tokens a second of finished cells, evaluation included, by model and length; length 0 is any."""
    found: dict[tuple[str, int], list[float]] = {}
    for job in jobs:
        if read_status(job.folder).standing is RunStatus.FINISHED:
            record = read_record(job.folder)
            speed = record.tokens_seen / record.seconds["total"]
            for length in (job.cfg.max_len, 0):
                found.setdefault((job.cfg.model.name, length), []).append(speed)
    return {key: sum(speeds) / len(speeds) for key, speeds in found.items()}


def tokens_of(cfg: TrainConfig) -> tuple[float, float]:
    """Tokens that are trained on, and that are only scored: validation each epoch, then validation and test."""
    kept = {split: _kept(cfg, split) for split in Split}
    train = kept[Split.TRAIN]
    notes = min(steps_of(cfg, len(train)) * cfg.batch_size, cfg.epochs * len(train))
    epochs = math.ceil(notes / max(1, len(train)))
    scored = (epochs + 1) * float(kept[Split.VALIDATION].sum()) + float(kept[Split.TEST].sum())
    return float(train.mean()) * notes, scored


def steps_of(cfg: TrainConfig, notes: int) -> int:
    """Optimiser steps over `notes` training notes."""
    whole = cfg.epochs * math.ceil(notes / cfg.batch_size)
    return min(whole, cfg.max_steps or whole)


def _kept(cfg: TrainConfig, split: Split) -> NDArray[np.float64]:
    whole, around = _lengths(
        cfg.data.dir, cfg.model.path, str(cfg.model.weights), split, str(cfg.prompt), cfg.data.limit, _Tokenizer(cfg)
    )
    cut = np.minimum(whole + around, cfg.max_len)
    return np.asarray(cut, dtype=np.float64)


class _Tokenizer:
    """A way to the tokenizer of a configuration that does not count as an argument of its own."""

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
    """The model's tokenizer when it lies on this machine; a plan does not wait for a hub."""
    from transformers import AutoTokenizer

    try:
        where = STAND_IN if cfg.model.weights is Weights.RANDOM else locate(cfg.model)
        return read_pretrained(AutoTokenizer, where, local_files_only=True)
    except (UserError, OSError, ValueError, ImportError):
        return None


@cache
def _width(folder: str, labels: str, severity_weight: float) -> int:
    from src.config.train import Labels

    space = LabelSpace.from_labels(read_cohort(Path(folder)).labels)
    return build_scheme(Labels(labels), space, severity_weight).width


_rates: dict[tuple[str, Precision], float] = {}


def _rate_here(cfg: TrainConfig, precision: Precision, device: str) -> float:
    """Measured once for each model."""
    key = (cfg.model.name, precision)
    if key not in _rates:
        _rates[key] = max(matrix_rate(cfg, precision, device) for _ in range(5)) * UTILISATION_HERE
    return _rates[key]
