"""Scores each sentence of a note by what a DRG's log-probability owes to it: the one call is `explain_note`.

A score is in nats of the calibrated log-probability of the DRG, or of its difference from another DRG's; positive
ones speak for the DRG. A method with tokens adds up the scores of each sentence's.
"""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray

from src.cli.errors import UserError
from src.cli.signals import Stop
from src.config.choices import Kind, Method, Pooling
from src.evidence.attribution import token_scores
from src.evidence.sentences import split_sentences
from src.evidence.token_readers import TOKEN_READERS
from src.evidence.word_weights import word_scores
from src.inference.model import Model

FURTHER_METHODS: dict[Kind, tuple[Method, ...]] = {
    Kind.LLAMA: (Method.GRADIENT_ATTENTION, Method.INTEGRATED_GRADIENTS),
    Kind.BERT: (Method.INTEGRATED_GRADIENTS,),
    Kind.CAML: (Method.ATTINGRAD, Method.INTEGRATED_GRADIENTS),
    Kind.TFIDF: (Method.LINEAR,),
    Kind.TFIDF_CUT: (Method.LINEAR,),
}
"""What kinds of models can be asked with beside occlusion, which every model has that reads notes alone."""

EMPTY = "\n"
"""What a note reads without any of its sentences: some tokenizers make no token of no text."""


@dataclass(frozen=True)
class SentenceScore:
    """Holds what a DRG owes to the sentence `text[start:end]`."""

    start: int
    end: int
    score: float


def methods_of(model: Model) -> tuple[Method, ...]:
    """Lists the methods that a model can be asked with."""
    cfg = model.predictor.data.cfg
    if cfg.model.kind.reads_facts:
        return ()
    # No one token is read by a head that reads the mean of all.
    lacking = () if cfg.pooling is Pooling.LAST else (Method.GRADIENT_ATTENTION,)
    further = FURTHER_METHODS.get(cfg.model.kind, ())
    return (Method.OCCLUSION, *(method for method in further if method not in lacking))


def check_question(model: Model, drg: str, against: str | None, method: Method) -> None:
    """Refuses what cannot be asked of a model.

    Raises:
        UserError: the model has not this method, or knows no such DRG; or a DRG is to be told from itself.
    """
    name, able = model.predictor.data.cfg.model.name, methods_of(model)
    if not able:
        raise UserError(
            f"{model.run.path}: model={name} reads the admission's facts, which a note does not hold, so that no "
            "sentence explains it; take a run of a model that reads notes alone"
        )
    if method not in able:
        raise UserError(
            f"method={method}: {model.run.path} is a run of model={name}, which has "
            f"{', '.join(able)}; write method={able[0]}"
        )
    for key, code in (("drg", drg), ("against", against)):
        if code is not None and code not in model.space.index:
            some = ", ".join(model.space.codes[:5])
            raise UserError(
                f"{key}={code}: {model.run.path} knows no such label; its {len(model.space.codes)} are {some} ..."
            )
    if drg == against:
        raise UserError(f"against={against}: is the DRG that is explained; name another, or leave it out")


def explain_note(
    model: Model,
    text: str,
    drg: str,
    against: str | None = None,
    method: Method = Method.OCCLUSION,
    stop: Stop | None = None,
) -> list[SentenceScore]:
    """Scores the sentences that the model reads of a note, in their order.

    Args:
        model: a finished run.
        text: what the model is given of the note.
        drg: the DRG whose log-probability is explained.
        against: another one, for log p(drg) - log p(against).
        method: one of `methods_of` the model.
        stop: raises between batches when a signal came.

    Returns:
        A score for each sentence; what stands behind the end of reading has none, and a sentence that is read in part
        ends there.

    Raises:
        UserError: the note is empty, or the question cannot be asked of this model.
    """
    check_question(model, drg, against, method)
    text = what_is_read(model, text)
    spans = split_sentences(text)
    if not spans:
        raise UserError("the note is empty: there is no sentence to explain; leave it out")
    index = model.space.index
    asked = (index[drg], None if against is None else index[against])
    if method is Method.OCCLUSION:
        variants = pl.DataFrame({"text": [text, *(without(text, [span]) for span in spans)]})
        values = difference(model.log_probabilities(variants, stop or Stop()), *asked)
        scores = values[0] - values[1:]
    else:
        scores = _by_tokens(model, text, spans, asked, method)
    return [SentenceScore(*span, float(score)) for span, score in zip(spans, scores, strict=True)]


def what_is_read(model: Model, text: str) -> str:
    """Cuts a text where the model stops reading it."""
    predictor: Any = model.predictor
    if reader := TOKEN_READERS.get(predictor.data.cfg.model.kind):
        return text[: reader(predictor).read(text).end]
    if Method.LINEAR in methods_of(model):
        (text,) = predictor.reads([text])
    return text


def without(text: str, spans: Sequence[tuple[int, int]]) -> str:
    """Leaves sentences out of a text; blanks around them stay.

    >>> without("Chest pain. No fever. Home.", [(12, 21)])
    'Chest pain.  Home.'
    """
    kept, start = [], 0
    for first, end in sorted(spans):
        kept.append(text[start:first])
        start = end
    left = "".join([*kept, text[start:]])
    return left if left.strip() else EMPTY


def difference(logs: Any, drg: int, against: int | None) -> Any:
    """Takes of log-probabilities [B, D] a DRG's, [B], or its difference from another's."""
    return logs[:, drg] if against is None else logs[:, drg] - logs[:, against]


def _by_tokens(
    model: Model, text: str, spans: list[tuple[int, int]], asked: tuple[int, int | None], method: Method
) -> NDArray[np.float64]:
    predictor: Any = model.predictor
    if method is Method.LINEAR:
        where, numbers = word_scores(predictor.vocabulary, predictor.weights, text, asked)
        numbers = numbers / model.temperature
    else:
        reader = TOKEN_READERS[predictor.data.cfg.model.kind](predictor)
        reading = reader.read(text)
        indices = predictor.data.scheme.logit_indices().values()
        logits = sorted({logits[drg] for logits in indices for drg in asked if drg is not None})
        numbers = token_scores(
            reader,
            reading,
            lambda scores: difference(torch.log_softmax(scores.double() / model.temperature, -1), *asked),
            logits,
            method,
        )
        where, numbers = [span for span in reading.spans if span[1] > span[0]], numbers[reading.of_text]
    starts, sums = [start for start, _ in spans], np.zeros(len(spans))
    for (start, end), number in zip(where, numbers, strict=True):
        piece = text[start:end]
        first = start + len(piece) - len(piece.lstrip())  # a token may begin with the blanks before its word
        sums[max(bisect_right(starts, first) - 1, 0)] += number
    return sums
