"""Makes up grids of finished runs whose true laws are known, for tests of the analysis and for its benchmarks."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from src.metrics.intervals import estimate
from src.runs.finished import Run
from src.runs.folder import RunFolder
from src.runs.record import RunRecord, write_record

SIZES = {"femto": 156_320, "pico": 362_816, "nano": 1_328_256, "micro": 4_860_000, "milli": 17_800_000}
"""Parameters of each model; the last two are nobody's."""

FURTHER = tuple(f"{of}{name}" for of in ("", "base_", "severity_") for name in ("top5", "micro_f1", "macro_auc"))
"""Metrics beside those with a law, so that records have their usual size."""


@dataclass(frozen=True)
class Truth:
    """Holds a law, 1 - accuracy = e + b (N / 1e6)^-c + d (L / 100)^-f - g n l, and how runs scatter around it.

    n and l are how far size and length are between the least and the largest of a usual grid, in their logarithms.

    Attributes:
        e: the asymptote.
        b: of the size.
        c: its exponent.
        d: of the length.
        f: its exponent.
        together: g, what a large model makes of a long context beyond what a small one does; 0 keeps the law.
        seeds: standard deviation between seeds.
        patients: standard deviation between test sets of one run.
        shared: the part of the latter's variance that is the same for all runs on one test set.
    """

    e: float = 0.3
    b: float = 0.1
    c: float = 0.5
    d: float = 0.15
    f: float = 0.9
    together: float = 0.0
    seeds: float = 0.004
    patients: float = 0.006
    shared: float = 0.8

    def accuracy(self, params: float, length: float) -> float:
        """Computes the mean accuracy over seeds and test sets."""
        size, context = (params / 1e6) ** -self.c, (length / 100) ** -self.f
        both = np.log(params / SIZES["femto"]) / np.log(SIZES["nano"] / SIZES["femto"]) * np.log2(length / 96) / 2
        return float(1 - self.e - self.b * size - self.d * context + self.together * both)


def grid_of(
    law: Truth,
    *,
    models: Sequence[str] = ("femto", "pico", "nano"),
    lengths: Sequence[int] = (96, 192, 384),
    ranks: Sequence[int] = (8,),
    labels: Sequence[str] = ("two",),
    seeds: int = 3,
    cohort: str = "c0ffee00",
    draw: int = 0,
) -> list[Run]:
    """Makes up one finished run of every combination, all on one test set.

    Args:
        law: of all runs; a rank changes nothing, and macro-F1 is half of the accuracy.
        models: of `SIZES`.
        lengths: in tokens.
        ranks: of the adapters.
        labels: label schemes.
        seeds: how many.
        cohort: fingerprint.
        draw: seed of all chance.
    """
    dice = np.random.default_rng(draw)
    same = dice.normal(0, law.patients * law.shared**0.5)
    alone = law.patients * (1 - law.shared) ** 0.5
    runs = []
    for model, length, rank, scheme in product(models, lengths, ranks, labels):
        own = dice.normal(0, alone)  # the seeds of a cell err on the same patients
        for seed in range(seeds):
            value = law.accuracy(SIZES[model], length) + same + own + dice.normal(0, law.seeds)
            name = f"{model}-len{length}-r{rank}-{scheme}-s{seed}-c{cohort[:7]}"
            runs.append(_run(name, model, (length, rank, scheme, seed), float(value), law, cohort, dice))
    return runs


def _run(
    name: str,
    model: str,
    setting: tuple[int, int, str, int],
    accuracy: float,
    law: Truth,
    cohort: str,
    dice: np.random.Generator,
) -> Run:
    length, rank, scheme, seed = setting
    metrics = {"test/accuracy": accuracy, "test/macro_f1": accuracy / 2}
    metrics |= {f"test/{further}": min(0.99, accuracy + 0.01 * index) for index, further in enumerate(FURTHER)}
    intervals = {}
    for metric, value in metrics.items():
        estimated = estimate(value, law.patients, 1500)
        intervals[metric] = [estimated.low, estimated.high]
    tokens, steps = 12_000 * length, 300
    record = {
        "config": {"data": {"dir": "data/cohort"}},
        "axes": {"model": model, "params": SIZES[model], "max_len": length, "lora_r": rank, "lora_alpha": 2 * rank}
        | {"labels": scheme, "prompt": "diagnosis", "lr": 0.002, "epochs": 2, "batch_size": 4, "seed": seed}
        | {"protocol": "clean"},
        "cohort": cohort,
        "code": {"commit": None, "source": "77ab77ab77ab"},
        "counts": {"train": 6000, "validation": 1500, "test": 1500, "best_step": 10 * steps}
        | {"trainable_parameters": 1900 * rank, "base_parameters": SIZES[model]},
        "metrics": metrics,
        "intervals": intervals,
        "versions": {},
        "tokens_seen": tokens,
        "seconds": {"starting": 1.0, "training": tokens / 40_000, "evaluation": 3.0, "total": 4 + tokens / 40_000},
    }
    loss = 6 * (1 - accuracy)
    falling = {10 * index: loss * (1 + 2 / index) + float(dice.normal(0, 0.05)) for index in range(1, steps + 1)}
    return Run(name, RunRecord.of(record), {"train/loss": falling, "val/loss": {10 * steps: loss}})


def write_runs(folder: Path, runs: Sequence[Run]) -> None:
    """Writes each run's `result.json` and `history.jsonl`, as a finished run has them."""
    for run in runs:
        (folder / run.name).mkdir(parents=True)
        write_record(folder / run.name, run.record)
        rows: dict[int, dict[str, Any]] = {}
        for metric, values in run.curves.items():
            for step, value in values.items():
                rows.setdefault(step, {"step": step})[metric] = value
        lines = (json.dumps(row) + "\n" for _, row in sorted(rows.items()))
        (RunFolder(folder / run.name).history).write_text("".join(lines), "utf-8")
