"""Trains a LLaMA with LoRA on a prepared cohort: `python -m src.train model=llama13b max_len=1024 labels=two`."""

import sys
from pathlib import Path
from typing import Any

from src.config.train import TrainConfig
from src.shell.command import told_to_the_user
from src.shell.errors import UserError
from src.shell.overrides import CONF, CommandLine, Composed, compose_points, read_command_line, to_schema


def train(cfg: TrainConfig, run_dir: Path) -> dict[str, Any]:
    """Trains, tests the epoch that validation patients chose, and writes the run's record.

    An interrupted run in `run_dir` goes on; a finished one is left as it is.

    Returns:
        What `run_dir/result.json` holds.

    Raises:
        UserError: the cohort, the weights or the device are not what the configuration says.
    """
    import pytorch_lightning as pl

    from src.cohort.split import Split
    from src.evaluation.outcome import ADAPTERS, Stopwatch, evaluate_splits, record
    from src.evaluation.record import finished, read_record
    from src.models.classifier import save_adapters, with_adapters
    from src.tracking.logger import recording
    from src.training.fit import fit
    from src.training.session import open_session

    if finished(run_dir):
        print(f"{run_dir}: finished already; its record is kept")
        return read_record(run_dir)
    clock = Stopwatch()
    session = open_session(cfg)
    notes = {split: session.notes(split) for split in Split}
    pl.seed_everything(cfg.seed, verbose=False)
    classifier = with_adapters(session.base(), cfg.lora, session.scheme.width, session.device)
    with recording(cfg.wandb, run_dir, session.axes) as logger:
        module = fit(classifier, session, notes, run_dir, logger)
        clock.lap("training")
        save_adapters(classifier, run_dir / ADAPTERS)
        metrics = evaluate_splits(session, classifier, notes, run_dir)
        logger.log_metrics(metrics)
        clock.lap("evaluation")
        return record(session, notes, module, metrics, clock, run_dir)


def run(cfg: TrainConfig) -> None:
    """Trains in the folder that follows from the configuration and the cohort; or only says what it would do."""
    from src.sweeps.lock import alone
    from src.training.names import run_dir
    from src.training.plan import print_plan

    if cfg.dry_run:
        print_plan(cfg)
        return
    folder = run_dir(cfg)
    print(f"run: {folder}", flush=True)
    with alone(folder):
        train(cfg, folder)
    print_results([folder])


def print_results(folders: list[Path]) -> None:
    """Prints the test metrics of finished runs, a row a run."""
    from src.evaluation.record import finished, read_record
    from src.evaluation.table import table

    print(table({folder.name: read_record(folder)["metrics"] for folder in folders if finished(folder)}))


def main() -> None:
    """Checks the whole command line before anything heavy is imported, then runs one job or a multirun."""
    with told_to_the_user():
        line = read_command_line(sys.argv[1:], "train")
        asked = None if line.shows else compose_points(TrainConfig, line)
        if asked and asked.multirun and "kind" in asked.points[0].launcher:
            sweep(line.config_name if line.config_name != "train" else "multirun", asked)
            return
        several = asked is not None and asked.multirun
        if asked and not several and asked.points[0].launcher.get("kind", "processes") != "processes":
            raise UserError(f"hydra/launcher={asked.points[0].launcher['kind']}: is for multiruns; add -m")
        hydra_main(line, several)
        if asked and several and not asked.points[0].config.dry_run:
            from src.training.names import run_dir

            print_results([run_dir(point.config) for point in asked.points])


def sweep(name: str, asked: Composed[TrainConfig]) -> None:
    """Runs a grid on the launcher that `hydra/launcher=` names; or only says what it would take."""
    from src.cell import work_on
    from src.sweeps.sweep import plan_cells, run_sweep

    for line in asked.dropped:
        print(line, file=sys.stderr)
    cells = plan_cells(name, asked.points)
    if asked.points[0].config.dry_run:
        from src.sweeps.costs import print_costs

        print_costs(name, cells)
        return
    run_sweep(name, cells, work_on)


def hydra_main(line: CommandLine, several: bool) -> None:
    """Lets Hydra run the job, or each job of a multirun on a launcher that is not ours."""
    import hydra

    def task(config: Any) -> None:
        cfg = to_schema(TrainConfig, config)
        if several:
            run(cfg)  # Hydra keeps a job's exception, runs the others, and raises it at the end
            return
        with told_to_the_user():
            run(cfg)

    hydra.main(version_base="1.3", config_path=str(CONF), config_name=line.config_name)(task)()


if __name__ == "__main__":
    main()
