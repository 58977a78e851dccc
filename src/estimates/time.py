"""Estimates the time of a run from the tokens that it reads and from how fast devices read them."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from src.cohort.split import Split
from src.config.choices import Pooling
from src.config.train import TrainConfig
from src.estimates.flop import Parameters, scoring_flop, step_flop

GPUS = {
    "h100": (989e12, 80),
    "h200": (989e12, 141),
    "a100-80": (312e12, 80),
    "a100-40": (312e12, 40),
    "l40s": (362e12, 48),
    "rtx4090": (165e12, 24),
}
"""Dense bf16 operations a second with fp32 sums, and GB of memory, from NVIDIA's data sheets."""

SHARE_OF_DATA_SHEET = 0.4
"""Share of a data sheet's rate that training is taken to reach on a GPU: an assumption until cells are finished."""

SHARE_OF_PRODUCTS = 0.6
"""Share of the rate of matrix products that training reaches: 0.68 to 0.83 measured at hidden 1024, less below."""

START_S, STEP_S = 6.0, 0.02
"""Seconds that a run takes before its first step, and a step beside its products, on a CPU: they are most of a small
model's time."""


@dataclass(frozen=True)
class Work:
    """Counts what a run reads.

    Attributes:
        trained: tokens that are trained on.
        scored: tokens that are only scored: each validation, then validation and test.
        steps: optimiser steps.
    """

    trained: float
    scored: float
    steps: int


def expected_work(cfg: TrainConfig, lengths: Mapping[Split, NDArray[np.int64 | np.float64]]) -> Work:
    """Counts what a run reads of notes of these lengths in tokens, cut; a broken last epoch reads average notes."""
    count = len(lengths[Split.TRAIN])
    per_epoch = math.ceil(count / cfg.batch_size)
    steps = min(cfg.epochs * per_epoch, cfg.max_steps or cfg.epochs * per_epoch)
    whole, rest = divmod(steps, per_epoch)
    notes, epochs = whole * count + rest * cfg.batch_size, math.ceil(steps / per_epoch)
    validations = epochs * min(cfg.validations, per_epoch)
    scored = (validations + 1) * lengths[Split.VALIDATION].sum() + lengths[Split.TEST].sum()
    return Work(float(lengths[Split.TRAIN].mean()) * notes, float(scored), steps)


def run_seconds(
    cfg: TrainConfig, parameters: Parameters, work: Work, rate: float, *, recompute: bool, on_gpu: bool
) -> float:
    """Estimates the seconds of training and evaluation.

    Args:
        cfg: of the run.
        parameters: of the run.
        work: what it reads.
        rate: floating-point operations a second that it reaches.
        recompute: activations are computed again in the backward pass.
        on_gpu: a step takes no time beside its products.
    """
    model, prune = cfg.model, cfg.pooling is Pooling.LAST
    training = step_flop(model, parameters, work.trained, recompute=recompute, prune=prune)
    seconds = (training + scoring_flop(model, parameters, work.scored, prune=prune)) / rate
    return seconds if on_gpu else seconds + START_S + STEP_S * work.steps
