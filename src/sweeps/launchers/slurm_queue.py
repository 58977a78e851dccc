"""Our job arrays in Slurm's queue, as squeue tells them; no accounting is needed."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from src.cli.errors import UserError
from src.cli.json_files import write_json
from src.runs.status import BATCH, BATCHES, read_batches

OVER = {"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "BOOT_FAIL", "DEADLINE", "OUT_OF_MEMORY", "REVOKED"}
"""Slurm's states of a job that will not run again by itself; any other is alive, or about to be."""

PATIENCE_S = 600.0
"""Seconds without an answer of the controller after which waiting for it ends."""

SAID_S = 60.0
"""Seconds between two lines that say that it is waited for."""

ASKED_S = 60.0
"""Seconds that one question may take."""


class QueuedJob:
    """One task of one array, as squeue tells it."""

    def __init__(self, slurm_job: str, state: str, reason: str) -> None:
        self.job, self.state, self.reason = slurm_job, state, reason

    @property
    def alive(self) -> bool:
        """Says whether it runs, waits, or will be put back into the queue."""
        return self.state not in OVER

    @property
    def cancelled(self) -> bool:
        """Says whether someone took it out of the queue."""
        return self.state == "CANCELLED"

    @property
    def outcome(self) -> str:
        """Says how it ended, in a few words."""
        return f"job {self.job} ended as {self.state}"


class Queue:
    """Holds our batches, and what squeue says of their jobs; needs no accounting."""

    def __init__(self, out: Path) -> None:
        self.out, self._first = out, True
        self._jobs: dict[tuple[str, int], QueuedJob] = {}
        self._batches: list[dict[str, Any]] = []
        self.refresh()

    def refresh(self) -> None:
        """Asks again; a controller that does not answer is waited for."""
        self._batches = read_batches(self.out)
        marks = {}
        for name, slurm_job, state, reason in _squeue(self._first):
            mark, _, index = name.rpartition("-")[2], *slurm_job.rpartition("_")[1:]
            if index.isdigit():
                marks[mark, int(index)] = QueuedJob(slurm_job, state, reason)
        self._jobs |= marks
        self._first = False
        for key in set(self._jobs) - set(marks):  # forgotten by the controller, some minutes after its end
            if self._jobs[key].alive:
                del self._jobs[key]

    def jobs(self) -> set[Path]:
        """Folders of the cells that a living job has."""
        return {
            Path(folder)
            for batch in self._batches
            for index, folder in enumerate(batch["cells"])
            if (slurm_job := self._jobs.get((batch["mark"], index))) and slurm_job.alive
        }

    def job_of(self, folder: Path) -> QueuedJob | None:
        """Returns the job that has a cell, or had it last, as far as the controller remembers."""
        tasks = [
            slurm_job
            for batch in sorted(self._batches, key=lambda queued: float(queued["written"]))
            for index, job in enumerate(batch["cells"])
            if job == str(folder) and (slurm_job := self._jobs.get((batch["mark"], index)))
        ]
        alive = [slurm_job for slurm_job in tasks if slurm_job.alive]
        return alive[-1] if alive else tasks[-1] if tasks else None

    def running(self) -> int:
        """Jobs that run now."""
        ours = {batch["mark"] for batch in self._batches}
        return sum(slurm_job.state == "RUNNING" for (mark, _), slurm_job in self._jobs.items() if mark in ours)

    def close_what_is_over(self) -> None:
        """Writes down which tasks of each batch are over, and forgets batches of which all are.

        Only for who holds the right to submit: a batch that is just being submitted has no jobs yet.
        """
        for batch in self._batches:
            slurm_jobs = [self._jobs.get((batch["mark"], index)) for index in range(len(batch["cells"]))]
            over = [index for index, slurm_job in enumerate(slurm_jobs) if not (slurm_job and slurm_job.alive)]
            path = self.out / BATCHES / f"{batch['mark']}.json"
            if len(over) == len(slurm_jobs):
                path.unlink(missing_ok=True)
                path.with_suffix(".sh").unlink(missing_ok=True)
            elif over != batch["over"]:
                write_batch(path, {**batch, "over": over})
        self._batches = read_batches(self.out)


def write_batch(path: Path, batch: dict[str, Any]) -> None:
    """Writes what was submitted as one array: `cells`, `job`, `over`, `written`."""
    write_json(path, {key: value for key, value in batch.items() if key != "mark"}, BATCH)


def _squeue(first: bool) -> Iterator[tuple[str, str, str, str]]:
    """Lists (name, job, state, reason) of each of our jobs that the controller remembers, a line a task."""
    command = ["squeue", "-h", "-a", "-r", "-t", "all", "-u", str(os.getuid()), "-o", "%j|%i|%T|%r"]
    for line in ask(command, first).splitlines():
        name, slurm_job, state, reason = line.split("|", 3)
        yield name, slurm_job, state, reason


def ask(words: Sequence[str], first: bool = False) -> str:
    """Returns what a command of Slurm prints; a controller that does not answer is waited for, and a line says so.

    Args:
        words: the command.
        first: nothing is submitted yet, so that there is nothing to wait for.

    Raises:
        UserError: there is no such command, or no answer: none at all the first time, later for `PATIENCE_S`.
    """
    start, said = time.monotonic(), float("-inf")
    while True:
        try:
            done = subprocess.run(words, capture_output=True, text=True, timeout=ASKED_S, check=False)
            reason = " ".join(done.stderr.split())[:200] or f"status {done.returncode}"
            if done.returncode == 0:
                return done.stdout
        except (FileNotFoundError, PermissionError):
            raise UserError(f"hydra/launcher=slurm: there is no {words[0]} here; start it where Slurm is") from None
        except subprocess.TimeoutExpired:
            reason = f"nothing in {ASKED_S:.0f} s"
        waited = time.monotonic() - start
        if first:
            raise UserError(f"hydra/launcher=slurm: {words[0]} has no answer of Slurm's controller ({reason}); "
                            "does it run, and is this machine a part of its cluster?")  # fmt: skip
        if waited > PATIENCE_S:
            raise UserError(f"{words[0]}: Slurm's controller has not answered for {PATIENCE_S:.0f} s ({reason}); the "
                            "jobs go on, and the same command joins them")  # fmt: skip
        if waited - said >= SAID_S:
            print(f"Slurm's controller does not answer ({reason}); asking again", file=sys.stderr, flush=True)
            said = waited
        time.sleep(2.0)
