"""Cells as job arrays of a Slurm cluster, through hydra-submitit-launcher's parameters and submitit's scripts.

What differs from the launcher as it comes: a job holds no pickle, only the number of its cell in a batch, so that it
runs the code and the configuration that lie on the disk; records decide what became of a cell, never Slurm's
accounting or state; and a batch is written down, under the mark that its job's name bears, before it is submitted,
so that whoever comes after a killed submitter finds its jobs in the queue by that mark.
"""

import json
import os
import re
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from src.config.launch import SlurmConfig
from src.shell.errors import UserError
from src.shell.files import replacing
from src.shell.overrides import to_schema
from src.sweeps.cell import Cell
from src.sweeps.lock import Busy, holding
from src.sweeps.standing import BATCHES, look_at, read_batches
from src.sweeps.state import Standing
from src.sweeps.tally import Tally

OURS = ("kind", "gpu", "retries", "wait", "poll_s")
"""Keys that are no parameter of hydra-submitit-launcher."""

ALWAYS = ("export SRUN_CPUS_PER_TASK=$SLURM_CPUS_PER_TASK", "unset SLURM_CPU_BIND")
"""Lines before those of `setup`: srun of 22.05 to 23.02 does not read the CPUs of a task, and binds to others."""

OVER = {"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "BOOT_FAIL", "DEADLINE", "OUT_OF_MEMORY", "REVOKED"}
"""Slurm's states of a job that will not run again by itself; any other is alive, or about to be."""

PATIENCE_S = 600.0
"""Seconds without an answer of the controller after which waiting for it ends."""

SETTLE_S = 3.0
"""Seconds between a job's end and the moment when its record is sure to be seen."""


def run_on_slurm(what: str, todo: Sequence[Cell], out: Path) -> None:
    """Submits the cells that no job of an earlier start still has, and stays until all have ended.

    Cells are grouped into arrays by what they ask of the queue.

    Raises:
        UserError: Slurm or submitit is not there, or refuses the jobs.
    """
    (out / BATCHES).mkdir(parents=True, exist_ok=True)
    cfgs = {cell.folder.absolute(): to_schema(SlurmConfig, cell.launcher) for cell in todo}
    with submitting(out):  # of two submitters, the second joins what the first submitted
        jobs = Queue(out)
        jobs.close_what_is_over()
        known = jobs.cells()
        fresh = [
            cell
            for cell in todo
            if cell.folder.absolute() not in known and look_at(cell.folder).standing is not Standing.RUNNING
        ]
        told = f"{what}: {len(fresh)} cells submitted, {len(todo) - len(fresh)} in the queue already"
        submit_all([cell.folder.absolute() for cell in fresh], cfgs, out)
    print(told, file=sys.stderr, flush=True)
    first = next(iter(cfgs.values()), None)
    if first and first.wait:
        _watch(Tally(what, [*todo], first.retries), jobs, cfgs, out)


def _watch(tally: Tally, jobs: "Queue", cfgs: dict[Path, SlurmConfig], out: Path) -> None:
    """Waits until every cell has ended; submits again those whose job died without a word."""
    cfg = next(iter(cfgs.values()))
    folders = {path.absolute(): path for path in tally.left}
    gone: dict[Path, float] = {}
    while tally.left:
        jobs.refresh()
        dead, before = [], len(tally.left)
        for path, folder in folders.items():
            if folder not in tally.left or not _settled(folder, jobs.job_of(path), gone):
                continue
            job = jobs.job_of(path)
            if tally.again(folder, job.how if job else "its job left the queue", stopped=bool(job and job.cancelled)):
                dead.append(path)
        if dead or len(tally.left) < before:
            with submitting(out):
                submit_all(dead, cfgs, out)
                jobs.refresh()
                jobs.close_what_is_over()
        tally.line(jobs.running())
        time.sleep(cfg.poll_s if tally.left else 0)


def _settled(folder: Path, job: "Job | None", gone: dict[Path, float]) -> bool:
    """Whether a cell has ended: it has its record, or its job is over and time enough has passed to see it."""
    look = look_at(folder)
    if look.standing is Standing.FINISHED:
        return True
    seems_held = job and look.holder and look.holder.job == job.job  # on another node, its lock ages for a minute
    if (job and job.alive) or seems_held:
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


class Job:
    """One task of one array, as squeue tells it."""

    def __init__(self, job: str, state: str, reason: str) -> None:
        self.job, self.state, self.reason = job, state, reason

    @property
    def alive(self) -> bool:
        """Whether it runs, waits, or will be put back into the queue."""
        return self.state not in OVER

    @property
    def cancelled(self) -> bool:
        """Whether someone took it out of the queue."""
        return self.state == "CANCELLED"

    @property
    def how(self) -> str:
        """How it ended, in a few words."""
        return f"job {self.job} ended as {self.state}"


class Queue:
    """Our batches, and what squeue says of their jobs; needs no accounting."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self._jobs: dict[tuple[str, int], Job] = {}
        self._batches: list[dict[str, Any]] = []
        self.refresh()

    def refresh(self) -> None:
        """Asks again; a controller that does not answer is waited for."""
        self._batches = read_batches(self.out)
        marks = {}
        for name, job, state, reason in _squeue():
            mark, _, index = name.rpartition("-")[2], *job.rpartition("_")[1:]
            if index.isdigit():
                marks[mark, int(index)] = Job(job, state, reason)
        self._jobs |= marks
        for key in set(self._jobs) - set(marks):  # forgotten by the controller, some minutes after its end
            if self._jobs[key].alive:
                del self._jobs[key]

    def cells(self) -> set[Path]:
        """Folders of the cells that a living job has."""
        return {
            Path(folder)
            for batch in self._batches
            for index, folder in enumerate(batch["cells"])
            if (job := self._jobs.get((batch["mark"], index))) and job.alive
        }

    def job_of(self, folder: Path) -> Job | None:
        """The job that has a cell, or had it last, as far as the controller remembers."""
        found = [
            job
            for batch in sorted(self._batches, key=lambda each: float(each["written"]))
            for index, cell in enumerate(batch["cells"])
            if cell == str(folder) and (job := self._jobs.get((batch["mark"], index)))
        ]
        alive = [job for job in found if job.alive]
        return alive[-1] if alive else found[-1] if found else None

    def running(self) -> int:
        """Jobs that run now."""
        ours = {batch["mark"] for batch in self._batches}
        return sum(job.state == "RUNNING" for (mark, _), job in self._jobs.items() if mark in ours)

    def close_what_is_over(self) -> None:
        """Writes down which tasks of each batch are over, and forgets batches of which all are.

        Only for who holds the right to submit: a batch that is just being submitted has no jobs yet.
        """
        for batch in self._batches:
            jobs = [self._jobs.get((batch["mark"], index)) for index in range(len(batch["cells"]))]
            over = [index for index, job in enumerate(jobs) if not (job and job.alive)]
            path = self.out / BATCHES / f"{batch['mark']}.json"
            if len(over) == len(jobs):
                path.unlink(missing_ok=True)
                path.with_suffix(".sh").unlink(missing_ok=True)
            elif over != batch["over"]:
                _write_batch(path, {**batch, "over": over})
        self._batches = read_batches(self.out)


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
    _write_batch(path, batch)
    script = path.with_suffix(".sh")
    script.write_text(script_of(cfg, path, len(folders)), "utf-8")
    done = subprocess.run(["sbatch", "--parsable", str(script)], capture_output=True, text=True, check=False)
    if done.returncode:
        path.unlink()
        raise UserError(f"sbatch refused {len(folders)} cells: {' '.join(done.stderr.split())[:300]}")
    _write_batch(path, {**batch, "job": done.stdout.strip().split(";")[0]})


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
    base = set(BaseQueueConf.__dataclass_fields__)
    names = {"timeout_min": "time", "name": "job_name", "mem_gb": "mem", "tasks_per_node": "ntasks_per_node"}
    given["mem_gb"] = None if cfg.mem_gb is None else f"{int(cfg.mem_gb * 1024)}MB"
    parameters = {names.get(key, key) if key in base else key: value for key, value in given.items() if value}
    logs = batch.parent / "logs"
    logs.mkdir(exist_ok=True)
    executor = SlurmExecutor(folder=logs)
    executor.update_parameters(**parameters)
    executor.parameters["map_count"] = count
    return executor._make_submission_file_text(_command(batch), batch.stem)


def _command(batch: Path) -> str:
    import shlex

    return shlex.join([sys.executable, "-u", "-m", "src.cell", str(batch)])


def _write_batch(path: Path, batch: dict[str, Any]) -> None:
    with replacing(path) as beside:
        beside.write_text(json.dumps({key: value for key, value in batch.items() if key != "mark"}) + "\n", "utf-8")


def _squeue() -> Iterator[tuple[str, str, str, str]]:
    """(name, job, state, reason) of each of our jobs that the controller remembers, a line a task."""
    asked = ["squeue", "-h", "-a", "-r", "-t", "all", "-u", str(os.getuid()), "-o", "%j|%i|%T|%r"]
    for line in _ask(asked).splitlines():
        name, job, state, reason = line.split("|", 3)
        yield name, job, state, reason


def _longest_array() -> int:
    found = re.search(r"MaxArraySize\s*=\s*(\d+)", _ask(["scontrol", "show", "config"]))
    return max(1, int(found[1]) - 1) if found else 1000


def _ask(words: Sequence[str]) -> str:
    start = time.monotonic()
    while True:
        try:
            done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
        except FileNotFoundError:
            raise UserError(f"hydra/launcher=slurm: there is no {words[0]} here; start it where Slurm is") from None
        except subprocess.TimeoutExpired:
            done = None
        if done and done.returncode == 0:
            return done.stdout
        if time.monotonic() - start > PATIENCE_S:
            raise UserError(f"{words[0]}: Slurm's controller has not answered for {PATIENCE_S:.0f} s; the jobs go on, "
                            "and the same command joins them")  # fmt: skip
        time.sleep(2.0)
