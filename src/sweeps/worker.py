"""Works on one cell in this process: its lock, its state, and what becomes of every way to end."""

import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

from src.cli.errors import UserError, system_error_line
from src.cli.progress import Clock, listening
from src.config.train import TrainConfig
from src.runs.folder import RunFolder
from src.runs.job import config_of
from src.runs.lock import Busy, holding, this_process
from src.runs.provenance import code_version
from src.runs.record import finished
from src.runs.state import JobState, RunStatus, error_line, read_state, write_state
from src.runs.trial_record import read_trial

FAILED, PREEMPTED, LEFT_ALONE = 1, 75, 76
"""Exit statuses of a process that did not finish its cell; 75 is EX_TEMPFAIL of sysexits.h."""

ENDED = "trained to the end"
"""What a cell's log says once."""

SECONDS_BETWEEN_WORDS = 2.0
"""A state is written this often at most while a stage goes on."""

RANKS = ("LOCAL_RANK", "RANK", "NODE_RANK", "SLURM_PROCID")
"""What Lightning, torchrun and Slurm number the processes of one run by."""

Train = Callable[[TrainConfig, Path], Any]


class Stopped(BaseException):
    """Says that SIGTERM came where nothing but this process could tell what to do."""


class StatusWriter:
    """Keeps a cell's state on disk while it runs."""

    def __init__(self, run_dir: Path, state: JobState) -> None:
        self.run_dir, self.state = run_dir, state
        self._said = 0.0
        self.first = self.last = 0.0
        """When the first and the last step of training ended, in seconds since 1970; 0 before."""

    def advanced(self, clock: Clock, elapsed: float) -> None:
        """Takes notice that a count went on."""
        if clock.unit == "step":
            self.last = time.time()
            self.first = self.first or self.last
        state, now = self.state, time.monotonic()
        state.stage, state.done, state.total = clock.what, clock.done, clock.total
        state.left_s = round(elapsed / max(clock.done, 1) * max(clock.total - clock.done, 0), 1)
        if now - self._said >= SECONDS_BETWEEN_WORDS:
            self._said = now
            self._say()

    def measured(self, accuracy: float, notes: int) -> None:
        """An epoch was validated."""
        self.state.metric, self.state.notes = accuracy, notes
        self._say()

    def _say(self) -> None:
        try:
            write_state(self.run_dir, self.state)
        except OSError as error:  # training does not end because its word cannot be kept
            print(f"{self.run_dir}: its state cannot be written ({type(error).__name__})", file=sys.stderr, flush=True)


def work(run_dir: Path, train: Train) -> int:
    """Trains the cell of a folder, unless it is finished or another process works on it.

    Whatever happens to it is told in its record or its state; nothing is raised but what ends the process.

    Returns:
        An exit status: 0 when the cell is finished, or one of those above.
    """
    if any(os.environ.get(name, "0") != "0" for name in RANKS):  # a further process of a run that rank 0 speaks for
        train(config_of(run_dir), run_dir)
        return 0
    signals = Signals()
    with logged(RunFolder(run_dir).log):
        try:
            with signals, holding(run_dir):
                status = 0 if finished(run_dir) or read_trial(run_dir) else _attempt(run_dir, train, signals)
        except Busy as busy:
            print(f"{run_dir}: {busy} works on it; left alone", flush=True)
            return LEFT_ALONE
        except Stopped:
            return PREEMPTED
        if status == PREEMPTED and not finished(run_dir):
            requeue(signals.time_up)
    return status


def _attempt(run_dir: Path, train: Train, signals: "Signals") -> int:
    before = read_state(run_dir)
    state = _begin(run_dir, before)
    writer = StatusWriter(run_dir, state)
    write_state(run_dir, state)
    try:
        with listening(writer):
            train(config_of(run_dir), run_dir)
        state.state, status = RunStatus.FINISHED, 0
        _account(writer)
        end = f"{trial.end} trial" if (trial := read_trial(run_dir)) else ENDED
        print(f"{run_dir}: {end}, in attempt {state.attempts}", flush=True)
    except BaseException as error:  # every end is told, that of the process included
        status = _record_end(error, state, signals, run_dir)
    write_state(run_dir, state)
    return status


def _begin(run_dir: Path, before: JobState | None) -> JobState:
    me, born = this_process(), process_start()
    state = JobState(RunStatus.RUNNING, me.host, me.pid, me.job, os.environ.get("CUDA_VISIBLE_DEVICES"))
    state.started, state.attempts = time.time(), 1 + (before.attempts if before else 0)
    source = str(code_version()["source"])
    state.code = [*(version for version in (before.code if before else []) if version != source), source]
    if before:
        state.metric, state.notes = before.metric, before.notes
    if len(state.code) > 1 and before:
        print(f"{run_dir}: begun by other code ({state.code[-2]}), goes on with {source}", file=sys.stderr, flush=True)
    state.seconds["start"] = round(state.started - born, 3)
    return state


def _record_end(error: BaseException, state: JobState, signals: "Signals", run_dir: Path) -> int:
    stops = isinstance(error, KeyboardInterrupt | Stopped) or type(error).__name__ == "Interrupted"
    if stops or signals.received:
        state.state, state.error = RunStatus.PREEMPTED, f"stopped by {signals.received or type(error).__name__}"
        print(f"{run_dir}: {state.error}; it goes on from its last checkpoint", file=sys.stderr, flush=True)
        return PREEMPTED
    if not (isinstance(error, UserError) or system_error_line(error)):  # their one line says all
        traceback.print_exception(error, file=sys.stderr)
    state.state, state.error = RunStatus.FAILED, error_line(error)
    from src.training.memory import ran_out

    if isinstance(error, Exception) and ran_out(error):
        from src.baselines.systems import predictor_class

        cfg = config_of(run_dir)
        state.error = predictor_class(cfg).out_of_memory_line(cfg)
    print(f"{run_dir}: failed: {state.error}", file=sys.stderr, flush=True)
    return FAILED


def _account(writer: StatusWriter) -> None:
    """Accounts for the time of a finished cell: to its first step, to its last, and to its record."""
    state, seconds = writer.state, writer.state.seconds
    first, last = writer.first or state.started, writer.last or state.started
    seconds["load"] = round(first - state.started, 3)
    seconds["training"] = round(last - first, 3)
    seconds["evaluation"] = round(time.time() - last, 3)


class Signals:
    """SIGTERM ends the work, SIGUSR2 ends it because its time is nearly up; what came is remembered.

    While another handler stands in front of this one, as Lightning's does in training, the end is left to it.
    """

    def __init__(self) -> None:
        self.received: str | None = None
        self.time_up = False

    def __enter__(self) -> "Signals":
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._on) for number in (signal.SIGTERM, signal.SIGUSR2)}
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in getattr(self, "_before", {}).items():
            signal.signal(number, handler)

    def _on(self, number: int, frame: object) -> None:
        self.received = self.received or signal.Signals(number).name
        if number == signal.SIGUSR2:
            self.time_up = True
            os.kill(os.getpid(), signal.SIGTERM)
        elif signal.getsignal(signal.SIGTERM) == self._on:
            raise Stopped


def requeue(time_up: bool) -> None:
    """Puts this Slurm job back into its queue, unless someone cancelled it.

    A job that ends within the grace of its preemption, or before its time limit, is over for Slurm.
    Outside Slurm the launcher, or the next start of the sweep, goes on.
    """
    job = this_process().job
    if not job:
        return
    queue = subprocess.run(["squeue", "-h", "-j", job, "-o", "%T %r"], capture_output=True, text=True, check=False)
    if time_up or queue.stdout.startswith("RUNNING") or "TimeLimit" in queue.stdout:
        subprocess.run(["scontrol", "requeue", job], check=False)


def process_start() -> float:
    """Returns when this process was born, in seconds since 1970; a child of a fork server is born at its fork."""
    born = this_process().born / os.sysconf("SC_CLK_TCK")
    return time.time() - (time.clock_gettime(time.CLOCK_BOOTTIME) - born)


@contextmanager
def logged(path: Path) -> Iterator[None]:
    """Sends everything that this process and its children print to the end of a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    sys.stdout.flush()
    sys.stderr.flush()
    kept = [os.dup(1), os.dup(2)]
    with path.open("a", buffering=1) as file:
        for target in (1, 2):
            os.dup2(file.fileno(), target)
        try:
            with redirect_stdout(file), redirect_stderr(file):
                yield
        finally:
            for target, source in zip((1, 2), kept, strict=True):
                os.dup2(source, target)
                os.close(source)
