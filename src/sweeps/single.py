"""Runs one configuration in this process, in the folder that follows from it."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path

from src.cohort.prepared import read_cohort
from src.cohort.split import Split
from src.config.train import TrainConfig
from src.evaluation.metrics_table import table
from src.runs.identity import run_dir
from src.runs.lock import exclusive
from src.runs.record import RunRecord, finished, of_apr, read_record
from src.training.ranks import is_rank_zero

Train = Callable[[TrainConfig, Path], RunRecord]
"""Trains a configuration in a folder, to its record."""


def run_single(cfg: TrainConfig, train: Train) -> None:
    """Trains in the folder that follows from the configuration and the cohort; or only says what it would do."""
    if cfg.dry_run:
        from src.sweeps.dry_run import print_plan

        print_plan(cfg)
        return
    folder = run_dir(cfg)
    if first := is_rank_zero(cfg):
        print(f"run: {folder}", flush=True)
    if first and cfg.data.limit:
        drgs = read_cohort(cfg.cohort_dir).rows(Split.TRAIN, cfg.data.limit)["drg"]
        print(f"data.limit={cfg.data.limit}: a sample of {len(drgs):,} training notes, {drgs.n_unique()} classes")
    with exclusive(folder) if first else nullcontext():
        train(cfg, folder)
    if first:
        print_results([folder])


def print_results(folders: Sequence[Path]) -> None:
    """Prints the test metrics of finished runs, a row a run."""
    records = {folder.name: read_record(folder) for folder in folders if finished(folder)}
    print(table({name: record.metrics for name, record in records.items()}, apr=of_apr(records.values())))
