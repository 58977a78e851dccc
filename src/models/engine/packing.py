"""Packs notes into one row, without padding."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Packed:
    """Holds B notes in one row of T tokens, on the host: what reads them sends them to its device.

    Attributes:
        ids: [T] token ids of all notes, one note after the other.
        positions: [T] position of each token in its own note, from 0.
        lengths: tokens of each note, B of them, their sum T.
    """

    ids: Tensor
    positions: Tensor
    lengths: tuple[int, ...]

    @property
    def last(self) -> Tensor:
        """Returns the index in the row of each note's last token, [B]."""
        return torch.tensor(self.lengths).cumsum(0) - 1


def pack(notes: Sequence[Sequence[int]]) -> Packed:
    """Packs notes, each a sequence of token ids, into one row.

    Raises:
        ValueError: no notes, or a note without a token.

    >>> packed = pack([[5, 6, 7], [8, 9]])
    >>> packed.ids.tolist(), packed.positions.tolist(), packed.lengths, packed.last.tolist()
    ([5, 6, 7, 8, 9], [0, 1, 2, 0, 1], (3, 2), [2, 4])
    """
    lengths = tuple(len(note) for note in notes)
    if not lengths or min(lengths) == 0:
        raise ValueError("packing takes at least one note, each of at least one token")
    ids = torch.tensor([token for note in notes for token in note], dtype=torch.long)
    positions = torch.cat([torch.arange(length) for length in lengths])
    return Packed(ids, positions, lengths)


def join(rows: Sequence[Packed]) -> Packed:
    """Joins several packed rows into one.

    >>> join([pack([[5, 6]]), pack([[7], [8, 9]])]).lengths
    (2, 1, 2)
    """
    if len(rows) == 1:
        return rows[0]
    ids, positions = (torch.cat([getattr(row, name) for row in rows]) for name in ("ids", "positions"))
    return Packed(ids, positions, tuple(length for row in rows for length in row.lengths))


def send(values: Sequence[Tensor], device: torch.device) -> list[Tensor]:
    """Sends tensors to `device` by one copy from pinned memory, for which neither side waits.

    >>> values = [torch.tensor([True]), torch.tensor([[0.5], [1.5]]), torch.tensor([7])]
    >>> [(value.dtype, tuple(value.shape)) for value in send(values, torch.device("meta"))]
    [(torch.bool, (1,)), (torch.float32, (2, 1)), (torch.int64, (1,))]
    """
    if device.type == "cpu":
        return list(values)
    padded = []
    for value in values:
        # Every part begins on 16 bytes, or Triton would compile its kernels once more for those that do not.
        part = value.reshape(-1).view(torch.uint8)
        padded += [part, part.new_zeros(-part.numel() % 16)]
    buffer = torch.cat(padded)
    # A copy from memory that is not pinned would make the host wait; torch keeps this one until the copy has ended.
    buffer = buffer.pin_memory() if device.type == "cuda" else buffer
    parts = buffer.to(device, non_blocking=True).split([part.numel() for part in padded])[::2]
    return [part.view(value.dtype).view(value.shape) for part, value in zip(parts, values, strict=True)]
