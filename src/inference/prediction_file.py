"""Writes a table as Parquet, CSV or JSON lines, by the ending of the file's name, and counts what predictions say."""

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import polars as pl

from src.cli.files import atomic_write
from src.display.spreadsheet import write_frame
from src.inference.proposals import CUT

SPREAD = {"drgs": "drg", "probabilities": "probability"}
"""Lists whose first value is a column of its own; CSV has a column for each of the others too."""

ENDINGS = (".parquet", ".csv", ".csv.gz", ".jsonl", ".jsonl.gz")


def write_file(out: Path, table: pl.LazyFrame, count: int = 1) -> None:
    """Writes a table to a file in bounded memory, whole or not at all.

    Args:
        out: the file; its name has one of `ENDINGS`.
        table: predictions, or another.
        count: DRGs that are listed of each encounter.
    """
    gzipped = out.suffix == ".gz"
    with atomic_write(out) as tmp:
        if out.suffix == ".parquet":
            table.sink_parquet(tmp)
        elif out.name.removesuffix(".gz").endswith(".csv"):
            write_frame(tmp, table.select(_columns(table, count)), gzipped)
        else:
            table.sink_ndjson(tmp, compression="gzip" if gzipped else "uncompressed", check_extension=False)


def _columns(table: pl.LazyFrame, count: int) -> Iterator[pl.Expr]:
    """Yields the columns of CSV, one for each DRG that is listed behind the likeliest."""
    for name in table.collect_schema():
        column = pl.col(name)
        if short := SPREAD.get(name):
            for rank in range(1, count):
                yield column.list.get(rank, null_on_oob=True).alias(f"{short}_{rank + 1}")
        else:
            yield column.list.join("; ") if name == "reasons" else column


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
