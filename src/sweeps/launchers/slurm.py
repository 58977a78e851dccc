"""Cells as job arrays of a Slurm cluster, through hydra-submitit-launcher's parameters and submitit's scripts.

What differs from the launcher as it comes: a job holds no pickle, only the number of its cell in a batch, so that it
runs the code and the configuration that lie on the disk; records decide what became of a cell, never Slurm's
accounting or state; and a batch is written down, under the mark that its job's name bears, before it is submitted,
so that whoever comes after a killed submitter finds its jobs in the queue by that mark.
"""

import json
import re
import shlex
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from src.cli.compose import to_schema
from src.cli.errors import UserError
from src.cli.files import atomic_write, private_folder
from src.config.launch import SlurmConfig
from src.runs.job import CELL, Job
from src.runs.lock import Busy, holding
from src.runs.state import ENDED, RunStatus
from src.runs.status import BATCHES, read_status
from src.sweeps.launchers.slurm_queue import Queue, QueuedJob, ask, write_batch
from src.sweeps.retries import RetryTracker

OURS = ("kind", "gpu", "retries", "wait", "poll_s")
"""Keys that are no parameter of hydra-submitit-launcher."""

ALWAYS = ("export SRUN_CPUS_PER_TASK=$SLURM_CPUS_PER_TASK", "unset SLURM_CPU_BIND")
"""Lines before those of `setup`: srun of 22.05 to 23.02 does not read the CPUs of a task, and binds to others."""

SETTLE_S = 3.0
"""Seconds between a job's end and the moment when its record is sure to be seen."""


def run_on_slurm(name: str, todo: Sequence[Job], cfg: SlurmConfig, task: object = None) -> None:
    """Submits the cells that no job of an earlier start still has, and stays until all have ended.

    Cells are grouped into arrays by what they ask of the queue; their jobs start `src.cell`, whatever the `task` is.

    Raises:
        UserError: Slurm or submitit is not there, or refuses the jobs.
    """
    out = Path(todo[0].cfg.out)
    private_folder(out / BATCHES)
    cfgs = {job.folder.absolute(): to_schema(SlurmConfig, job.launcher) for job in todo}
    with submitting(out):  # of two submitters, the second joins what the first submitted
        slurm_jobs = Queue(out)
        slurm_jobs.close_what_is_over()
        queued = slurm_jobs.jobs()
        fresh = [
            job
            for job in todo
            if job.folder.absolute() not in queued and read_status(job.folder).standing is not RunStatus.RUNNING
        ]
        message = f"{name}: {len(fresh)} cells submitted, {len(todo) - len(fresh)} in the queue already"
        submit_all([job.folder.absolute() for job in fresh], cfgs, out)
    print(message, file=sys.stderr, flush=True)
    if cfg.wait:
        _watch(RetryTracker(name, [*todo], cfg.retries), slurm_jobs, cfgs, out)


def _watch(tracker: RetryTracker, slurm_jobs: Queue, cfgs: dict[Path, SlurmConfig], out: Path) -> None:
    """Waits until every cell has ended; submits again those whose job died without a word."""
    cfg = next(iter(cfgs.values()))
    folders = {path.absolute(): path for path in tracker.pending}
    gone: dict[Path, float] = {}
    while tracker.pending:
        slurm_jobs.refresh()
        dead, before = [], len(tracker.pending)
        for path, folder in folders.items():
            if folder not in tracker.pending or not _settled(folder, slurm_jobs.job_of(path), gone):
                continue
            slurm_job = slurm_jobs.job_of(path)
            reason = slurm_job.outcome if slurm_job else "its job left the queue"
            if tracker.again(folder, reason, stopped=bool(slurm_job and slurm_job.cancelled)):
                dead.append(path)
        if dead or len(tracker.pending) < before:
            with submitting(out):
                submit_all(dead, cfgs, out)
                slurm_jobs.refresh()
                slurm_jobs.close_what_is_over()
        tracker.line(slurm_jobs.running())
        time.sleep(cfg.poll_s if tracker.pending else 0)


def _settled(folder: Path, slurm_job: QueuedJob | None, gone: dict[Path, float]) -> bool:
    """Says whether a cell has ended: it has its record, or its job is over and time enough has passed to see it."""
    status = read_status(folder)
    if status.standing in ENDED:
        return True
    # On another node its lock ages for a minute.
    seems_held = slurm_job and status.holder and status.holder.job == slurm_job.job
    if (slurm_job and slurm_job.alive) or seems_held:
        gone.pop(folder, None)
        return False
    if time.monotonic() - gone.setdefault(folder, time.monotonic()) < SETTLE_S:
        return False
    del gone[folder]
    return True


@contextmanager
def submitting(out: Path) -> Iterator[None]:
    """Holds the right to submit from this folder, and waits for it."""
    while True:
        try:
            with holding(out / BATCHES):
                yield
                return
        except Busy:
            time.sleep(0.5)


def submit_all(folders: Sequence[Path], cfgs: dict[Path, SlurmConfig], out: Path) -> None:
    """Submits cells as arrays: one for each set of resources, and no longer than the cluster allows."""
    longest = _longest_array() if folders else 1
    groups: dict[str, list[Path]] = {}
    for folder in folders:
        groups.setdefault(json.dumps(asdict(cfgs[folder]), sort_keys=True), []).append(folder)
    for group in groups.values():
        for start in range(0, len(group), longest):
            _submit(group[start : start + longest], cfgs[group[0]], out)


def _submit(folders: Sequence[Path], cfg: SlurmConfig, out: Path) -> None:
    mark = uuid.uuid4().hex[:10]
    path = (out / BATCHES / f"{mark}.json").absolute()
    batch = {"cells": [str(folder) for folder in folders], "job": None, "over": [], "written": time.time()}
    text = script_of(cfg, path, len(folders))
    write_batch(path, batch)
    script = path.with_suffix(".sh")
    with atomic_write(script) as tmp:
        tmp.write_text(text, "utf-8")
    try:
        done = subprocess.run(["sbatch", "--parsable", str(script)], capture_output=True, text=True, check=False)
        reason = " ".join(done.stderr.split())[:300] if done.returncode else None
    except (FileNotFoundError, PermissionError):
        reason = "there is no sbatch here; start it where Slurm is"
    if reason is not None:
        path.unlink()
        script.unlink()
        raise UserError(f"sbatch refused {len(folders)} cells: {reason}")
    write_batch(path, {**batch, "job": done.stdout.strip().split(";")[0]})


def script_of(cfg: SlurmConfig, batch: Path, count: int) -> str:
    """The sbatch script of an array of `count` cells, as submitit writes it from the launcher's parameters.

    Raises:
        UserError: hydra-submitit-launcher is not installed.
    """
    try:
        from hydra_plugins.hydra_submitit_launcher.config import BaseQueueConf
        from submitit.slurm.slurm import SlurmExecutor
    except ImportError:
        raise UserError("hydra/launcher=slurm: install it with pip install -e '.[cluster]'") from None
    if not SlurmExecutor.affinity() > 0:
        raise UserError("hydra/launcher=slurm: there is no srun here; start the sweep on a node of the cluster")
    given = {key: value for key, value in asdict(cfg).items() if key not in OURS and value is not None}
    given |= {"name": f"{cfg.name}-{batch.stem}", "setup": [*ALWAYS, *cfg.setup]}
    given["additional_parameters"] = {"requeue": True, **cfg.additional_parameters}
    base = set(BaseQueueConf.__dataclass_fields__)
    names = {"timeout_min": "time", "name": "job_name", "mem_gb": "mem", "tasks_per_node": "ntasks_per_node"}
    given["mem_gb"] = None if cfg.mem_gb is None else f"{int(cfg.mem_gb * 1024)}MB"
    parameters = {names.get(key, key) if key in base else key: value for key, value in given.items() if value}
    logs = batch.parent / "logs"
    private_folder(logs)
    executor = SlurmExecutor(folder=logs)
    executor.update_parameters(**parameters)
    executor.parameters["map_count"] = count
    command = shlex.join([sys.executable, "-u", "-m", CELL, str(batch)])
    return executor._make_submission_file_text(command, batch.stem)


def _longest_array() -> int:
    match = re.search(r"MaxArraySize\s*=\s*(\d+)", ask(["scontrol", "show", "config"]))
    return max(1, int(match[1]) - 1) if match else 1000
