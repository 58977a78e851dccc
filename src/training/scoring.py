"""Scores of notes under a trained classifier."""

import numpy as np
import torch
from numpy.typing import NDArray

from src.models.classifier import Classifier
from src.models.schemes import Scheme
from src.shell.progress import track
from src.training.batches import TokenisedNotes, ordered_batches


def score_notes(
    classifier: Classifier, scheme: Scheme, notes: TokenisedNotes, *, batch_size: int, device: str, what: str
) -> dict[str, NDArray[np.float32]]:
    """Log-probabilities of each head for every note, in the order of `notes`.

    Returns:
        `scores` [B, D], and what else the scheme predicts, by the name of its column in the predictions.
    """
    batches = ordered_batches(notes, batch_size)
    parts: dict[str, list[NDArray[np.float32]]] = {}
    classifier.eval()
    with torch.inference_mode():
        for batch in track(batches, total=len(batches), what=what, unit="batch"):
            for name, scores in scheme.heads(classifier(batch.notes.to(device))).items():
                parts.setdefault(name, []).append(scores.float().cpu().numpy())
    return {name: np.concatenate(scores) for name, scores in parts.items()}
