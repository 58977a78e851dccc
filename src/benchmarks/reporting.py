"""How long 1,000 records take to read and to analyse: `python -m src.benchmarks.reporting`."""

import tempfile
import time
from pathlib import Path

from src.analysis.scaling_tables import as_text, write_scaling
from src.analysis.sources import read_source
from src.analysis.study import METRICS, analyse
from src.benchmarks.grids import SIZES, Truth, grid_of, write_runs

LENGTHS, RANKS, LABELS, SEEDS = (96, 192, 384, 768, 1536), (4, 8, 16, 32), ("single", "two"), 5


def main() -> None:
    """Writes the records into a folder that goes away, and times each part on one thread."""
    with tempfile.TemporaryDirectory() as folder:
        runs = grid_of(Truth(), models=tuple(SIZES), lengths=LENGTHS, ranks=RANKS, labels=LABELS, seeds=SEEDS)
        write_runs(Path(folder) / "runs", runs)
        start = time.perf_counter()
        source = read_source(str(Path(folder) / "runs"))
        read = time.perf_counter()
        found = analyse(source)
        analysed = time.perf_counter()
        as_text(found, METRICS)
        write_scaling(found, Path(folder) / "scaling")
        written = time.perf_counter()
    print(f"{len(source.runs):,} records in {len(found.cells)} cells: {len(found.differences)} differences, "
          f"{len(found.fits)} fits, {len(found.predictions)} predictions, {len(found.held_out)} held out")  # fmt: skip
    for name, seconds in (("read", read - start), ("analysed", analysed - read), ("written", written - analysed)):
        print(f"{name:<9} {seconds:6.2f} s")
    print(f"{'together':<9} {written - start:6.2f} s")


if __name__ == "__main__":
    main()
