"""A prediction table joins to each test note what is known of it and what the model made of it, a row a note."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from src.cohort.admissions import read_admissions
from src.cohort.prepared import NOTES, Cohort
from src.cohort.weights import Weights
from src.metrics.definitions import log_softmax, truth_ranks
from src.models.labelspace import Label, LabelSpace
from src.runs.predictions import Predictions

SEVERITIES = (
    "without CC/MCC", "with CC", "with MCC", "without MCC", "none",
    "severity of illness 1", "severity of illness 2", "severity of illness 3", "severity of illness 4",
)  # fmt: skip
"""In the order of `src.cohort.msdrg.Severity`."""


def prediction_table(
    predictions: Predictions,
    space: LabelSpace,
    cohort: Cohort,
    trained: Sequence[str],
    weights: Weights,
    cut: NDArray[np.bool_] | None = None,
) -> pl.DataFrame:
    """Joins, a row a note: ids, true and predicted DRG, how sure, how far off; its length, its admission's facts.

    Args:
        predictions: of the test.
        space: their labels.
        cohort: where the notes and their admissions are.
        trained: the DRG of every training note.
        weights: relative weights.
        cut: [B], whether the model read only the beginning; None where that cannot be said.
    """
    scores, target = predictions.heads["scores"], predictions.drg
    predicted = scores.argmax(1)
    seen = np.bincount([space.index[code] for code in trained], minlength=len(space.codes))
    codes = np.array(space.codes)
    columns: dict[str, Any] = {
        "subject_id": predictions.subject_id,
        "hadm_id": predictions.hadm_id,
        "drg": codes[target],
        "predicted": codes[predicted],
        "right": predicted == target,
        "rank": truth_ranks(scores, target) + 1,
        "confidence": np.exp(log_softmax(scores)).max(1),
        "training_notes": seen[target],
    }
    if cut is not None:
        columns["cut"] = cut
    rows = pl.DataFrame(columns)
    for side in ("drg", "predicted"):
        labels = label_table(cohort.labels, weights).drop("gmlos")
        named = labels.rename({name: side if name == "code" else f"{side}_{name}" for name in labels.columns})
        rows = rows.join(named, side, how="left", maintain_order="left")
    notes = pl.read_parquet(cohort.folder / NOTES, columns=["hadm_id", "words"]).unique("hadm_id", keep="first")
    facts = read_admissions(cohort.folder)
    if facts is not None:
        notes = notes.join(facts.drop("services", "diagnoses", "procedures"), "hadm_id", how="left")
    return rows.join(notes, "hadm_id", how="left", maintain_order="left")


def label_table(labels: Sequence[Label], weights: Weights) -> pl.DataFrame:
    """Describes each class, a row each: `code`, `title`, `mdc`, `type`, `base_drg`, `severity`, `weight`, `gmlos`."""
    kinds = {"title": pl.String, "mdc": pl.String, "type": pl.String, "base_drg": pl.String}
    rows: list[dict[str, Any]] = []
    for label in labels:
        facts = {name: None if (value := getattr(label, name, None)) is None else str(value) for name in kinds}
        state = label.severity
        severity = None if state is None else SEVERITIES[int(state)]
        paid, days = (values.get(label.code) if facts["title"] else None for values in (weights.of, weights.gmlos))
        rows.append({"code": label.code, **facts, "severity": severity, "weight": paid, "gmlos": days})
    schema: Any = {"code": pl.String, **kinds, "severity": pl.String, "weight": pl.Float64, "gmlos": pl.Float64}
    return pl.DataFrame(rows, schema=schema)
