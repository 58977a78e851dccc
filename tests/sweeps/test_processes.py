import multiprocessing.forkserver
import multiprocessing.spawn
import os
import signal
import threading
import time
from pathlib import Path

import pytest

from src.cli.files import atomic_write
from src.config.launch import ProcessesConfig
from src.runs.job import Job
from src.sweeps.launchers import processes
from tests.conftest import whole_record
from tests.forked import Forks


def finish_slowly(folder: Path) -> int:
    time.sleep(1.0)
    with (folder / "attempts").open("a") as file:
        file.write("x")
    with atomic_write(folder / "result.json") as tmp:
        tmp.write_text(whole_record())
    return 0


@pytest.mark.parametrize("workers", [1, 2])
def test_a_killed_fork_server_costs_no_cell_and_no_second_training(
    workers: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, forks: Forks
) -> None:
    monkeypatch.setattr(multiprocessing.spawn, "_python_exe", os.fsencode(forks.python))
    monkeypatch.setattr(processes, "WARM", [])
    jobs = [Job(tmp_path / str(number), None, [], {}) for number in range(3)]  # type: ignore[arg-type]
    for job in jobs:
        job.folder.mkdir()

    def kill() -> None:
        for _ in range(3):
            time.sleep(0.7)
            os.kill(multiprocessing.forkserver._forkserver._forkserver_pid, signal.SIGKILL)  # type: ignore[attr-defined]

    killer = threading.Thread(target=kill)
    killer.start()
    processes.run_in_processes("grid", jobs, ProcessesConfig("processes", None, 2, workers, 1), finish_slowly)  # type: ignore[arg-type]
    killer.join()
    assert [(job.folder / "attempts").read_text() for job in jobs] == ["x"] * 3
