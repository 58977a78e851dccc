"""Predictions of a run are kept in a table, and give every metric that they allow."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.sparse import csr_array

from src.cli.files import atomic_write
from src.cli.json_files import REMADE, Damaged
from src.cohort.msdrg import Severity, recombine
from src.metrics.definitions import TOP, log_softmax, measure_choices, measure_scores, placements_of, truth_ranks
from src.metrics.intervals import ROUNDS, Estimate, SubsampledMetric, estimates, subsample
from src.metrics.weighted import ClassAreas, ClassF1, NoteMeans, WeightedMetric, other_placements
from src.models.labelspace import LabelSpace


@dataclass(frozen=True)
class Predictions:
    """Holds the scores of B notes and the true DRG of each."""

    subject_id: NDArray[np.int64]
    hadm_id: NDArray[np.int64]
    drg: NDArray[np.int64]
    """[B]: position of the true DRG in the label space."""
    heads: Mapping[str, NDArray[np.float32]]
    """`scores` [B, D], and where a model has heads for them `base_scores` [B, K] and `severity_scores` [B, S]."""


@dataclass(frozen=True, eq=False)
class Task:
    """Holds one thing that predictions decide: the DRG, the base DRG, the severity, or the DRG by the rule.

    Letters of shapes: B notes, C classes.
    """

    prefix: str
    """Before the names of its metrics."""
    target: NDArray[np.int64]
    """[B]."""
    predicted: NDArray[np.int64]
    """[B]."""
    classes: int
    scores: NDArray[np.floating] | None = None
    """[B, C] log-probabilities; None where classes are chosen without a score for each."""

    def metrics(self) -> dict[str, float]:
        """Measures every metric that the task can have, under names such as `base_accuracy`.

        Top-k is left out where it is 1 by the number of classes; the DRG's own always stand.
        """
        if self.scores is None:
            measured = measure_choices(self.predicted, self.target, self.classes)
        else:
            measured = measure_scores(self.scores, self.target, self.predicted)
        return {f"{self.prefix}{name}": value for name, value in measured.items() if self._says(name)}

    def tallies(self) -> list[WeightedMetric]:
        """Sets up the same metrics as sums over notes, for parts of a test set."""
        counts = ClassF1(self.prefix, self.predicted, self.target, self.classes)
        hit = self.predicted == self.target
        if self.scores is None:
            return [NoteMeans({f"{self.prefix}accuracy": hit}), counts]
        ranks, placements = truth_ranks(self.scores, self.target), placements_of(self.scores, self.target)
        macro, micro = other_placements(self.scores, self.target)
        means = {"accuracy": hit, **{f"top{k}": ranks < k for k in TOP}, "micro_auc": placements.in_all + micro}
        named = {f"{self.prefix}{name}": values for name, values in means.items() if self._says(name)}
        return [NoteMeans(named), counts, ClassAreas(self.prefix, placements, macro)]

    def _says(self, name: str) -> bool:
        return not self.prefix or not name.startswith("top") or int(name.removeprefix("top")) < self.classes


def tasks(predictions: Predictions, space: LabelSpace) -> list[Task]:
    """Lists what the predictions decide, each with the truth.

    A model with heads for base DRG and severity is judged there by those heads. One that only scores DRGs has
    the base and the severity of its best DRG, and sums of its DRGs' probabilities as their scores.
    """
    scores, target = predictions.heads["scores"], predictions.drg
    best = scores.argmax(1)
    decided = [Task("", target, best, scores.shape[1], scores)]
    if not space.has_severity:
        return decided
    for name, of in (("base", space.base), ("severity", space.severity)):
        own = predictions.heads.get(f"{name}_scores")
        predicted = of[best] if own is None else own.argmax(1)
        own_scores = summed(scores, of) if own is None else own
        decided.append(Task(f"{name}_", of[target], predicted, own_scores.shape[1], own_scores))
    if "base_scores" in predictions.heads and max(space.severities) <= Severity.NONE:
        rule = by_rule(decided[1].predicted, decided[2].predicted, space)
        decided.append(Task("rule_", target, rule, scores.shape[1]))
    return decided


def measure(predictions: Predictions, space: LabelSpace) -> dict[str, float]:
    """Measures every metric of the predictions.

    Returns:
        The keys of `measure_scores` for the DRG, scored jointly where base and severity are predicted; with base
        DRGs and severities also those of `base_` and `severity_`, and where a model has heads for them those of
        `rule_`, the paper's recombination, which chooses DRGs but does not score them, and is of MS-DRGs alone.
    """
    return {name: value for task in tasks(predictions, space) for name, value in task.metrics().items()}


def parts(predictions: Predictions, space: LabelSpace, rounds: int = ROUNDS) -> dict[str, SubsampledMetric]:
    """Measures every metric of `measure` over random parts of the patients."""
    tallies = [tally for task in tasks(predictions, space) for tally in task.tallies()]
    return subsample(tallies, predictions.subject_id, rounds)


def estimates_of(predictions: Predictions, space: LabelSpace) -> dict[str, Estimate]:
    """Estimates the interval of every metric of `measure`."""
    return estimates(parts(predictions, space), len(np.unique(predictions.subject_id)))


def summed(scores: NDArray[np.floating], of: NDArray[np.int64]) -> NDArray[np.float64]:
    """Sums the probabilities of the DRGs that share a base DRG or a severity, and takes the log.

    Args:
        scores: [B, D], log-probabilities or logits of the DRGs.
        of: [D], where each DRG belongs, 0..K-1.

    Returns:
        [B, K].
    """
    log_p = log_softmax(scores)
    members = csr_array((np.ones(len(of)), (of, np.arange(len(of)))), shape=(int(of.max()) + 1, len(of)))
    with np.errstate(divide="ignore"):  # a class whose DRGs are all impossible has the log of 0, which is -inf
        return np.asarray(np.log((members @ np.exp(log_p).T).T))


def by_rule(base: NDArray[np.int64], severity: NDArray[np.int64], space: LabelSpace) -> NDArray[np.int64]:
    """Recombines each predicted base and severity into a DRG, [B] each, as the paper does."""
    rule = np.zeros((len(space.bases), len(space.severities)), np.int64)
    for k in range(len(space.bases)):
        allowed = {space.severities[s] for s in np.flatnonzero(space.states[k])}
        for s, state in enumerate(space.severities):
            rule[k, s] = space.drg[k, space.severities.index(recombine(allowed, state))]
    return rule[base, severity]


def write_predictions(path: Path, predictions: Predictions, space: LabelSpace) -> None:
    """Writes one row a note: ids, the true DRG, and each head's log-probabilities as a list.

    The file's metadata names what each entry of a list stands for, under the head's name and as JSON. With polars:

        table = pl.read_parquet("predictions.parquet")
        codes = json.loads(pl.read_parquet_metadata("predictions.parquet")["scores"])
        scores = pl.DataFrame(table["scores"].to_numpy(), schema=codes)

    With pyarrow it is `json.loads(pyarrow.parquet.read_schema("predictions.parquet").metadata[b"scores"])`.
    """
    columns = {
        "subject_id": predictions.subject_id,
        "hadm_id": predictions.hadm_id,
        "drg": np.array(space.codes)[predictions.drg],
    }
    lists = {
        name: pl.Series(name, values.astype(np.float32), dtype=pl.Array(pl.Float32, values.shape[1]))
        for name, values in predictions.heads.items()
    }
    names = {"scores": space.codes, "base_scores": space.bases, "severity_scores": space.severities}
    metadata = {name: json.dumps(names[name]) for name in lists}
    with atomic_write(path) as tmp:
        pl.DataFrame({**columns, **lists}).write_parquet(tmp, metadata=metadata)


def read_predictions(path: Path, space: LabelSpace) -> Predictions:
    """Reads the predictions that `write_predictions` wrote.

    Raises:
        Damaged: the file is missing, or not what was written for these labels.
    """
    try:
        table = pl.read_parquet(path)
        heads = {name: table[name].to_numpy() for name in table.columns if name.endswith("scores")}
        target = np.array([space.index[code] for code in table["drg"]], dtype=np.int64)
        return Predictions(table["subject_id"].to_numpy(), table["hadm_id"].to_numpy(), target, heads)
    except (pl.exceptions.PolarsError, FileNotFoundError, IsADirectoryError, KeyError, ValueError, TypeError) as error:
        reason = "no such file" if isinstance(error, FileNotFoundError) else type(error).__name__
        raise Damaged(path, reason, REMADE) from None
