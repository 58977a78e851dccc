"""Predictions of a run: how they are kept, and every metric that they allow."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from src.cohort.msdrg import recombine
from src.evaluation.metrics import measure_scores
from src.models.labelspace import LabelSpace
from src.shell.files import replacing


@dataclass(frozen=True)
class Predictions:
    """Scores of B notes beside the truth."""

    subject_id: NDArray[np.int64]
    hadm_id: NDArray[np.int64]
    drg: NDArray[np.int64]
    """[B]: position of the true DRG in the label space."""
    heads: Mapping[str, NDArray[np.float32]]
    """`scores` [B, D], and for `labels=two` `base_scores` [B, K] and `severity_scores` [B, S]."""


def measure(predictions: Predictions, space: LabelSpace) -> dict[str, float]:
    """Every metric of the predictions.

    Returns:
        The keys of `measure_scores`; with base DRGs and severities also `base_accuracy` and
        `severity_accuracy`, and for `labels=two` `rule_accuracy`, the paper's recombination.
    """
    scores, truth = predictions.heads["scores"], predictions.drg
    found = measure_scores(scores, truth)
    if not space.has_severity:
        return found
    best = scores.argmax(1)
    base, severity = space.base[best], space.severity[best]
    if "base_scores" in predictions.heads:
        base = predictions.heads["base_scores"].argmax(1)
        severity = predictions.heads["severity_scores"].argmax(1)
        found["rule_accuracy"] = float(np.mean(by_rule(base, severity, space) == truth))
    found["base_accuracy"] = float(np.mean(base == space.base[truth]))
    found["severity_accuracy"] = float(np.mean(severity == space.severity[truth]))
    return found


def by_rule(base: NDArray[np.int64], severity: NDArray[np.int64], space: LabelSpace) -> NDArray[np.int64]:
    """The paper's recombined DRG of each predicted base and severity, [B] each."""
    rule = np.zeros((len(space.bases), len(space.severities)), np.int64)
    for k in range(len(space.bases)):
        allowed = {space.severities[s] for s in np.flatnonzero(space.states[k])}
        for s, state in enumerate(space.severities):
            rule[k, s] = space.drg[k, space.severities.index(recombine(allowed, state))]
    return rule[base, severity]


def write_predictions(path: Path, predictions: Predictions, space: LabelSpace) -> None:
    """Writes one row a note: ids, the true DRG, and each head's log-probabilities as a list."""
    columns = {
        "subject_id": predictions.subject_id,
        "hadm_id": predictions.hadm_id,
        "drg": np.array(space.codes)[predictions.drg],
    }
    lists = {
        name: pl.Series(name, values.astype(np.float32), dtype=pl.Array(pl.Float32, values.shape[1]))
        for name, values in predictions.heads.items()
    }
    with replacing(path) as beside:
        pl.DataFrame({**columns, **lists}).write_parquet(beside)


def read_predictions(path: Path, space: LabelSpace) -> Predictions:
    """The predictions that `write_predictions` wrote."""
    table = pl.read_parquet(path)
    heads = {name: table[name].to_numpy() for name in table.columns if name.endswith("scores")}
    truth = np.array([space.index[code] for code in table["drg"]], dtype=np.int64)
    return Predictions(table["subject_id"].to_numpy(), table["hadm_id"].to_numpy(), truth, heads)
