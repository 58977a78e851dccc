"""Says how metrics move with size, context, rank and compute: `python -m src.scaling SOURCE`."""

import sys
import time
from dataclasses import dataclass
from pathlib import Path

from src.cli.command import command, with_first_named


@dataclass
class ScalingConfig:
    """Says how metrics move with size, context, rank and compute: means and intervals, differences, fits, predictions.

    Reads what is finished now; a sweep may still run.
    """

    source: str
    """A folder of runs, a folder of offline W&B runs, a sweep's name, or `wandb:ENTITY/PROJECT[/GROUP]`."""
    out: str
    """Folder that holds the runs of a named sweep."""
    to: str | None
    """Folder for `scaling.json` and the tables; null takes `scaling` in the source's, or one in `out`."""
    metrics: list[str]
    """What is compared and fitted, by the records' names; `val/loss` and `train/loss` are of the curves."""
    predictions_of: int
    """Runs up to which their predictions are read, so that patients are drawn for all of them at once."""
    data_dir: str | None
    """Where the prepared cohort lies now; null takes the place that the records name."""
    seed: int
    """Of the resampling."""
    live: bool
    """Analyse again and again until nothing that was asked for is missing."""
    every_s: float
    """Seconds between two looks."""

    def problems(self) -> list[str]:
        """Lists one line for each value that cannot be."""
        problems = []
        if not self.metrics:
            problems.append("metrics=[]: name at least one, as test/accuracy")
        if self.predictions_of < 0:
            problems.append(f"predictions_of={self.predictions_of}: must be at least 0, which reads none")
        if self.seed < 0:
            problems.append(f"seed={self.seed}: must be at least 0")
        if self.every_s <= 0:
            problems.append(f"every_s={self.every_s}: must be above 0")
        return problems


def scaling(cfg: ScalingConfig) -> None:
    """Prints the analysis of what is finished now and writes it into a folder; again and again when `live`.

    Raises:
        UserError: the source is none, holds no finished run, a record is damaged, or the folder cannot be written.
    """
    from src.cli.files import check_folder
    from src.scaling_analysis.analysis import analyse
    from src.scaling_analysis.result_tables import as_text, write_scaling
    from src.scaling_analysis.run_sources import read_source

    folder = folder_of(cfg)
    check_folder(folder, "name a folder with to=DIR")
    while True:
        source = read_source(cfg.source, Path(cfg.out))
        analysis = analyse(
            source,
            seed=cfg.seed,
            metrics=cfg.metrics,
            predictions_of=cfg.predictions_of,
            data_dir=Path(cfg.data_dir) if cfg.data_dir else None,
        )
        if cfg.live and sys.stdout.isatty():
            print("\033[2J\033[H", end="")
        print(as_text(analysis, cfg.metrics), flush=True)
        print(f"\nscaling: {write_scaling(analysis, folder)}", flush=True)
        if not (cfg.live and source.unfinished):
            return
        time.sleep(cfg.every_s)


def folder_of(cfg: ScalingConfig) -> Path:
    """Names the folder that numbers and tables go to."""
    if cfg.to:
        return Path(cfg.to)
    if Path(cfg.source).is_dir():
        return Path(cfg.source) / "scaling"
    return Path(cfg.out) / "scalings" / cfg.source.rsplit("/", 1)[-1]


def main() -> None:
    """Runs the command, whose first word may be the source alone."""
    sys.argv[1:] = with_first_named(sys.argv[1:], "source")
    command(ScalingConfig, "scaling", scaling)


if __name__ == "__main__":
    main()
