"""Several validations an epoch: when they are due, and that a run goes on in the middle of their parts."""

import os
import signal
from pathlib import Path

import pytest

from src.cli.compose import compose, read_command_line
from src.cli.errors import Interrupted
from src.cli.progress import Clock, listening
from src.config.train import TrainConfig
from src.runs.history import read_history
from src.train import train
from src.training.batches import Steps, TokenisedNotes
from tests.training.test_resume import left

NOTES = TokenisedNotes([[1]] * 10, [0] * 10)


def test_one_validation_an_epoch_is_due_after_each_epoch_and_at_the_end() -> None:
    assert Steps(NOTES, 4, 3, None, 0).ends == [3, 6, 9]
    assert Steps(NOTES, 4, 3, 5, 0).ends == [3, 5]
    assert Steps(NOTES, 4, 3, 6, 0).ends == [3, 6]


@pytest.mark.parametrize(
    ("validations", "ends"), [(2, [3, 5, 8, 10]), (3, [2, 4, 5, 7, 9, 10]), (5, list(range(1, 11)))]
)
def test_validations_are_spread_evenly_over_each_epoch(validations: int, ends: list[int]) -> None:
    steps = Steps(NOTES, 2, 2, None, 0, validations)
    assert steps.ends == ends
    assert [step for step in range(12) if steps.is_validated(step)] == ends


def test_more_validations_than_steps_are_one_after_each_step() -> None:
    assert Steps(NOTES, 4, 2, 5, 0, 99).ends == [1, 2, 3, 4, 5]


class StopAtValidation:
    """Sends a signal once, when a validation has ended."""

    def __init__(self, number: int) -> None:
        self.left = number

    def advanced(self, clock: Clock, elapsed: float) -> None:
        """Does nothing."""

    def measured(self, accuracy: float, notes: int) -> None:
        self.left -= 1
        if not self.left:
            os.kill(os.getpid(), signal.SIGTERM)


def test_a_run_stopped_between_its_validations_ends_as_one_that_was_not(cohort: Path, tmp_path: Path) -> None:
    words = ["model=femto", "max_len=64", "data.limit=24", "epochs=2", "validations=3", "threads=1", "device=cpu"]
    words += [f"data.dir={cohort}", "wandb.mode=disabled", "dry_run=false"]
    (cfg,) = compose(TrainConfig, read_command_line(words, "train"))
    train(cfg, tmp_path / "whole")
    curve = read_history(tmp_path / "whole")["val/accuracy"]
    assert list(curve) == [2, 4, 6, 8, 10, 12]
    for number in (1, 3):
        with listening(StopAtValidation(number)), pytest.raises(Interrupted):
            train(cfg, tmp_path / "stopped")
    train(cfg, tmp_path / "stopped")
    whole, stopped = left(tmp_path / "whole"), left(tmp_path / "stopped")
    assert whole[:2] == stopped[:2]
    assert whole[2].equals(stopped[2])
    assert read_history(tmp_path / "stopped")["val/accuracy"] == curve
