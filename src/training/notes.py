"""The notes of a prepared cohort as token ids, with how much of them a length keeps."""

from typing import Any

import numpy as np

from src.cohort.prepared import Cohort
from src.cohort.split import Split
from src.config.train import Prompt, TrainConfig
from src.models.labelspace import LabelSpace
from src.models.prompts import encode_notes
from src.shell.errors import UserError
from src.training.batches import TokenisedNotes


def tokenise(cohort: Cohort, split: Split, tokenizer: Any, space: LabelSpace, cfg: TrainConfig) -> TokenisedNotes:
    """The notes of one split, cut to `max_len` tokens.

    Raises:
        UserError: the split holds no note.
    """
    notes = cohort.notes(split).head(cfg.data.limit) if cfg.data.limit else cohort.notes(split)
    if notes.is_empty():
        raise UserError(f"data.dir={cfg.data.dir}: no note in the {split} split; prepare more, or other shares")
    ids = encode_notes(tokenizer, notes["text"].to_list(), cfg.prompt, cfg.max_len)
    return TokenisedNotes(ids, [space.index[code] for code in notes["drg"].to_list()])


def token_lengths(tokenizer: Any, texts: list[str], max_len: int, prompt: Prompt) -> dict[str, float]:
    """Statistics of the notes' lengths in tokens before cutting, and the share that `max_len` cuts."""
    whole = np.array([len(ids) for ids in encode_notes(tokenizer, texts, prompt, 1_000_000)])
    return {
        "notes": len(whole),
        "mean": float(whole.mean()),
        "median": float(np.median(whole)),
        "p90": float(np.quantile(whole, 0.9)),
        "longest": int(whole.max()),
        "mean_kept": float(np.minimum(whole, max_len).mean()),
        "share_cut": float((whole > max_len).mean()),
    }
