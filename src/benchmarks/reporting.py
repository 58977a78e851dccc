"""Times 1,000 records: how long they take to read, analyse and report on: `python -m src.benchmarks.reporting`."""

import tempfile
import time
from pathlib import Path

from src.reporting.runs_report import compose, write_report
from src.scaling_analysis.analysis import METRICS, analyse
from src.scaling_analysis.result_tables import as_text, write_scaling
from src.scaling_analysis.run_sources import read_source
from src.testing.made_up_runs import SIZES, Truth, grid_of, write_runs

LENGTHS, RANKS, LABELS, SEEDS = (96, 192, 384, 768, 1536), (4, 8, 16, 32), ("single", "two"), 5


def main() -> None:
    """Writes the records into a folder that goes away, and times each part on one thread, in seconds of its core."""
    with tempfile.TemporaryDirectory() as folder:
        runs = grid_of(Truth(), models=tuple(SIZES), lengths=LENGTHS, ranks=RANKS, labels=LABELS, seeds=SEEDS)
        write_runs(Path(folder) / "runs", runs)
        start = time.process_time()
        source = read_source(str(Path(folder) / "runs"))
        read = time.process_time()
        scaling = analyse(source)
        analysed = time.process_time()
        as_text(scaling, METRICS)
        write_scaling(scaling, Path(folder) / "scaling")
        written = time.process_time()
        write_report(compose("grid", source.runs, scaling), Path(folder) / "report")
        reported = time.process_time()
    print(f"{len(source.runs):,} records in {len(scaling.cells)} cells: {len(scaling.differences)} differences, "
          f"{len(scaling.fits)} fits, {len(scaling.predictions)} predictions, "
          f"{len(scaling.held_out)} held out")  # fmt: skip
    parts = {"read": read - start, "analysed": analysed - read, "written": written - analysed}
    for name, seconds in {**parts, "reported": reported - written}.items():
        print(f"{name:<9} {seconds:6.2f} s")
    print(f"{'together':<9} {reported - start:6.2f} s")


if __name__ == "__main__":
    main()
