"""Divides what a network says of a note among the note's tokens, by gradients.

Integrated gradients are our own: captum would be one more library for the ten lines of `_integrated`, and its hooks
know nothing of packed notes.
"""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from src.config.choices import Method
from src.evidence.token_readers import AttentiveReader, Reading, TokenReader

STEPS = 50
"""Points between blanks and words, of a Gauss-Legendre rule as in captum, which takes as many."""

Value = Callable[[Tensor], Tensor]
"""From a scheme's scores [B, D] to the log-probability [B] that is asked for, or the difference of two."""


def token_scores(
    reader: TokenReader, reading: Reading, value: Value, logits: list[int], method: Method
) -> NDArray[np.float64]:
    """Computes the score of each token of a note, [T]; positive ones speak for what `value` says.

    Args:
        reader: of the network.
        reading: the note's tokens.
        value: what is divided among them.
        logits: those that the value is made of, whose attention is averaged.
        method: a gradient method that the network's kind has.
    """
    if method is Method.INTEGRATED_GRADIENTS:
        scores = _integrated(reader, reading, value)
    else:
        vectors = reader.vectors(reading.ids)
        gradients = _gradients(reader, reading.ids, vectors[None], value)[0]
        scores = (vectors.double() * gradients.double()).sum(-1)
        assert isinstance(reader, AttentiveReader)  # `FURTHER_METHODS` names no such method for others
        scores = scores * reader.attention(reading.ids, logits)
    numbers: NDArray[np.float64] = scores.cpu().numpy()
    return numbers


def _integrated(reader: TokenReader, reading: Reading, value: Value) -> Tensor:
    """Integrates gradients from a note of blanks, whose other tokens stay, to the note, [T].

    Their sum is what the value gains from the words.
    """
    blanks = [reader.blank if text else token for token, text in zip(reading.ids, reading.of_text, strict=True)]
    start, way = reader.vectors(blanks), reader.vectors(reading.ids) - reader.vectors(blanks)
    points, widths = np.polynomial.legendre.leggauss(STEPS)
    rule = [(torch.from_numpy(part) / 2).to(way.device)[:, None, None] for part in (points + 1, widths)]
    total = torch.zeros_like(way, dtype=torch.float64)
    for share, weight in zip(*(part.split(reader.data.cfg.batch_size) for part in rule), strict=True):
        total += (weight * _gradients(reader, reading.ids, start + share.to(way.dtype) * way, value)).sum(0)
    return (total * way).sum(-1)


def _gradients(reader: TokenReader, ids: list[int], vectors: Tensor, value: Value) -> Tensor:
    """Computes the value's gradient with respect to word vectors in the place of the tokens' own, [B, T, h]."""
    leaf = vectors.detach().requires_grad_()
    hook = reader.embedding.register_forward_hook(lambda module, args, output: leaf.view(output.shape))
    try:
        with torch.enable_grad():
            logits = reader.logits([ids] * len(vectors))
            (gradients,) = torch.autograd.grad(value(reader.data.scheme.heads(logits)["scores"]).sum(), leaf)
    finally:
        hook.remove()
    return gradients
