"""Keeps the texts of a cohort on disk while it is made: appended in any order, read back in another."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType

import polars as pl


class TextSpool:
    """Keeps texts in a file, each known by its place; a million notes take no memory."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("w+b")
        self._end = 0

    def __enter__(self) -> "TextSpool":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def add(self, texts: Sequence[bytes | None]) -> tuple[pl.Series, pl.Series]:
        """Appends texts, as UTF-8; returns their offsets and lengths, in bytes. None has length 0."""
        lengths = pl.Series([len(text) if text else 0 for text in texts], dtype=pl.Int64)
        offsets = (lengths.cum_sum() - lengths + self._end).cast(pl.Int64)
        self._file.write(b"".join(text for text in texts if text))
        self._end += int(lengths.sum())
        return offsets, lengths

    def read(self, offsets: Iterable[int], lengths: Iterable[int]) -> list[str]:
        """Reads the texts at these offsets."""
        self._file.flush()
        file = self._file.fileno()
        return [os.pread(file, length, offset).decode() for offset, length in zip(offsets, lengths, strict=True)]
