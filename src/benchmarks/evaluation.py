"""Measures a full evaluation at the size of the paper's test set, beside the reference's way.

`python -m src.benchmarks.evaluation [notes=26244] [drgs=738] [rounds=3] [reference=yes|no]` draws scores for that many
notes and DRGs of v34 and measures on one thread: every metric of DRG, base DRG and severity; the intervals of all of
them; and the DRG's metrics with scikit-learn, as the paper's code has them. Every measurement is a process of its own.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from src.benchmarks.settings import read_settings
from src.cli.command import report_user_errors
from src.cli.own_memory import peak_memory
from src.cohort.msdrg import load_drgs
from src.metrics.intervals import estimates, subsample
from src.models.labelspace import LabelSpace
from src.runs.predictions import Predictions, measure, tasks


def predictions(notes: int, drgs: int) -> tuple[Predictions, LabelSpace]:
    """Makes up scores of a model that is right on about half of the notes, DRGs with a long tail."""
    draw = np.random.default_rng(0)
    space = LabelSpace.from_labels(list(load_drgs().values())[:drgs])
    count = len(space.codes)
    chance = 1 / (1.0 + np.arange(count))
    target = draw.choice(count, notes, p=chance / chance.sum())
    scores = draw.normal(size=(notes, count)).astype(np.float32)
    scores[np.arange(notes), target] += draw.normal(3, 1, notes).astype(np.float32)
    patients = np.sort(draw.integers(0, notes * 2 // 3, notes))
    return Predictions(patients, np.arange(notes), target, {"scores": scores}), space


def every_metric(made: Predictions, space: LabelSpace) -> dict[str, float]:
    """Measures all metrics of DRG, base DRG and severity."""
    return measure(made, space)


def every_interval(made: Predictions, space: LabelSpace) -> dict[str, float]:
    """Estimates the standard error of every metric."""
    tallies = [tally for task in tasks(made, space) for tally in task.tallies()]
    intervals = estimates(subsample(tallies, made.subject_id), len(set(made.subject_id)))
    return {name: interval.error for name, interval in intervals.items()}


def by_scikit_learn(made: Predictions, space: LabelSpace) -> dict[str, float]:
    """Measures the DRG's metrics as the paper's code does: one-hot truths, scikit-learn's functions."""
    from sklearn.metrics import f1_score, roc_auc_score, top_k_accuracy_score

    from src.metrics.definitions import log_softmax

    target, classes = made.drg, np.arange(len(space.codes))
    chances = np.exp(log_softmax(made.heads["scores"]))
    present = np.unique(target)
    metrics = {f"top{k}": float(top_k_accuracy_score(target, chances, k=k, labels=classes)) for k in (1, 5, 10)}
    for average in ("macro", "micro"):
        options: dict[str, Any] = {"average": average, "zero_division": 0}
        metrics[f"{average}_f1"] = float(f1_score(target, chances.argmax(1), labels=present, **options))
        one_hot: NDArray[Any] = target[:, None] == present
        metrics[f"{average}_auc"] = float(roc_auc_score(one_hot, chances[:, present], average=average))
    return metrics


WAYS: dict[str, Callable[[Predictions, LabelSpace], dict[str, float]]] = {
    "every metric": every_metric,
    "every interval": every_interval,
    "scikit-learn, DRG only": by_scikit_learn,
}


def benchmark(notes: int, drgs: int, rounds: int, ways: list[str]) -> None:
    """Prints seconds of processor time and peak memory of each way, medians over rounds."""
    print(f"{notes:,} notes, {drgs} DRGs, {rounds} rounds, one thread")
    print(f"{'':<24}{'metrics':>8}{'seconds':>10}{'peak MB':>10}")
    for way in ways:
        readings = [_measured(way, notes, drgs) for _ in range(rounds)]
        seconds, peak = (median(reading[key] for reading in readings) for key in ("seconds", "peak"))
        print(f"{way:<24}{readings[0]['metrics']:>8}{seconds:>10.2f}{peak:>10.0f}", flush=True)


def _measured(way: str, notes: int, drgs: int) -> dict[str, float]:
    words = [sys.executable, "-m", "src.benchmarks.evaluation", f"way={way}", f"notes={notes}", f"drgs={drgs}"]
    # Processor time adds up all threads of numpy's and scikit-learn's.
    alone = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(words, env=alone, capture_output=True, text=True, check=True)
    return dict(json.loads(done.stdout))


def _one(way: str, notes: int, drgs: int) -> None:
    made, space = predictions(notes, drgs)
    start = time.process_time()
    metrics = WAYS[way](made, space)
    seconds = time.process_time() - start
    print(json.dumps({"metrics": len(metrics), "seconds": seconds, "peak": peak_memory() / 2**20}))


def main() -> None:
    """Runs the command."""
    with report_user_errors():
        defaults = {"notes": 26_244, "drgs": 738, "rounds": 3, "reference": "yes", "way": ""}
        words = read_settings(sys.argv[1:], defaults)
        notes, drgs = words["notes"], words["drgs"]
        if words["way"]:
            _one(words["way"], notes, drgs)
            return
        benchmark(notes, drgs, words["rounds"], list(WAYS)[: 2 if words["reference"] == "no" else 3])


if __name__ == "__main__":
    main()
