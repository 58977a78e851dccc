"""Reads the notes of a prepared cohort as token ids, and counts how much of them a length keeps."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, overload

import numpy as np
import polars as pl
from numpy.typing import NDArray

from src.cli.errors import UserError
from src.cohort.prepared import Cohort
from src.cohort.split import Split
from src.config.train import TrainConfig
from src.models.labelspace import LabelSpace
from src.models.prompts import PromptTemplate, prompt_template
from src.training.batches import TokenisedNotes
from src.training.tokens import NoteTokens


@dataclass(frozen=True, eq=False)
class CutNotes(Sequence[list[int]]):
    """Cuts and frames each of some notes of a cohort when it is asked for.

    Attributes:
        tokens: every note of the cohort.
        rows: which of them, in order.
        template: what stands around a note, and how much of it is kept.
    """

    tokens: NoteTokens
    rows: NDArray[np.int64]
    template: PromptTemplate

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens of each note as it is read, what stands around it included."""
        return np.minimum(self.tokens.lengths(self.rows), self.template.max_note_tokens) + self.template.tokens

    @overload
    def __getitem__(self, index: int) -> list[int]: ...
    @overload
    def __getitem__(self, index: slice) -> "CutNotes": ...
    def __getitem__(self, index: int | slice) -> "list[int] | CutNotes":
        if isinstance(index, slice):
            return CutNotes(self.tokens, self.rows[index], self.template)
        return self.template.wrap(self.tokens.head(int(self.rows[index]), self.template.max_note_tokens))


def tokenise(
    cohort: Cohort, tokens: NoteTokens, split: Split, tokenizer: Any, space: LabelSpace, cfg: TrainConfig
) -> TokenisedNotes:
    """Returns the notes of one split, cut to `max_len` tokens, with their labels.

    Raises:
        UserError: the split holds no note.
    """
    notes = split_rows(cohort, split, cfg.data.limit)
    if notes.is_empty():
        raise UserError(f"data.dir={cfg.cohort_dir}: no note in the {split} split; prepare more, or other shares")
    ids = CutNotes(tokens, notes["row"].to_numpy(), prompt_template(tokenizer, cfg.prompt, cfg.max_len))
    return TokenisedNotes(ids, [space.index[code] for code in notes["drg"].to_list()])


def split_rows(cohort: Cohort, split: Split, limit: int | None = None) -> pl.DataFrame:
    """Returns the row in `notes.parquet` and the DRG of each note of one split, or of a sample of `limit`."""
    return cohort.rows(split, limit).select("row", "drg")


def token_lengths(whole: NDArray[np.int64], max_len: int) -> dict[str, float]:
    """Statistics of the notes' lengths in tokens before cutting, and the share that `max_len` cuts."""
    return {
        "notes": len(whole),
        "mean": float(whole.mean()),
        "median": float(np.median(whole)),
        "p90": float(np.quantile(whole, 0.9)),
        "longest": int(whole.max()),
        "mean_kept": float(np.minimum(whole, max_len).mean()),
        "share_cut": float((whole > max_len).mean()),
    }
