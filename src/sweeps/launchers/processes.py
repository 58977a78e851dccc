"""Cells in processes of this machine: one after the other, or several at a time, one a GPU."""

import multiprocessing
import multiprocessing.connection
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import takewhile
from pathlib import Path
from typing import Any

from src.cli.command import report_user_errors
from src.cli.errors import UserError
from src.cli.process_identity import born
from src.config.launch import ProcessesConfig
from src.runs.job import Job
from src.sweeps.retries import RetryTracker

STARTS = 3
"""Fork servers that are tried for one cell."""

WARM = [
    "src.training.quiet_libraries", "torch", "transformers.models.llama.modeling_llama", "peft", "pytorch_lightning",
    "numpy",
]  # fmt: skip
"""Imported once, in a process that every cell is forked from; polars is not, for its threads do not survive a fork."""

GRACE_S = 120.0
"""Seconds that cells have to save their checkpoints when the sweep is stopped."""


def run_in_processes(name: str, jobs: Sequence[Job], cfg: ProcessesConfig, task: Callable[[Path], int]) -> None:
    """Runs every cell in a process of its own, `workers` at a time.

    A cell that fails, runs out of memory or is killed leaves the others as they are. An interrupt or SIGTERM stops
    the cells at their next checkpoint.
    """
    gpus = shares(visible_gpus(), cfg.gpus_per_cell)
    workers = cfg.workers or max(1, len(gpus))
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(WARM)
    tracker = RetryTracker(name, jobs, cfg.retries)
    waiting = [job.folder for job in jobs]
    running: dict[int, tuple[Any, Path, int | None]] = {}
    before = signal.signal(signal.SIGTERM, _stop)
    try:
        while waiting or running:
            for slot in range(workers):
                if waiting and slot not in running:
                    folder = waiting.pop(0)
                    gpu = gpus[slot % len(gpus)] if gpus else None
                    child = _started(context, (task, folder, gpu))
                    running[slot] = (child, folder, born(child.pid))
            watched = [child.sentinel for child, *_ in running.values() if child.is_alive()]
            multiprocessing.connection.wait(watched, timeout=1.0)
            for slot, (child, folder, birth) in list(running.items()):
                # A child outlives a fork server that was killed, which alone knew its status.
                if not child.is_alive() and (birth is None or born(child.pid) != birth):
                    del running[slot]
                    waiting += [folder] if tracker.again(folder, _reason(child.exitcode)) else []
            tracker.line(len(running))
    except BaseException:
        _end([child for child, *_ in running.values()])
        raise
    finally:
        signal.signal(signal.SIGTERM, before)


def shares(gpus: Sequence[str], size: int) -> list[str]:
    """GPUs in groups of `size`, as CUDA_VISIBLE_DEVICES names them; what is left over is left out.

    >>> shares(["0", "1", "2"], 1), shares(["0", "1", "2"], 2)
    (['0', '1', '2'], ['0,1'])

    Raises:
        UserError: there are fewer, or they are parts of GPUs, of which CUDA lets a process see one.
    """
    if size > 1 and any(gpu.startswith("MIG-") for gpu in gpus):
        raise UserError(f"hydra.launcher.gpus_per_cell={size}: a process sees one MIG instance; write 1")
    if 0 < len(gpus) < size:
        names = ",".join(gpus)
        raise UserError(f"hydra.launcher.gpus_per_cell={size}: {len(gpus)} are visible ({names}); write at most that")
    return [",".join(gpus[start : start + size]) for start in range(0, len(gpus) - size + 1, size)]


def visible_gpus() -> list[str]:
    """Lists the GPUs that cells may use, as CUDA_VISIBLE_DEVICES names them; asks no driver and imports no torch.

    Names are numbers, or UUIDs of GPUs or of MIG instances, as Slurm may give them; CUDA reads none after one that it
    does not know, such as -1.
    """
    if (given := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        names = [name.strip() for name in given.split(",")]
        return list(takewhile(lambda name: name.isdigit() or name.startswith(("GPU-", "MIG-")), names))
    folder = Path("/proc/driver/nvidia/gpus")
    return [str(number) for number in range(len(list(folder.iterdir())))] if folder.is_dir() else []


def _started(context: Any, arguments: tuple[Any, ...]) -> Any:
    """Starts a process of a cell, from a new fork server where the last was killed.

    Raises:
        UserError: the fork server is killed again and again.
    """
    for _ in range(STARTS):
        child = context.Process(target=_child, args=arguments)
        try:
            child.start()
            return child
        except (EOFError, ConnectionError) as error:
            print(f"the fork server is gone ({type(error).__name__}); another is started", file=sys.stderr, flush=True)
            time.sleep(1.0)
    raise UserError(f"the fork server, which cells come from, ended {STARTS} times; does memory run out?")


def _child(task: Callable[[Path], int], folder: Path, gpu: str | None) -> None:
    os.setsid()  # an interrupt at the terminal reaches the sweep alone, which then stops its cells
    if gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu
    with report_user_errors():
        sys.exit(task(folder))


def _reason(status: int | None) -> str:
    if status is not None and status < 0:
        name = signal.Signals(-status).name
        return f"killed by {name}" + (", as the system does when memory runs out" if name == "SIGKILL" else "")
    return f"ended with status {status}"


def _stop(number: int, frame: object) -> None:
    raise KeyboardInterrupt


def _end(children: Sequence[Any]) -> None:
    """Lets cells save and end; they are not killed, for the next start waits for them where they take longer."""
    for child in children:
        with suppress(ProcessLookupError):
            os.kill(child.pid, signal.SIGTERM)
    if children:
        print(f"stopping {len(children)} cells at their next checkpoint", file=sys.stderr, flush=True)
    deadline = time.monotonic() + GRACE_S
    for child in children:
        child.join(max(0.0, deadline - time.monotonic()))
