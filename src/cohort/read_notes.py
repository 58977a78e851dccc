"""Reads the notes once: the sections that the model reads go to a heap, ids and counts stay in memory."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import numpy as np
import polars as pl

from src.cohort.sources import Columns, Piece
from src.cohort.text_spool import TextSpool

Texts = Sequence[bytes | None]
Extract = Callable[[Sequence[bytes]], tuple[Texts, Texts]]
"""From notes to the text and the diagnosis of each, all as UTF-8; None where a note has none."""

LONGEST = 1_000_000
"""Bytes of the longest note that is read; MIMIC-IV's longest summary has fewer than 100,000."""


class NoteSource(Protocol):
    """A source yields notes in pieces, see `src.cohort.sources.Source`."""

    @property
    def columns(self) -> Columns:
        """Names the ids that its rows have."""

    def chunks(self) -> Iterator[Piece]:
        """Yields rows, the note of each as UTF-8, and what could not be read."""


def gather(source: NoteSource, extract: Extract, heap: TextSpool) -> tuple[pl.DataFrame, list[tuple[int, str]]]:
    """Reads every note of `source` once.

    Returns:
        A row a note, in file order: `row`, the ids as they stand in the file, `words` of the text (null without one),
        `digest` of the text, equal for equal texts, and the offsets of text and diagnosis in the heap; and the rows
        that are not text, with the reason.
    """
    parts, rejected = [], []
    for rows, notes, bad in source.chunks():
        rejected += bad
        short = [len(note) <= LONGEST for note in notes]
        if not all(short):
            long = [row for row, fits in zip(rows["row"], short, strict=True) if not fits]
            rejected += [(row, f"longer than {LONGEST:,} bytes") for row in long]
            rows = rows.filter(pl.Series(short))
            notes = [note for note, fits in zip(notes, short, strict=True) if fits]
        parts.append(_narrow(rows, *extract(notes), heap))
    if not parts:
        roles = {role: pl.String for role in source.columns.named if role != "text"}
        empty: dict[str, Any] = {"row": pl.UInt32, **roles, "words": pl.UInt32, "digest": pl.UInt64}
        offsets = dict.fromkeys(("text_at", "text_bytes", "diagnosis_at", "diagnosis_bytes"), pl.Int64)
        return pl.DataFrame(schema={**empty, **offsets}), rejected
    return pl.concat(parts), rejected


def _narrow(rows: pl.DataFrame, texts: Texts, diagnoses: Texts, heap: TextSpool) -> pl.DataFrame:
    text_at, text_bytes = heap.add(texts)
    diagnosis_at, diagnosis_bytes = heap.add(diagnoses)
    return rows.with_columns(
        words=count_words(texts),
        digest=pl.Series(texts, dtype=pl.Binary).hash(),
        text_at=text_at,
        text_bytes=text_bytes,
        diagnosis_at=diagnosis_at,
        diagnosis_bytes=diagnosis_bytes,
    )


def count_words(texts: Texts) -> pl.Series:
    """Counts the words of each text as `str.split` divides them; null where there is none.

    >>> count_words([b"on  two\\nlines", None, b"", "a\\u00a0b".encode()]).to_list()
    [3, None, 0, 2]
    """
    joined = b"\n".join([text or b"" for text in texts])
    letters = np.frombuffer(b"\n" + joined + b"\n", np.uint8)
    inside = letters > 32
    begins = np.flatnonzero(inside[1:] & ~inside[:-1])
    ends = np.cumsum([len(text or b"") + 1 for text in texts])
    counts: list[int] = np.diff(np.searchsorted(begins, ends), prepend=0).tolist()
    odd = bool((letters < 9).any() or (letters - np.uint8(14) < 14).any())  # controls that str.split keeps in a word
    if odd or not joined.isascii():
        counts = [
            count if not text or (text.isascii() and not odd) else len(text.decode().split())
            for text, count in zip(texts, counts, strict=True)
        ]
    return pl.Series([None if text is None else n for text, n in zip(texts, counts, strict=True)], dtype=pl.UInt32)
