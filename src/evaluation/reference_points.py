"""Reference points are two lines to beat on the same notes: the commonest DRGs, and TF-IDF with a linear model."""

import numpy as np
from numpy.typing import NDArray

from src.baselines.tfidf import TfidfLinear
from src.cohort.prepared import Cohort
from src.cohort.split import Split
from src.models.labelspace import LabelSpace
from src.runs.predictions import Predictions, measure


def baselines(cohort: Cohort, limit: int | None) -> dict[str, dict[str, float]]:
    """Measures both on the test, by name; `limit` is the number of notes taken from each split."""
    space = LabelSpace.from_labels(cohort.labels)
    train, test = cohort.notes(Split.TRAIN, limit), cohort.notes(Split.TEST, limit)
    target = np.array([space.index[code] for code in test["drg"]], dtype=np.int64)
    counts = np.bincount([space.index[code] for code in train["drg"]], minlength=len(space.codes)).astype(np.float32)
    common = np.tile(np.log(counts + 0.5), (test.height, 1))  # half a note more, for 0 has no logarithm
    values, classes = TfidfLinear().fit(train["text"].to_list(), train["drg"].to_list()).scores(test["text"].to_list())
    # TF-IDF scores the DRGs of training alone; the others come last.
    linear = np.full(common.shape, values.min() - 1, dtype=np.float32)
    linear[:, [space.index[code] for code in classes]] = values
    return {"majority": _measured(common, target, space), "TF-IDF + linear": _measured(linear, target, space)}


def _measured(scores: NDArray[np.float32], target: NDArray[np.int64], space: LabelSpace) -> dict[str, float]:
    ids = np.arange(len(target))
    metrics = measure(Predictions(ids, ids, target, {"scores": scores.astype(np.float32)}), space)
    return {f"test/{name}": value for name, value in metrics.items()}
