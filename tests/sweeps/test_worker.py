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
from src.runs.job import LOG, write_cell
from src.runs.lock import held_by, holding
from src.runs.state import STATE, CellState, Standing, read_state, write_state
from src.runs.status import look_at
from src.sweeps.sweep import plan_cells
from src.sweeps.worker import FAILED, LEFT_ALONE, PREEMPTED, work
from tests.conftest import whole_record

NOTE = "Mrs. Miller was admitted with chest pain"


@pytest.fixture
def cell(cohort: Path, tmp_path: Path) -> Path:
    line = read_command_line(["-m", f"data.dir={cohort}", f"out={tmp_path}", "labels=two"], "train")
    (planned,) = plan_cells("here", compose_points(TrainConfig, line).points)
    write_cell(planned, "f")
    return planned.folder


def finish(cfg: TrainConfig, folder: Path) -> None:
    (folder / "result.json").write_text(whole_record(config={"labels": cfg.labels}))


def raising(error: BaseException) -> Callable[[TrainConfig, Path], Any]:
    def train(cfg: TrainConfig, folder: Path) -> None:
        raise error

    return train


def test_a_finished_cell_is_free_and_is_not_trained_again(cell: Path) -> None:
    assert work(cell, finish) == 0
    assert look_at(cell).standing is Standing.FINISHED
    assert held_by(cell) is None
    assert work(cell, raising(AssertionError())) == 0
    assert json.loads((cell / "result.json").read_text())["config"]["labels"] == "two"


def test_an_error_is_kept_by_its_class_and_ours_by_its_words(cell: Path) -> None:
    assert work(cell, raising(ValueError(NOTE))) == FAILED
    assert read_state(cell).error.startswith("ValueError")  # type: ignore[union-attr]
    assert "Miller" not in (cell / STATE).read_text()
    assert "Miller" in (cell / LOG).read_text()
    assert work(cell, raising(UserError("data.dir=x: no such folder"))) == FAILED
    state = read_state(cell)
    assert state
    assert (state.state, state.error, state.attempts) == (Standing.FAILED, "data.dir=x: no such folder", 2)
    assert work(cell, finish) == 0


def test_out_of_memory_is_told_with_what_would_fit(cell: Path) -> None:
    assert work(cell, raising(MemoryError())) == FAILED
    error = read_state(cell).error  # type: ignore[union-attr]
    assert error
    assert error.startswith("out of memory: about")
    assert "precision=bf16 would take about" in error


def test_a_cell_that_another_process_works_on_is_left_alone(cell: Path) -> None:
    with holding(cell):
        assert work(cell, raising(AssertionError())) == LEFT_ALONE
        assert look_at(cell).standing is Standing.RUNNING
    assert read_state(cell) is None


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR2])
def test_a_signal_ends_the_work_as_preempted_and_the_next_start_goes_on(number: int, cell: Path) -> None:
    def train(cfg: TrainConfig, folder: Path) -> None:
        threading.Timer(0.1, os.kill, [os.getpid(), number]).start()
        time.sleep(20)

    start = time.monotonic()
    assert work(cell, train) == PREEMPTED
    assert time.monotonic() - start < 10
    assert look_at(cell).standing is Standing.PREEMPTED
    assert work(cell, finish) == 0


def test_progress_and_accuracy_so_far_are_told_while_it_runs(cell: Path) -> None:
    def train(cfg: TrainConfig, folder: Path) -> None:
        clock = Clock(total=10, what="nano two", unit="step")
        clock.step()
        clock.step()
        measured(0.4, 100)
        state = read_state(folder)
        assert state
        assert (state.done, state.total, state.metric, state.notes) == (2, 10, 0.4, 100)
        assert look_at(folder).standing is Standing.RUNNING
        finish(cfg, folder)

    assert work(cell, train) == 0


def test_a_process_that_died_without_a_word_is_lost(cell: Path) -> None:
    write_state(cell, CellState(Standing.RUNNING, "vm", 1))
    assert look_at(cell).standing is Standing.LOST
    assert look_at(cell, queued=True).standing is Standing.QUEUED


def test_other_code_is_noticed_and_said(cell: Path) -> None:
    write_state(cell, CellState(Standing.PREEMPTED, code=["0123456789ab"]))
    assert work(cell, finish) == 0
    state = read_state(cell)
    assert state
    assert state.code[0] == "0123456789ab"
    assert len(state.code) == 2
    assert "begun by other code (0123456789ab)" in (cell / LOG).read_text()
