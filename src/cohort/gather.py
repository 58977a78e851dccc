"""One pass over the notes: the sections that the model reads go to a heap, ids and counts stay in memory."""

from collections.abc import Callable
from typing import Any

import polars as pl

from src.cohort.heap import Heap
from src.cohort.sources import Source

Extract = Callable[[pl.Series], pl.Series]

LONGEST = 1_000_000
"""Characters of the longest note that is read; MIMIC-IV's longest summary has fewer than 100,000."""


def gather(source: Source, text: Extract, diagnosis: Extract, heap: Heap) -> tuple[pl.DataFrame, list[tuple[int, str]]]:
    """Reads every note of `source` once.

    Returns:
        A row a note, in file order: `row`, the ids as they stand in the file, `words` of the text (null without one),
        `digest` of the text, equal for equal texts, and the places of text and diagnosis in the heap; and the rows
        that are not text, with the reason.
    """
    parts, rejected = [], []
    for rows, bad in source.chunks():
        rejected += bad
        long = rows["text"].str.len_bytes().fill_null(0) > LONGEST
        rejected += [(row, f"longer than {LONGEST:,} bytes") for row in rows["row"].filter(long)]
        parts.append(_narrow(rows.filter(~long), text, diagnosis, heap))
    if not parts:
        roles = {role: pl.String for role in source.columns.named if role != "text"}
        empty: dict[str, Any] = {"row": pl.UInt32, **roles, "words": pl.UInt32, "digest": pl.UInt64}
        places = dict.fromkeys(("text_at", "text_bytes", "diagnosis_at", "diagnosis_bytes"), pl.Int64)
        return pl.DataFrame(schema={**empty, **places}), rejected
    return pl.concat(parts), rejected


def _narrow(rows: pl.DataFrame, text: Extract, diagnosis: Extract, heap: Heap) -> pl.DataFrame:
    texts, diagnoses = text(rows["text"]), diagnosis(rows["text"])
    text_at, text_bytes = heap.add(texts)
    diagnosis_at, diagnosis_bytes = heap.add(diagnoses)
    return rows.drop("text").with_columns(
        words=texts.str.count_matches(r"\S+"),
        digest=texts.hash(),
        text_at=text_at,
        text_bytes=text_bytes,
        diagnosis_at=diagnosis_at,
        diagnosis_bytes=diagnosis_bytes,
    )
