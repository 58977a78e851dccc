"""Trains a LLaMA, or a baseline, on a prepared cohort: `python -m src.train model=llama13b max_len=1024 labels=two`."""

import sys
from pathlib import Path
from typing import Any

from src.config.train import Family, TrainConfig
from src.shell.command import told_to_the_user
from src.shell.overrides import CONF, CommandLine, compose, read_command_line, to_schema


def train(cfg: TrainConfig, run_dir: Path) -> dict[str, Any]:
    """Trains, tests the epoch that validation patients chose, and writes the run's record.

    An interrupted run in `run_dir` goes on; a finished one is left as it is.

    Returns:
        What `run_dir/result.json` holds.

    Raises:
        UserError: the cohort, the weights or the device are not what the configuration says.
    """
    import pytorch_lightning as pl

    from src.baselines.runs import train_baseline
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
    if cfg.model.family is not Family.LLAMA:
        return train_baseline(cfg, run_dir)
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
    from src.baselines.runs import print_baseline_plan
    from src.training.names import run_dir
    from src.training.plan import print_plan

    if cfg.dry_run:
        (print_plan if cfg.model.family is Family.LLAMA else print_baseline_plan)(cfg)
        return
    folder = run_dir(cfg)
    print(f"run: {folder}", flush=True)
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
        cells = [] if line.shows else compose(TrainConfig, line)
        hydra_main(line, several=len(cells) > 1)
        if len(cells) > 1 and not cells[0].dry_run:
            from src.training.names import run_dir

            print_results([run_dir(cfg) for cfg in cells])


def hydra_main(line: CommandLine, several: bool) -> None:
    """Lets Hydra run the job, or each job of a multirun in turn or on its launcher."""
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
