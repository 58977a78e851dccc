"""Scores of notes under a trained classifier."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from src.cli.progress import track
from src.cli.signals import Stop
from src.config.choices import Precision
from src.models.classifier import Classifier
from src.models.schemes import Scheme
from src.training.batches import Batch, TokenisedNotes
from src.training.divergence import check_scores
from src.training.ranks import Ranks


def score_share(
    classifier: Classifier,
    notes: TokenisedNotes,
    ranks: Ranks,
    batch_size: int,
    stop: Stop,
    *,
    device: str,
    what: str = "",
) -> Iterator[tuple[Tensor, Batch]]:
    """Logits and batch of this process's notes, `batch_size` at a time; every note belongs to one process.

    Args:
        classifier: in eval mode.
        notes: of one split.
        ranks: which processes share them.
        batch_size: notes at once.
        stop: raises between batches when a signal came.
        device: the session's.
        what: name of the progress that is shown; none without it.

    Raises:
        RuntimeError: the classifier lies on another device.
    """
    check_device(classifier, device)
    turns = ranks.turns(len(notes), batch_size)
    with torch.no_grad():
        for rows in track(turns, total=len(turns), what=what, unit="batch") if what and ranks.first else turns:
            stop.check()
            batch = notes.batch(rows or [0])
            logits = classifier(batch.notes)
            if rows:
                yield logits, batch


def on_the_host(parts: Mapping[str, Sequence[Tensor]]) -> dict[str, NDArray[np.float32]]:
    """The scores of all batches as one array by name; the only wait for the device, when all is computed."""
    return {name: torch.cat(list(scores)).cpu().numpy() for name, scores in parts.items()}


def check_device(classifier: Classifier, device: str) -> None:
    """Holds a classifier to its session's device: elsewhere it would score for days and say nothing.

    Raises:
        RuntimeError: a part of it lies elsewhere.
    """
    for name, weight in {**dict(classifier.backbone.named_parameters()), **classifier.trained()}.items():
        if weight.device != torch.device(device):
            raise RuntimeError(f"{name} of the classifier lies on {weight.device}, and its session is on {device}")


def score_notes(
    classifier: Classifier,
    scheme: Scheme,
    notes: TokenisedNotes,
    *,
    batch_size: int,
    ranks: Ranks,
    stop: Stop,
    device: str,
    precision: Precision,
    what: str = "",
) -> dict[str, NDArray[np.float32]]:
    """Computes the log-probabilities of each head for every note, in the order of `notes`, in every process.

    Returns:
        `scores` [B, D], and what else the scheme predicts, by the name of its column in the predictions.

    Raises:
        UserError: a score is not finite.
    """
    parts: dict[str, list[Tensor]] = {}
    classifier.eval()
    for logits, _ in score_share(classifier, notes, ranks, batch_size, stop, device=device, what=what):
        for name, scores in scheme.heads(logits).items():
            parts.setdefault(name, []).append(scores.float())
    shares = ranks.gathered(on_the_host(parts))
    order = np.argsort(np.concatenate([Ranks(rank, ranks.count).mine(len(notes)) for rank in range(ranks.count)]))
    heads = {name: np.concatenate([share[name] for share in shares if share])[order] for name in shares[0]}
    check_scores(heads, what or "the notes", precision)
    return heads
