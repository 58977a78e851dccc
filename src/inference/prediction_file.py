"""Writes predictions as Parquet, CSV or JSON lines, by the ending of the file's name, and counts what they say."""

import gzip
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import polars as pl

from src.cli.files import atomic_write
from src.display.spreadsheet import csv_text
from src.inference.proposals import CUT

SPREAD = {"drgs": "drg", "probabilities": "probability"}
"""Lists whose first value is a column of its own; CSV has a column for each of the others too."""

ENDINGS = (".parquet", ".csv", ".csv.gz", ".jsonl", ".jsonl.gz")


def write_file(out: Path, parts: Sequence[Path], frames: Iterable[pl.DataFrame], count: int) -> None:
    """Writes predictions to a file, whole or not at all.

    Args:
        out: the file; its name has one of `ENDINGS`.
        parts: Parquet files of the predictions.
        frames: what is in them.
        count: DRGs that are listed of each encounter.
    """
    with atomic_write(out) as tmp:
        if out.name.endswith(".parquet"):
            pl.scan_parquet(list(parts)).sink_parquet(tmp)
            return
        as_text = _csv(frames, count) if ".csv" in out.suffixes else (frame.write_ndjson() for frame in frames)
        with gzip.open(tmp, "wb") if out.name.endswith(".gz") else tmp.open("wb") as file:
            for text in as_text:
                file.write(text.encode())


def _csv(frames: Iterable[pl.DataFrame], count: int) -> Iterator[str]:
    """Yields CSV with a column for each DRG that is listed behind the likeliest."""
    for index, frame in enumerate(frames):
        columns: list[pl.Expr] = []
        for name in frame.columns:
            column = pl.col(name)
            if short := SPREAD.get(name):
                ranks = range(1, count)
                columns += [column.list.get(rank, null_on_oob=True).alias(f"{short}_{rank + 1}") for rank in ranks]
            else:
                columns.append(column.list.join("; ") if name == "reasons" else column)
        rows = frame.select(columns)
        first, *rest = [rows.columns, *rows.rows()][1 if index else 0 :]
        yield csv_text(first, rest)


def summary_lines(frames: Iterable[pl.DataFrame]) -> list[str]:
    """Says how many encounters are decided, and how many deferred for which reason."""
    decided, total, reasons = 0, 0, Counter[str]()
    for frame in frames:
        total += frame.height
        decided += int((frame["decision"] == "decide").sum())
        for listed in frame["reasons"].to_list():
            reasons.update({reason.split(":")[0] for reason in listed if not reason.endswith(CUT)})
    counts = {"encounters": total, "decided": decided, "deferred": total - decided}
    lines = [f"{count:>9,}  {name}" for name, count in counts.items()]
    return lines + [f"{count:>9,}    {reason}" for reason, count in reasons.most_common()]
