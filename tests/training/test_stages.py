"""A run goes on from the stage that its checkpoint names, whatever it was doing when it was stopped."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from src.benchmarks.strikes import undisturbed
from src.cli.errors import UserError
from src.training.learner import Learner, Progress, Stage
from tests.forked import Forks


def struck(forks: Forks, cohort: Path, out: Path, plan: str, epochs: int = 3) -> str:
    """What the strikes of a plan say in their last line."""
    words = [str(cohort), str(out), f"plan={plan}", "model=femto", f"epochs={epochs}"]
    done = forks.run(["src.benchmarks.strikes", *words])
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()[-1]


@pytest.mark.slow
@pytest.mark.parametrize("epochs", [1, 3])
def test_a_validation_that_is_owed_is_made_whatever_comes_while_the_run_loads(
    forks: Forks, cohort: Path, tmp_path: Path, epochs: int
) -> None:
    assert struck(forks, cohort, tmp_path, "owed", epochs).startswith("6 strikes in 3 runs, 0 not reached")


@pytest.mark.slow
def test_a_run_killed_before_in_and_after_each_stage_ends_bit_equal(forks: Forks, cohort: Path, tmp_path: Path) -> None:
    assert struck(forks, cohort, tmp_path, "killed").startswith("24 strikes in 1 runs, 0 not reached")


@pytest.mark.slow
def test_a_frozen_process_that_wakes_after_another_ended_the_run_changes_nothing(
    forks: Forks, cohort: Path, tmp_path: Path
) -> None:
    assert struck(forks, cohort, tmp_path, "frozen").startswith("5 strikes in 5 runs, 0 not reached")


def test_a_woken_process_may_rename_a_checkpoint_and_write_nothing() -> None:
    ended = {"checkpoints/last": "new", "checkpoints/before": "old", "result.json": "record"}
    assert undisturbed(ended, {"checkpoints/before": "new", "result.json": "record"})
    assert not undisturbed(ended, {**ended, "checkpoints/before": "its own"})
    assert not undisturbed(ended, {**ended, "result.json": "its own"})
    assert not undisturbed(ended, {**ended, "predictions.parquet": "record"})


class FourSteps:
    """Steps of two epochs of two steps."""

    per_epoch = 2

    def __len__(self) -> int:
        return 4

    def is_validated(self, step: int) -> bool:
        return step in (2, 4)


def cell_at(progress: Progress) -> Learner:
    learner = object.__new__(Learner)
    learner.progress, learner.steps, learner.run_dir = progress, FourSteps(), Path("run")  # type: ignore[assignment]
    return learner


@pytest.mark.parametrize("stage", [Stage.VALIDATE, Stage.SCORE, Stage.RECORD])
def test_no_step_is_taken_where_none_is_due(stage: Stage) -> None:
    learner = cell_at(Progress(stage, step=2))
    with pytest.raises(RuntimeError, match=f"a step was taken where the run was to {stage}"):
        learner.update(None, 1)


@pytest.mark.parametrize(
    ("step", "validated", "stage"),
    [
        (0, 0, Stage.TRAIN),
        (1, 0, Stage.TRAIN),
        (2, 0, Stage.VALIDATE),
        (2, 2, Stage.TRAIN),
        (4, 2, Stage.VALIDATE),
        (4, 4, Stage.SCORE),
    ],
)
def test_a_checkpoint_of_an_earlier_version_goes_on_where_it_stood(step: int, validated: int, stage: Stage) -> None:
    learner = cell_at(Progress())
    assert learner._progress({"step": step, "validated": validated}).stage is stage


@pytest.mark.parametrize(("step", "validated"), [(3, 0), (5, 2), (5, 4)])
def test_a_checkpoint_of_an_earlier_version_that_left_out_a_validation_is_refused(step: int, validated: int) -> None:
    with pytest.raises(UserError, match=f"left out the validation after step {2 if step == 3 else 4}; remove"):
        cell_at(Progress())._progress({"step": step, "validated": validated})


def test_a_finished_run_of_another_configuration_or_cohort_is_refused_by_its_keys(
    cohort: Path, runs: dict[str, Path], command: Callable[..., "subprocess.CompletedProcess[str]"]
) -> None:
    run = runs["single"]
    same = [f"data.dir={cohort}", f"out={run.parent}", "name=single"]
    told = command("src.train", *same, "lora.r=4", "seed=9", ok=False)
    assert told.returncode == 2
    assert "holds another run, which differs in" in told.stderr
    assert "lora.r (4, there 8)" in told.stderr
    assert "seed (9, there 0)" in told.stderr
    assert "give this one another name=" in told.stderr
    assert "Traceback" not in told.stderr
