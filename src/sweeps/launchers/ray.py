"""Cells as tasks of a Ray cluster: a workstation's, or one in a cloud.

hydra-ray-launcher 1.2.2 does not fit: it asks for cloudpickle below 3 and for boto3, whose botocore asks for
python-dateutil below 3, and it gathers results so that the first worker that dies takes the outcomes of all others
with it. So Ray is used directly, with the same launcher's name.
"""

import logging
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from src.cli.errors import UserError
from src.cli.files import access_mask
from src.config.launch import RayConfig
from src.runs.job import Job
from src.sweeps.retries import RetryTracker

LOOK_S = 2.0
"""Seconds between two lines of progress at least."""


def run_on_ray(name: str, jobs: Sequence[Job], cfg: RayConfig, task: Callable[[Path], int]) -> None:
    """Runs every cell as a task in a worker of its own, and starts those again whose worker or node died.

    Raises:
        UserError: Ray is not installed, or the cluster does not answer.
    """
    ray = _joined(cfg)
    tracker = RetryTracker(name, jobs, cfg.retries)
    # A worker serves one cell: nothing of it, on a GPU or off, is left for the next.
    remote = ray.remote(num_cpus=cfg.num_cpus, num_gpus=cfg.num_gpus, max_retries=0, max_calls=1)(_on_a_worker)
    root = os.getcwd()
    running = {remote.remote(task, job.folder, root): job.folder for job in jobs}
    try:
        while running:
            done, _ = ray.wait(list(running), num_returns=1, timeout=LOOK_S)
            for reference in done:
                folder, died, reason = running.pop(reference), False, "its worker ended"
                try:
                    reason = f"ended with status {ray.get(reference)}"
                except ray.exceptions.RayError as error:
                    died, reason = True, type(error).__name__
                if tracker.again(folder, reason, died=died):
                    running[remote.remote(task, folder, root)] = folder
            tracker.line(len(running))
    except BaseException:
        for reference in running:
            ray.cancel(reference)
        raise
    finally:
        ray.shutdown()


def _joined(cfg: RayConfig) -> Any:
    """Connects Ray to the cluster, or to one that it starts on this machine."""
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError:
        raise UserError("hydra/launcher=ray: install it with pip install -e '.[cluster]'") from None
    try:
        ray.init(address=cfg.address, include_dashboard=None if cfg.address else False, log_to_driver=False,
                 logging_level=logging.ERROR)  # fmt: skip
    except (ConnectionError, ValueError, RuntimeError) as error:
        first = str(error).strip().splitlines()[0][:200]
        raise UserError(f"hydra.launcher.address={cfg.address}: {first}; start one with ray start --head") from None
    return ray


def _on_a_worker(task: Callable[[Path], int], folder: Path, where: str) -> int:
    os.chdir(where)
    if where not in sys.path:
        sys.path.insert(0, where)
    os.umask(access_mask())
    return task(folder)
