"""Sweeps on a real Slurm of two nodes on this machine, which is started for them and stopped after them."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from src.runs.lock import held_by
from src.runs.state import RunStatus, read_state
from src.sweeps.status_table import read_rows
from src.testing.slurm_here import SlurmHere, install

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.slow
WORDS = [
    "max_len=64", "epochs=2", "data.limit=24", "threads=1", "device=cpu", "wandb.mode=disabled", "model=pico",
    "hydra/launcher=slurm", "hydra.launcher.cpus_per_task=1", "hydra.launcher.poll_s=0.5",
]  # fmt: skip


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SlurmHere]:
    if not install():
        pytest.skip("no Slurm here, and apt cannot install it (slurmctld slurmd slurm-client munge)")
    cluster = SlurmHere(tmp_path_factory.mktemp("slurm"), port=free_port())
    cluster.start()
    yield cluster
    cluster.stop()


@pytest.fixture
def start(slurm: SlurmHere, cohort: Path, tmp_path: Path) -> Callable[..., "subprocess.Popen[str]"]:
    """Starts the sweep as a user would."""

    def begin(*words: str, program: str = "from src.train import main; main()") -> "subprocess.Popen[str]":
        code = f"import sys; sys.argv = ['train', '-m', *sys.argv[1:]]\n{program}"
        given = [f"data.dir={cohort}", f"out={tmp_path}", *WORDS, *words]
        return subprocess.Popen(
            [sys.executable, "-c", code, *given], cwd=ROOT, env=slurm.environment, text=True, stderr=subprocess.PIPE
        )

    return begin


def wait_for(what: Callable[[], object], seconds: float = 90) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end
        time.sleep(0.05)


def slurm_jobs(slurm: SlurmHere) -> list[str]:
    return slurm.run("squeue", "-h", "-r", "-a", "-t", "all", "-o", "%j").split()


@contextmanager
def waiting(slurm: SlurmHere) -> Iterator[None]:
    """Begins no job until its end; they are submitted, and wait."""
    slurm.run("scontrol", "update", "PartitionName=batch", "State=DOWN")
    try:
        yield
    finally:
        slurm.run("scontrol", "update", "PartitionName=batch", "State=UP")


def test_killed_submitters_and_jobs_cost_nothing(
    slurm: SlurmHere, start: Callable[..., "subprocess.Popen[str]"], tmp_path: Path
) -> None:
    # The submitter dies between sbatch and its record, as a kill at the worst moment would have it.
    dies = (
        "import os, src.sweeps.launchers.slurm as slurm\nwrite = slurm.write_batch\n"
        "slurm.write_batch = lambda path, batch: os._exit(9) if batch['job'] else write(path, batch)\n"
        "from src.train import main\nmain()"
    )
    with waiting(slurm):
        first = start("seed=1,2", program=dies)
        first.communicate(timeout=60)
        assert first.returncode == 9
        assert len(slurm_jobs(slurm)) == 2
        second = start("seed=1,2")
        assert second.stderr
        assert "0 cells submitted, 2 in the queue already" in next(line for line in second.stderr if "queue" in line)
    killed = []

    def kill_one() -> bool:
        for path in tmp_path.glob("*/state.json"):
            state = read_state(path.parent)
            if state and state.state is RunStatus.RUNNING and state.done:
                os.kill(state.pid, signal.SIGKILL)
                killed.append(path.parent.name)
        return bool(killed)

    wait_for(kill_one)
    told = second.communicate(timeout=200)[1]
    assert second.returncode == 0, told
    assert f"{killed[0]}: job" in told
    assert [row.look.standing for row in read_rows("multirun", tmp_path)] == [RunStatus.FINISHED] * 2
    assert len(slurm_jobs(slurm)) == 2 + len(killed)
    assert not [folder for folder in tmp_path.glob("pico*") if held_by(folder)]
    third = start("seed=1,2")
    assert "2 finished" in third.communicate(timeout=60)[1]
    assert len(slurm_jobs(slurm)) == 2 + len(killed)


def test_a_job_whose_time_is_nearly_up_goes_back_into_the_queue_and_on(
    slurm: SlurmHere, start: Callable[..., "subprocess.Popen[str]"], tmp_path: Path
) -> None:
    sweep = start("seed=3", "epochs=30")
    checkpoint = "*/checkpoints/last.safetensors"
    wait_for(lambda: list(tmp_path.glob(checkpoint)))
    (folder,) = (path.parent for path in tmp_path.glob("*/state.json"))
    slurm_job = json.loads((folder / "state.json").read_text())["job"]
    slurm.run("scancel", "--signal=USR2", slurm_job)
    wait_for(lambda: (state := read_state(folder)) and state.state is RunStatus.PREEMPTED)
    told = sweep.communicate(timeout=200)[1]
    assert sweep.returncode == 0, told
    state = read_state(folder)
    assert state
    assert (state.state, state.attempts, state.job) == (RunStatus.FINISHED, 2, slurm_job)
    assert "stopped by SIGUSR2; it goes on from its last checkpoint" in (folder / "log.txt").read_text()


def test_a_cancelled_cell_stays_cancelled_until_the_next_start(
    slurm: SlurmHere, start: Callable[..., "subprocess.Popen[str]"], tmp_path: Path
) -> None:
    sweep = start("seed=4")
    wait_for(lambda: list(tmp_path.glob("*/state.json")))
    slurm.run("scancel", json.loads(next(tmp_path.glob("*/state.json")).read_text())["job"])
    told = sweep.communicate(timeout=60)[1]
    assert sweep.returncode == 2
    assert "1 cells are not finished" in told
