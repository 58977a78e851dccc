"""Trains a LLaMA, or a baseline, on a prepared cohort: `python -m src.train model=llama13b max_len=1024 labels=two`."""

import os
import sys
from collections.abc import Sequence
from contextlib import ExitStack, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from src.cli.command import report_user_errors
from src.cli.compose import CONF, CommandLine, Composed, compose_points, read_command_line, spelt, to_schema
from src.cli.errors import UserError
from src.cli.files import check_folder
from src.config.train import Kind, Together, TrainConfig

if TYPE_CHECKING:
    from src.runs.record import RunRecord


def train(cfg: TrainConfig, run_dir: Path) -> "RunRecord":
    """Trains, tests the epoch that validation patients chose, and writes the run's record.

    An interrupted run in `run_dir` goes on; a finished one is left as it is.

    Returns:
        Its record.

    Raises:
        UserError: the cohort, the weights or the device are not what the configuration says, or `run_dir` holds a run
            of another configuration or cohort.
        Interrupted: a signal came; the run is saved.
    """
    from src.baselines.baseline_run import train_baseline
    from src.runs.record import record_of, set_damaged_aside

    if record := record_of(cfg, run_dir):
        print(f"{run_dir}: finished already; its record is kept")
        return record
    set_damaged_aside(run_dir)
    if cfg.model.kind is not Kind.LLAMA:
        return train_baseline(cfg, run_dir)
    (record,) = train_together([(cfg, run_dir)])
    return record


def train_together(runs: Sequence[tuple[TrainConfig, Path]]) -> list["RunRecord"]:
    """Trains unfinished runs over one copy of the frozen base, each to its own record."""
    from src.cli.signals import Stop
    from src.cohort.split import Split
    from src.models.classifier import save_adapters
    from src.runs.folder import RunFolder
    from src.tracking.flat import flat
    from src.tracking.recorder import recording
    from src.tracking.run_metadata import about
    from src.training.context import open_session
    from src.training.fit import fit
    from src.training.outcome import Stopwatch, evaluate_splits, of_test, record
    from src.training.shared_base import open_learners

    clock, records = Stopwatch(), []
    sessions = [open_session(cfg) for cfg, _ in runs]
    with Stop() as stop, ExitStack() as stack:
        recorders = [
            stack.enter_context(
                recording(cfg.wandb, run_dir, about(cfg, session.cohort, session.axes), is_rank_zero(cfg))
            )
            for session, (cfg, run_dir) in zip(sessions, runs, strict=True)
        ]
        run_dirs = [run_dir for _, run_dir in runs]
        for learners, setting in open_learners(sessions, run_dirs, recorders):
            clock.lap("starting")
            fit(learners, setting, stop)
            for learner in learners:
                clock.lap("training")
                if learner.ranks.first:
                    save_adapters(learner.classifier, RunFolder(learner.run_dir).adapter)
                metrics, predictions = evaluate_splits(learner, stop)
                learner.recorder.log_metrics(of_test(metrics), learner.progress.step)
                clock.lap("evaluation")
                records.append(record(learner, metrics, predictions[Split.TEST], clock))
                learner.recorder.log_summary(flat(records[-1]))
    return records


def run(cfg: TrainConfig) -> None:
    """Trains in the folder that follows from the configuration and the cohort; or only says what it would do."""
    from src.cohort.prepared import read_cohort
    from src.cohort.split import Split
    from src.runs.identity import run_dir
    from src.runs.lock import exclusive

    if cfg.dry_run:
        from src.sweeps.dry_run import print_plan

        print_plan(cfg)
        return
    folder = run_dir(cfg)
    if first := is_rank_zero(cfg):
        print(f"run: {folder}", flush=True)
    if first and cfg.data.limit:
        drgs = read_cohort(Path(cfg.data.dir)).rows(Split.TRAIN, cfg.data.limit)["drg"]
        print(f"data.limit={cfg.data.limit}: a sample of {len(drgs):,} training notes, {drgs.n_unique()} classes")
    with exclusive(folder) if first else nullcontext():
        train(cfg, folder)
    if first:
        print_results([folder])


def is_rank_zero(cfg: TrainConfig) -> bool:
    """Whether this process tells of the run: Lightning, torchrun and Slurm number those that share one."""
    numbers = ("LOCAL_RANK", "RANK", "NODE_RANK", "SLURM_PROCID")
    return cfg.devices * cfg.nodes == 1 or all(os.environ.get(name, "0") == "0" for name in numbers)


def run_together(cells: Sequence[TrainConfig], name: str) -> None:
    """Trains the unfinished runs of a multirun, those that can share a base over one; baselines have none."""
    from src.runs.identity import check_names, run_dir
    from src.runs.lock import exclusive
    from src.runs.record import record_of, set_damaged_aside
    from src.training.shared_base import groups_sharing_a_base

    check_names(cells)
    for cfg in cells:
        cfg.wandb.group = cfg.wandb.group or name
    left = [cfg for cfg in cells if not record_of(cfg, run_dir(cfg))]
    for cfg in left:
        if cfg.model.kind is not Kind.LLAMA:
            run(cfg)
    for group in groups_sharing_a_base([cfg for cfg in left if cfg.model.kind is Kind.LLAMA]):
        runs = [(cfg, run_dir(cfg)) for cfg in group]
        print("runs over one base:\n  " + "\n  ".join(str(folder) for _, folder in runs), flush=True)
        with ExitStack() as stack:
            for _, folder in runs:
                stack.enter_context(exclusive(folder))
                set_damaged_aside(folder)
            train_together(runs)
    print_results([run_dir(cfg) for cfg in cells])


def print_results(folders: list[Path]) -> None:
    """Prints the test metrics of finished runs, a row a run."""
    from src.evaluation.metrics_table import table
    from src.runs.record import finished, read_record

    print(table({folder.name: read_record(folder).metrics for folder in folders if finished(folder)}))


def main() -> None:
    """Checks the whole command line before anything heavy is imported, then runs one job or a multirun."""
    with report_user_errors():
        line = read_command_line(sys.argv[1:], "train")
        composed = None if line.shows else compose_points(TrainConfig, line)
        for out in {point.config.out for point in composed.points if not point.config.dry_run} if composed else ():
            check_folder(Path(out), "name another with out=")
        cells = [point.config for point in composed.points] if composed and composed.multirun else []
        if cells and cells[0].together is not Together.NO and not cells[0].dry_run:
            run_together(cells, sweep_name(line))
            return
        if composed and composed.multirun and "kind" in composed.points[0].launcher:
            sweep(sweep_name(line), composed)
            return
        several = composed is not None and composed.multirun
        if composed and not several and composed.points[0].launcher.get("kind", "processes") != "processes":
            raise UserError(f"hydra/launcher={composed.points[0].launcher['kind']}: is for multiruns; add -m")
        overrides = (composed or spelt(TrainConfig, line)).overrides
        sys.argv = [sys.argv[0], *(word for word in sys.argv[1:] if word not in line.overrides), *overrides]
        hydra_main(line, several)
        if composed and several and not composed.points[0].config.dry_run:
            from src.runs.identity import run_dir

            print_results([run_dir(point.config) for point in composed.points])


def sweep_name(line: CommandLine) -> str:
    """The file in `sweeps/` that asks, or `multirun`."""
    return line.config_name if line.config_name != "train" else "multirun"


def sweep(name: str, composed: Composed[TrainConfig]) -> None:
    """Runs a grid on the launcher that `hydra/launcher=` names; or only says what it would take."""
    from src.cell import work_on
    from src.sweeps.sweep import plan_jobs, run_sweep

    for line in composed.dropped:
        print(line, file=sys.stderr)
    cells = plan_jobs(name, composed.points)
    if composed.points[0].config.dry_run:
        from src.sweeps.dry_run import print_costs

        print_costs(name, cells)
        return
    run_sweep(name, cells, work_on)


def hydra_main(line: CommandLine, several: bool) -> None:
    """Lets Hydra run the job, or each job of a multirun on a launcher that is not ours."""
    import hydra

    def task(config: Any) -> None:
        cfg = to_schema(TrainConfig, config)
        if several:
            cfg.wandb.group = cfg.wandb.group or sweep_name(line)
            run(cfg)  # Hydra keeps a job's exception, runs the others, and raises it at the end
            return
        with report_user_errors():
            run(cfg)

    hydra.main(version_base="1.3", config_path=str(CONF), config_name=line.config_name)(task)()


if __name__ == "__main__":
    main()
