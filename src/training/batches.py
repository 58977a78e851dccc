"""Decides which notes each optimiser step reads: a pure function of seed and step, so that any can be made anew."""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from src.config.train import TrainConfig
from src.models.engine.dropout import KeyedDropout
from src.models.engine.packing import Packed, pack


class TokenisedNotes:
    """Notes as token ids, each with the index of its DRG in the label space."""

    def __init__(self, ids: Sequence[Sequence[int]], drg: Sequence[int]) -> None:
        if len(ids) != len(drg):
            raise ValueError(f"{len(ids)} notes with {len(drg)} labels")
        self.ids, self.drg = ids, drg

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens of each note."""
        lengths: NDArray[np.int64] | None = getattr(self.ids, "lengths", None)
        return np.array([len(note) for note in self.ids], dtype=np.int64) if lengths is None else lengths

    @property
    def tokens(self) -> int:
        """Tokens of all notes together."""
        return int(self.lengths.sum())

    def batch(self, rows: Sequence[int]) -> "Batch":
        """Packs some notes."""
        return Batch(pack([self.ids[row] for row in rows]), torch.tensor([self.drg[row] for row in rows]))

    def validation_batch(self, rows: Sequence[int]) -> "Batch":
        """Packs some notes; where this process has none left, one that is read for nothing beside the others'."""
        return dataclasses.replace(self.batch(rows or [0]), idle=not rows)


@dataclass(frozen=True)
class Batch:
    """Holds B packed notes with the indices of their DRGs, [B], on the host: what reads them sends them on."""

    notes: Packed
    drg: Tensor
    idle: bool = False
    """Whether it is read only because other processes read one: it counts for nothing."""

    def __len__(self) -> int:
        return len(self.notes.lengths)


@dataclass(frozen=True, eq=False)
class Steps:
    """Lists the optimiser steps of a run: `batch_size` notes each, in an order that is new every epoch.

    Attributes:
        notes: the training notes.
        batch_size: notes a step; the last step of an epoch may have fewer.
        epochs: how often each note is read.
        max_steps: steps after which training ends early; None for all epochs.
        seed: decides the order, with the epoch.
        validations: how often an epoch is validated, evenly spread; at most after each step.
    """

    notes: TokenisedNotes
    batch_size: int
    epochs: int
    max_steps: int | None
    seed: int
    validations: int = 1

    def __len__(self) -> int:
        every = self.epochs * self.per_epoch
        return min(every, self.max_steps or every)

    @property
    def per_epoch(self) -> int:
        """Steps of a whole epoch."""
        return math.ceil(len(self.notes) / self.batch_size)

    def rows(self, step: int) -> list[int]:
        """Returns the notes of a step, counted from 0."""
        epoch, index = divmod(step, self.per_epoch)
        rows = _order(len(self.notes), self.seed, epoch)[index * self.batch_size : (index + 1) * self.batch_size]
        return rows.tolist()

    @cached_property
    def ends(self) -> list[int]:
        """Lists the steps done when a validation is due: after each part of an epoch, and at the end.

        >>> Steps(TokenisedNotes([[1]] * 10, [0] * 10), 1, 2, 17, 0, validations=3).ends
        [4, 7, 10, 14, 17]
        """
        per_epoch, count = self.per_epoch, min(self.validations, self.per_epoch)
        parts = [math.ceil(part * per_epoch / count) for part in range(1, count + 1)]
        ends = [epoch * per_epoch + part for epoch in range(self.epoch(len(self))) for part in parts]
        return [*(end for end in ends if end < len(self)), len(self)]

    def is_validated(self, step: int) -> bool:
        """Says whether validation is due when this many steps are done."""
        return step in self.ends

    def epoch(self, step: int) -> int:
        """Epochs that have begun when this many steps are done."""
        return math.ceil(step / self.per_epoch)

    def noise(self, step: int, indices: Sequence[int], share: float) -> KeyedDropout:
        """Returns the dropout of the notes of these indices of a step."""
        return KeyedDropout(share, tuple((self.seed, step, index) for index in indices))

    def longest(self, at_once: int) -> list[int]:
        """Finds the notes of the micro-batch with the most tokens in the whole run."""
        most, rows = -1, [0]
        for epoch in range(self.epoch(len(self))):
            steps = min(self.per_epoch, len(self) - epoch * self.per_epoch)
            order = _order(len(self.notes), self.seed, epoch)[: steps * self.batch_size]
            starts = np.arange(0, len(order), self.batch_size)[:, None] + np.arange(0, self.batch_size, at_once)
            starts = starts[starts < len(order)]
            tokens = np.add.reduceat(self.notes.lengths[order], starts)
            index = int(tokens.argmax())
            if tokens[index] > most:
                most, ends = int(tokens[index]), np.append(starts, len(order))
                rows = order[ends[index] : ends[index + 1]].tolist()
        return rows


def steps_of(cfg: TrainConfig, notes: TokenisedNotes) -> Steps:
    """Returns the optimiser steps of a run over its training notes."""
    return Steps(notes, cfg.batch_size, cfg.epochs, cfg.max_steps, cfg.seed, cfg.validations)


@lru_cache(maxsize=64)
def _order(count: int, seed: int, epoch: int) -> NDArray[np.int64]:
    generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
    return torch.randperm(count, generator=generator).numpy()
