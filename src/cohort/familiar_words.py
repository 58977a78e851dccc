"""Remembers which words the training notes have, without the words, and how many of a note are new."""

import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

SLOTS = 1 << 21
"""Words share a slot by chance: of 100,000 training words, one new word in 21 passes for a known one."""

WORD = r"\p{L}{3,}"
"""Numbers and abbreviations of two letters are new in many notes, and say nothing."""


@dataclass(frozen=True, eq=False)
class FamiliarWords:
    """Holds a bit for each slot: whether a training note has a word whose checksum (CRC-32) falls there.

    >>> words = FamiliarWords()
    >>> words.add(pl.Series(["Chest pain on exertion."]))
    >>> words.unseen_share(pl.Series(["chest PAIN", "dolor de pecho, chest pain", "12"])).tolist()
    [0.0, 0.5, 0.0]
    """

    seen: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(SLOTS, dtype=np.bool_))

    def add(self, texts: pl.Series) -> None:
        """Takes the words of some training notes."""
        self.seen[_slots(_words(texts).explode(empty_as_null=False).unique())] = True

    def unseen_share(self, texts: pl.Series) -> NDArray[np.float64]:
        """Computes for each text the share of its words, each counted as often as it comes, that no training note has.

        Returns:
            [B]; 0 for a text without a word.
        """
        words = pl.DataFrame({"word": _words(texts)}).with_row_index("note").explode("word", empty_as_null=False)
        known = words.select(pl.col("word").unique()).to_series()
        new = pl.DataFrame({"word": known, "new": ~self.seen[_slots(known)]})
        shares = words.join(new, "word", how="left").group_by("note").agg(pl.col("new").mean())
        share = np.zeros(len(texts))
        share[shares["note"].to_numpy()] = shares["new"].to_numpy()
        return share

    def save(self, path: Path) -> None:
        """Writes the bits."""
        with path.open("wb") as file:
            np.savez_compressed(file, seen=np.packbits(self.seen))

    @classmethod
    def load(cls, path: Path) -> "FamiliarWords":
        """Reads what `save` wrote.

        Raises:
            OSError, ValueError, KeyError: it is missing or damaged; zlib.error and BadZipFile of damaged bits too.
        """
        with np.load(path) as file:
            packed = file["seen"]
        if packed.dtype != np.uint8 or packed.shape != (SLOTS // 8,):
            raise ValueError("not the bits of familiar words")
        return cls(np.unpackbits(packed).astype(np.bool_))


def familiar_words(pieces: Iterable[pl.Series]) -> FamiliarWords:
    """Takes the words of all training notes, some notes at a time."""
    words = FamiliarWords()
    for texts in pieces:
        words.add(texts)
    return words


def _words(texts: pl.Series) -> pl.Series:
    return texts.str.to_lowercase().str.extract_all(WORD)


def _slots(words: pl.Series) -> NDArray[np.int64]:
    return np.array([zlib.crc32(word.encode()) % SLOTS for word in words], dtype=np.int64)
