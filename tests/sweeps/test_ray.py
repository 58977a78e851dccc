"""A sweep on a Ray cluster of two nodes on this machine, one of which is killed."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from src.runs.state import RunStatus, read_state
from src.sweeps.status_table import read_rows

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.slow


@pytest.fixture
def ray_cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    utils = pytest.importorskip("ray.cluster_utils")
    cluster = utils.Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    cluster.add_node(num_cpus=1)
    cluster.add_node(num_cpus=1)
    yield cluster
    cluster.shutdown()


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
def test_a_killed_node_costs_no_cell(ray_cluster: Any, cohort: Path, tmp_path: Path) -> None:
    words = [f"data.dir={cohort}", f"out={tmp_path}", "max_len=64", "epochs=2", "data.limit=24", "threads=1"]
    words += ["wandb.mode=disabled", "model=pico", "seed=1,2", "hydra/launcher=ray"]
    words += [f"hydra.launcher.address={ray_cluster.address}"]
    sweep = subprocess.Popen(
        [sys.executable, "-m", "src.train", "-m", *words],
        cwd=ROOT,
        env={**os.environ},
        text=True,
        stderr=subprocess.PIPE,
    )
    end = time.monotonic() + 300  # two starts of a busy machine
    while len(list(tmp_path.glob("*/state.json"))) < 2 and sweep.poll() is None:
        assert time.monotonic() < end
        time.sleep(0.05)
    ray_cluster.remove_node(ray_cluster.worker_nodes.copy().pop(), allow_graceful=False)
    told = sweep.communicate(timeout=240)[1]
    assert sweep.returncode == 0, told
    assert "started again" in told
    assert [row.look.standing for row in read_rows("multirun", tmp_path)] == [RunStatus.FINISHED] * 2
    attempts = sorted(read_state(path.parent).attempts for path in tmp_path.glob("*/state.json"))  # type: ignore[union-attr]
    assert attempts == [1, 2]
