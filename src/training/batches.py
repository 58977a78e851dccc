"""Prepared notes as packed batches."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from src.models.packing import Packed, pack


@dataclass(frozen=True)
class Batch:
    """B packed notes with the indices of their DRGs, [B]."""

    notes: Packed
    drg: Tensor

    def to(self, device: torch.device | str, **kwargs: Any) -> "Batch":
        """The same batch on `device`."""
        return Batch(self.notes.to(device), self.drg.to(device))

    def __len__(self) -> int:
        return len(self.notes.lengths)


class TokenisedNotes(Dataset[tuple[Sequence[int], int]]):
    """Notes as token ids, each with the index of its DRG in the label space."""

    def __init__(self, ids: Sequence[Sequence[int]], drg: Sequence[int]) -> None:
        if len(ids) != len(drg):
            raise ValueError(f"{len(ids)} notes with {len(drg)} labels")
        self.ids, self.drg = ids, drg

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> tuple[Sequence[int], int]:
        return self.ids[index], self.drg[index]

    @property
    def tokens(self) -> int:
        """Tokens of all notes together."""
        return sum(len(note) for note in self.ids)


class Shuffled(Sampler[int]):
    """A new order every epoch, which depends on the seed and the epoch alone."""

    def __init__(self, count: int, seed: int) -> None:
        self.count, self.seed, self.epoch = count, seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Lightning calls it before each epoch, after a resume too."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
        yield from torch.randperm(self.count, generator=generator).tolist()


def collate(items: Sequence[tuple[Sequence[int], int]]) -> Batch:
    """Packs notes with their labels."""
    return Batch(pack([ids for ids, _ in items]), torch.tensor([drg for _, drg in items]))


def training_batches(notes: TokenisedNotes, batch_size: int, seed: int) -> DataLoader[Any]:
    """Shuffled batches of `batch_size` notes; the last of an epoch may be smaller."""
    return DataLoader(notes, batch_size, sampler=Shuffled(len(notes), seed), collate_fn=collate)


def ordered_batches(notes: TokenisedNotes, batch_size: int) -> DataLoader[Any]:
    """Batches in cohort order."""
    return DataLoader(notes, batch_size, shuffle=False, collate_fn=collate)
