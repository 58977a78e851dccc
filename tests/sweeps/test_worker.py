"""One cell in this process: every way to end is told, and nothing of a note is."""

import json
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from src.cli.compose import compose_points, read_command_line
from src.cli.errors import UserError
from src.cli.progress import Clock, measured
from src.config.train import TrainConfig
from src.runs.folder import RunFolder
from src.runs.job import write_job
from src.runs.lock import held_by, holding
from src.runs.state import JobState, RunStatus, read_state, write_state
from src.runs.status import read_status
from src.sweeps.sweep import plan_jobs
from src.sweeps.worker import FAILED, LEFT_ALONE, PREEMPTED, work
from tests.conftest import whole_record

NOTE = "Mrs. Miller was admitted with chest pain"


@pytest.fixture
def job(cohort: Path, tmp_path: Path) -> Path:
    line = read_command_line(["-m", f"data.dir={cohort}", f"out={tmp_path}", "labels=two"], "train")
    (planned,) = plan_jobs("here", compose_points(TrainConfig, line).points)
    write_job(planned, "f")
    return planned.folder


def finish(cfg: TrainConfig, folder: Path) -> None:
    (folder / "result.json").write_text(whole_record(config={"labels": cfg.labels}))


def raising(error: BaseException) -> Callable[[TrainConfig, Path], Any]:
    def train(cfg: TrainConfig, folder: Path) -> None:
        raise error

    return train


def test_a_finished_cell_is_free_and_is_not_trained_again(job: Path) -> None:
    assert work(job, finish) == 0
    assert read_status(job).standing is RunStatus.FINISHED
    assert held_by(job) is None
    assert work(job, raising(AssertionError())) == 0
    assert json.loads((job / "result.json").read_text())["config"]["labels"] == "two"


def test_an_error_is_kept_by_its_class_and_ours_by_its_words(job: Path) -> None:
    assert work(job, raising(ValueError(NOTE))) == FAILED
    assert read_state(job).error.startswith("ValueError")  # type: ignore[union-attr]
    assert "Miller" not in (RunFolder(job).state).read_text()
    assert "Miller" in (RunFolder(job).log).read_text()
    assert work(job, raising(UserError("data.dir=x: no such folder"))) == FAILED
    state = read_state(job)
    assert state
    assert (state.state, state.error, state.attempts) == (RunStatus.FAILED, "data.dir=x: no such folder", 2)
    assert work(job, finish) == 0


def test_out_of_memory_is_told_with_what_would_fit(job: Path) -> None:
    assert work(job, raising(MemoryError())) == FAILED
    error = read_state(job).error  # type: ignore[union-attr]
    assert error
    assert error.startswith("out of memory: about")
    assert "precision=bf16 would take about" in error


def test_a_cell_that_another_process_works_on_is_left_alone(job: Path) -> None:
    with holding(job):
        assert work(job, raising(AssertionError())) == LEFT_ALONE
        assert read_status(job).standing is RunStatus.RUNNING
    assert read_state(job) is None


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR2])
def test_a_signal_ends_the_work_as_preempted_and_the_next_start_goes_on(number: int, job: Path) -> None:
    def train(cfg: TrainConfig, folder: Path) -> None:
        threading.Timer(0.1, os.kill, [os.getpid(), number]).start()
        time.sleep(20)

    start = time.monotonic()
    assert work(job, train) == PREEMPTED
    assert time.monotonic() - start < 10
    assert read_status(job).standing is RunStatus.PREEMPTED
    assert work(job, finish) == 0


def test_progress_and_accuracy_so_far_are_told_while_it_runs(job: Path) -> None:
    def train(cfg: TrainConfig, folder: Path) -> None:
        clock = Clock(total=10, what="nano two", unit="step")
        clock.step()
        clock.step()
        measured(0.4, 100)
        state = read_state(folder)
        assert state
        assert (state.done, state.total, state.metric, state.notes) == (2, 10, 0.4, 100)
        assert read_status(folder).standing is RunStatus.RUNNING
        finish(cfg, folder)

    assert work(job, train) == 0


def test_a_process_that_died_without_a_word_is_lost(job: Path) -> None:
    write_state(job, JobState(RunStatus.RUNNING, "vm", 1))
    assert read_status(job).standing is RunStatus.LOST
    assert read_status(job, queued=True).standing is RunStatus.QUEUED


def test_other_code_is_noticed_and_said(job: Path) -> None:
    write_state(job, JobState(RunStatus.PREEMPTED, code=["0123456789ab"]))
    assert work(job, finish) == 0
    state = read_state(job)
    assert state
    assert state.code[0] == "0123456789ab"
    assert len(state.code) == 2
    assert "begun by other code (0123456789ab)" in (RunFolder(job).log).read_text()
