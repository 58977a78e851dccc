"""An ensemble is the mean of the probabilities of finished runs; validation alone chooses its members.

Probabilities are averaged, not their logs, as deep ensembles do (Lakshminarayanan et al. 2017, "Simple and scalable
predictive uncertainty estimation using deep ensembles"): a member that calls a DRG impossible is then outvoted. Scores
of some systems are decision values under a softmax, nearly the same for every DRG, and weigh nothing in such a mean: so
each member is first brought to the temperature that validation fits. The runs are ranked by macro-F1 of validation, and
as many of the best are members as give the best mean there: the sorted start of Caruana et al. 2004, "Ensemble
selection from libraries of models". Runs are read one after the other; beside one's scores a running sum is held.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import polars as pl
from numpy.typing import NDArray

from src.cli.progress import track
from src.evaluation.calibration import fit_temperature
from src.metrics.definitions import f1_scores, log_softmax
from src.runs.predictions import Predictions

FITTED = 5_000
"""Notes of validation, evenly spread, that a temperature is fitted on: one number needs no more."""


@dataclass(frozen=True, eq=False)
class Ensemble:
    """Holds the mean of some runs, and which they are."""

    members: pl.DataFrame
    """A row a run, the best of validation first.

    Columns `run`, `val_macro_f1`, `temperature`, `val_macro_f1_of_mean` (of it and those above) and `member`.
    """
    test: Predictions
    """The logs of the members' mean probabilities."""

    @property
    def name(self) -> str:
        """Names it among runs."""
        return f"ensemble ({self.members['member'].sum()} of {self.members.height})"


def ensemble_of(validation: Mapping[str, Predictions], test: Mapping[str, Predictions]) -> Ensemble:
    """Chooses the members on validation, the fewest of equally good ones, and averages them on the test.

    Args:
        validation: of each run, by its name, on the same notes.
        test: of the same runs.
    """
    alone: dict[str, tuple[float, float]] = {}
    for name, scored in track(validation.items(), total=len(validation), what="ranking", unit="run"):
        alone[name] = (_macro_f1(scored, scored.heads["scores"]), fit_temperature(_spread(scored)))
    ranked = sorted(alone, key=lambda name: -alone[name][0])
    total, of_mean = np.zeros(0), list[float]()
    for name in track(ranked, total=len(ranked), what="averaging", unit="run"):
        probabilities = _probabilities(validation[name], alone[name][1])
        total = total + probabilities if of_mean else probabilities
        of_mean.append(_macro_f1(validation[name], total))
    size = int(np.argmax(of_mean)) + 1
    columns = {"run": ranked, "val_macro_f1": [alone[name][0] for name in ranked]}
    columns |= {"temperature": [alone[name][1] for name in ranked], "val_macro_f1_of_mean": of_mean}
    members = pl.DataFrame({**columns, "member": [rank < size for rank in range(len(ranked))]})
    best = test[ranked[0]]
    if size == 1:  # with its heads, and no score rounded
        return Ensemble(members, best)
    mean = _probabilities(best, alone[ranked[0]][1])
    for name in ranked[1:size]:
        mean += _probabilities(test[name], alone[name][1])
    with np.errstate(divide="ignore"):  # what all members call impossible has the log of 0
        scores = np.log(mean / size).astype(np.float32)
    return Ensemble(members, replace(best, heads={"scores": scores}))


def _macro_f1(predictions: Predictions, scores: NDArray[np.floating]) -> float:
    return f1_scores(scores.argmax(1), predictions.drg, scores.shape[1])["macro_f1"]


def _probabilities(predictions: Predictions, temperature: float) -> NDArray[np.float64]:
    """Computes [B, D] probabilities from the scores divided by a temperature."""
    return np.exp(log_softmax(predictions.heads["scores"].astype(np.float64) / temperature))


def _spread(predictions: Predictions) -> Predictions:
    rows = np.linspace(0, len(predictions.drg) - 1, min(FITTED, len(predictions.drg))).astype(np.int64)
    ids = (predictions.subject_id[rows], predictions.hadm_id[rows], predictions.drg[rows])
    return Predictions(*ids, {"scores": predictions.heads["scores"][rows]})
