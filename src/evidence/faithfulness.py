"""Measures whether a model uses the sentences that a method names: comprehensiveness and sufficiency, normalised.

Sentences are left out one after another in a method's order, and the mean fall of the DRG's probability is the area
over the perturbation curve (AOPC). What values it can take differs from model to model and from note to note, so that
it is put between the lowest and the highest of any order: 0 and 1 (normalised AOPC, Edin et al., ACL 2025).
Comprehensiveness leaves out the highest scores first, and should be high; sufficiency the lowest first, and should be
low. Two controls must lose: orders drawn at random, and the scores of a DRG drawn at random, which are those of a
model whose head's rows are shuffled.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from src.cli.signals import Stop
from src.evidence.explanation import what_is_read, without
from src.evidence.sentences import split_sentences
from src.inference.model import Model

EXACT = 10
"""Sentences up to which the limits are exact: each of 2^n sets of them is left out once."""

BEAM = 5
"""Sets that are followed at each size where a note has more sentences; limits are then inner ones."""

RANDOM_ORDERS = 20


class Ablated:
    """Scores a note without any set of its sentences, each set once; a set is a number, a bit for each sentence.

    Args:
        probability: of the DRG, of each of some texts.
        text: what the model reads of the note.
        spans: of its sentences.
    """

    def __init__(
        self,
        probability: Callable[[list[str]], NDArray[np.float64]],
        text: str,
        spans: Sequence[tuple[int, int]],
    ) -> None:
        self.probability, self.text, self.spans = probability, text, spans
        self._known: dict[int, float] = {}

    @property
    def count(self) -> int:
        """Counts the sentences."""
        return len(self.spans)

    def falls(self, sets: Iterable[int]) -> list[float]:
        """Computes how far the probability falls without each set."""
        sets = list(sets)
        if unknown := [left for left in dict.fromkeys([0, *sets]) if left not in self._known]:
            numbered = list(enumerate(self.spans))
            texts = [without(self.text, [span for bit, span in numbered if left >> bit & 1]) for left in unknown]
            self._known |= dict(zip(unknown, map(float, self.probability(texts)), strict=True))
        return [self._known[0] - self._known[left] for left in sets]

    def aopc(self, order: Sequence[int]) -> float:
        """Computes the area over the perturbation curve of one order of all sentences."""
        sets, left = [], 0
        for sentence in order:
            left |= 1 << sentence
            sets.append(left)
        return float(np.mean(self.falls(sets)))

    def limits(self, exact: int = EXACT, beam: int = BEAM) -> tuple[float, float]:
        """Finds the lowest and the highest AOPC of any order: of more than `exact` sentences, by beams."""
        width = None if self.count <= exact else beam
        return -self._highest(-1, width), self._highest(1, width)

    def _highest(self, sign: int, width: int | None) -> float:
        """Grows the best order to each set from those to sets of one sentence fewer; `width` of them are kept."""
        totals = {0: 0.0}
        for _ in range(self.count):
            grown: dict[int, float] = {}
            for left, total in totals.items():
                for bit in range(self.count):
                    if not left >> bit & 1:
                        larger = left | 1 << bit
                        grown[larger] = max(total, grown.get(larger, -np.inf))
            falls = self.falls(grown)
            sums = {left: total + sign * fall for (left, total), fall in zip(grown.items(), falls, strict=True)}
            totals = dict(sorted(sums.items(), key=lambda item: -item[1])[:width])
        return max(totals.values()) / self.count


@dataclass(frozen=True)
class Faithfulness:
    """Holds normalised AOPC of an order; not numbers where all orders of a note have the same, as with one sentence."""

    comprehensiveness: float
    sufficiency: float


def faithfulness(ablated: Ablated, scores: Sequence[float], limits: tuple[float, float]) -> Faithfulness:
    """Measures the order in which sentences have the scores of a method."""
    order = np.argsort(-np.asarray(scores), kind="stable").tolist()
    return Faithfulness(*(normalised(ablated.aopc(way), limits) for way in (order, order[::-1])))


def random_order(ablated: Ablated, limits: tuple[float, float], seed: int = 0) -> Faithfulness:
    """Measures the mean of orders drawn at random, for which the two are the same quantity."""
    draw = np.random.default_rng(seed)
    areas = [ablated.aopc(draw.permutation(ablated.count).tolist()) for _ in range(RANDOM_ORDERS)]
    mean = float(np.mean([normalised(area, limits) for area in areas]))
    return Faithfulness(mean, mean)


def normalised(area: float, limits: tuple[float, float]) -> float:
    """Puts an AOPC between its limits.

    >>> normalised(0.75, (0.5, 1.0)), normalised(0.2, (0.2, 0.2))
    (0.5, nan)
    """
    low, high = limits
    return (area - low) / (high - low) if high - low > 1e-9 else float("nan")


def ablate(model: Model, text: str, drg: str, stop: Stop | None = None) -> Ablated:
    """Prepares a note for a model: its sentences can then be left out."""
    text, column = what_is_read(model, text), model.space.index[drg]

    def probability(texts: list[str]) -> NDArray[np.float64]:
        values: NDArray[np.float64] = np.exp(model.log_probabilities(pl.DataFrame({"text": texts}), stop or Stop()))
        return values[:, column]

    return Ablated(probability, text, split_sentences(text))


def shuffled_drg(model: Model, drg: str, seed: int = 0) -> str:
    """Draws another DRG: the one whose row a head has in the place of `drg`'s when its rows are shuffled."""
    codes = model.space.codes
    return codes[(model.space.index[drg] + int(np.random.default_rng(seed).integers(1, len(codes)))) % len(codes)]
