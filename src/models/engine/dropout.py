"""Draws LoRA dropout as a pure function of seed, step, note and entry, on every device.

Which entries of a note are dropped depends on nothing else: not on the notes it is packed with, how a step is cut into
micro-batches, how many devices share it, of which make they are, or whether activations are computed twice. So none of
these changes a run, and a run that goes on needs no generator's state.

The random bits are those of Philox4x64-10 (Salmon et al. 2011), a generator that is a function of a key and a counter:
numpy draws them for a CPU, `src.models.engine.kernels` inside the kernels of a GPU.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from src.models.engine.packing import send

LEVELS = 2**16
"""A share is kept to one part in this many: the random bits of an entry are 16."""

BLOCK = 16
"""Entries that one counter gives: four words of 64 bits."""


@dataclass(frozen=True)
class KeyedDropout:
    """Describes the dropout of the adapters' inputs in one step.

    Attributes:
        share: entries set to zero, 0 to 1.
        keys: of each note, what decides its entries: the run's seed, the step, and the note's index in the step.
    """

    share: float
    keys: tuple[tuple[int, int, int], ...]

    @property
    def level(self) -> int:
        """Returns the share in parts of `LEVELS`."""
        return round(self.share * LEVELS)

    @property
    def gain(self) -> float:
        """Returns the factor on the kept entries that leaves their mean as it was."""
        return LEVELS / (LEVELS - self.level)

    @property
    def words(self) -> list[tuple[int, int, int]]:
        """Lists for each note the two words of its Philox key and its level.

        >>> KeyedDropout(0.5, ((7, 3, 1),)).words == [(7, (3 << 32) + 1, 2**15)]
        True
        """
        return [(seed, (step << 32) + index, self.level) for seed, step, index in self.keys]


@dataclass(frozen=True)
class Drops:
    """Describes what is dropped of a packed row at one site of the network.

    Attributes:
        words: of each note, the words of its key and its level; level 0 drops nothing.
        spans: of each note, its first row that is here and how many are.
        keys: [B, 3] `words` on the device.
        note: [T] index of the note that a row belongs to.
        row: [T] number of a row inside its note.
        site: where in the network.
    """

    words: Sequence[tuple[int, int, int]]
    spans: Sequence[tuple[int, int]]
    keys: Tensor
    note: Tensor
    row: Tensor
    site: int

    def mask(self, width: int) -> Tensor:
        """Draws on the host whether each entry is dropped, [T, width]: for devices that no kernel draws on.

        >>> def dropped(words, spans):
        ...     none = torch.empty(0)
        ...     return Drops(words, spans, none, none, none, site=5).mask(8)
        >>> one, two = (7, 0, 2**15), (7, 1, 2**15)
        >>> both, alone = dropped([one, two], [(0, 2), (0, 3)]), dropped([two], [(2, 1)])
        >>> bool((both[4] == alone[0]).all()), 5 < int(both.sum()) < 35
        (True, True)
        """
        parts = [_drawn(word, *span, width, self.site) for word, span in zip(self.words, self.spans, strict=True)]
        mask = torch.from_numpy(parts[0] if len(parts) == 1 else np.concatenate(parts))
        return send([mask], self.keys.device)[0]


def _drawn(word: tuple[int, int, int], first: int, rows: int, width: int, site: int) -> NDArray[np.bool_]:
    """Draws [rows, width] of one note from its row `first` on; every row begins a new block of counters."""
    *key, level = word
    if not level:
        return np.zeros((rows, width), dtype=np.bool_)
    blocks = -(-width // BLOCK)
    generator, state = _generator()
    # Setting the state of one generator takes 3 microseconds, making another 6. The counter's second word is the site:
    # of one note no two sites, and no two rows of a site, share random bits.
    state["state"]["counter"][:] = (first * blocks, site, 0, 0)
    state["state"]["key"][:] = key
    generator.state = state
    # A word's lowest 16 bits come first (little-endian): the order in which the kernels shift them out.
    bits: NDArray[np.uint16] = generator.random_raw(rows * blocks * 4).view(np.uint16)
    dropped: NDArray[np.bool_] = bits.reshape(rows, blocks * BLOCK)[:, :width] < level
    return dropped


@cache
def _generator() -> tuple[Any, dict[str, Any]]:
    generator: Any = np.random.Philox(0)
    # A buffer of four words that is used up: the next draw begins at the counter and not with words left over.
    return generator, {**generator.state, "buffer_pos": 4}
