"""Trains a LLaMA, or a baseline, on a prepared cohort: `python -m src.train model=llama13b max_len=1024 labels=two`."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from src.cli.command import report_user_errors
from src.cli.compose import compose_points, read_command_line
from src.config.train import TrainConfig

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
    from src.baselines.systems import build_predictor
    from src.runs.record import record_of, set_damaged_aside
    from src.training.outcome import finish
    from src.training.predictor import open_run
    from src.training.run_data import open_data
    from src.training.stopwatch import Stopwatch

    if record := record_of(cfg, run_dir):
        print(f"{run_dir}: finished already; its record is kept")
        return record
    set_damaged_aside(run_dir)
    clock = Stopwatch()
    data = open_data(cfg)  # the cohort, its splits and its label space
    predictor = build_predictor(data)  # LLaMA with LoRA, or a baseline
    with open_run(predictor, run_dir, clock) as run:  # the recorder, W&B's where there is one, and the signals
        training = predictor.fit(run)  # goes on from the run's last checkpoint
        return finish(predictor, training, run)  # weights, predictions, metrics with intervals, record


def main() -> None:
    """Checks the whole command line before anything heavy is imported, then runs one configuration or a multirun."""
    with report_user_errors():
        line = read_command_line(sys.argv[1:], "train")
        composed = None if line.shows else compose_points(TrainConfig, line)
        from src.sweeps.start import launch, show

        launch(line, composed, train) if composed else show(line)


if __name__ == "__main__":
    main()
