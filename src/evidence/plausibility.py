"""Measures whether the sentences that a method names are those where the deciding facts stand."""

import numpy as np
import polars as pl
from numpy.typing import NDArray

from src.cli.errors import UserError


def plausibility(sentences: pl.DataFrame, spans: pl.DataFrame, top: int = 3) -> dict[str, float]:
    """Holds the highest-scored sentences of each note against the spans that decide it; means over notes with spans.

    A sentence is right where it touches a span. A span that no sentence touches, as behind the end of reading, is
    missed. By letters, the sentences' letters are held against the spans', so that a long sentence around a short
    fact is not all right.

    Args:
        sentences: `id`, `start`, `end`, `score`, a row a sentence.
        spans: `id`, `start`, `end`, in the coordinates of the same texts.
        top: sentences of a note that are taken.

    Returns:
        `precision`, `recall` and `f1` of sentences; and `letter_precision`, `letter_recall`, `letter_f1`, `letter_iou`.

    Raises:
        UserError: none of the spans is of these notes.
    """
    notes = [
        _of_note(group, spans.filter(pl.col("id") == key), top)
        for (key,), group in sentences.group_by("id", maintain_order=True)
        if key in set(spans["id"])
    ]
    if not notes:
        raise UserError("none of the spans is of a note that was explained; are their ids the same?")
    return {name: float(np.mean([note[name] for note in notes])) for name in notes[0]}


def _of_note(sentences: pl.DataFrame, spans: pl.DataFrame, top: int) -> dict[str, float]:
    taken = sentences.sort("score", descending=True, maintain_order=True).head(top)
    length = max(int(sentences["end"].max() or 0), int(spans["end"].max() or 0))  # type: ignore[arg-type]
    true, named, all_read = (_letters(table, length) for table in (spans, taken, sentences))
    right = sum(bool(true[start:end].any()) for start, end in taken.select("start", "end").iter_rows())
    touched = sum(bool(true[start:end].any()) for start, end in sentences.select("start", "end").iter_rows())
    missed = sum(not all_read[start:end].any() for start, end in spans.select("start", "end").iter_rows())
    precision, recall = _share(right, taken.height), _share(right, touched + missed)
    common = int((true & named).sum())
    by_letter = _share(common, int(named.sum())), _share(common, int(true.sum()))
    return {
        "precision": precision,
        "recall": recall,
        "f1": _f1(precision, recall),
        "letter_precision": by_letter[0],
        "letter_recall": by_letter[1],
        "letter_f1": _f1(*by_letter),
        "letter_iou": _share(common, int((true | named).sum())),
    }


def _letters(spans: pl.DataFrame, length: int) -> NDArray[np.bool_]:
    mask = np.zeros(length, dtype=np.bool_)
    for start, end in spans.select("start", "end").iter_rows():
        mask[start:end] = True
    return mask


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


def _f1(precision: float, recall: float) -> float:
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0
