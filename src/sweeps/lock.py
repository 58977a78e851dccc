"""A lock on a run's folder that a dead process cannot hold for ever, also over a file system that nodes share.

Each holder is a file of its own, numbered: 1, 2, 3. To take the lock is to create the next number, which the file
system grants to one process alone, so that two that find the same holder dead never both take its place. A holder
beats: it counts up in a file beside its own. A dead process on this machine is known at once by its id and the time
it was born; on another machine by a count that stands still for `STALE_S`, whatever the clocks say. A holder that
finds a higher number than its own was taken for dead, and stops.
"""

import json
import os
import shutil
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

from src.shell.errors import UserError

FOLDER = ".lock"

BEAT_S = 5.0
"""Seconds between two beats of a holder."""

STALE_S = 60.0
"""Seconds without a beat after which a holder on another machine is dead: twelve beats."""

LOST = 77
"""Exit status of a process whose lock was taken because it had not beaten for too long."""


@dataclass(frozen=True)
class Holder:
    """Who holds a lock.

    Attributes:
        machine: one boot of one machine, and one space of process ids on it.
        born: when the process started, in ticks since the machine did; ids are used again, pairs are not.
        job: the Slurm job, where there is one.
    """

    host: str
    machine: str
    pid: int
    born: int
    job: str | None

    def __str__(self) -> str:
        return f"{self.host} pid {self.pid}" + (f" job {self.job}" if self.job else "")


class Busy(Exception):
    """Another process holds the lock and lives."""

    def __init__(self, holder: Holder | None) -> None:
        super().__init__(str(holder or "another process"))
        self.holder = holder


@contextmanager
def holding(run_dir: Path, beat_s: float = BEAT_S, stale_s: float = STALE_S) -> Iterator[None]:
    """Holds the lock of a run's folder, and beats.

    Where the holder runs on another machine this watches it until it beats or is stale, a minute at most.

    Raises:
        Busy: another process works on the run.
    """
    folder = run_dir / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    number = _take(folder, stale_s)
    done = threading.Event()
    beating = threading.Thread(target=_beat, args=(folder, number, beat_s, done), daemon=True)
    beating.start()
    try:
        yield
    finally:
        done.set()
        beating.join()
        if folder.is_dir():
            (folder / f"{number}.released").touch()


@contextmanager
def alone(run_dir: Path) -> Iterator[None]:
    """Holds the lock of a run that was started by itself, and leaves none behind.

    Raises:
        UserError: another process works on the run.
    """
    try:
        with holding(run_dir):
            yield
            remove(run_dir)
    except Busy as busy:
        raise UserError(f"{run_dir}: {busy} works on it; wait for it, or stop it first") from None


def remove(run_dir: Path) -> None:
    """Removes the lock of a run that is finished, which nobody needs any more."""
    shutil.rmtree(run_dir / FOLDER, ignore_errors=True)


def held_by(run_dir: Path, stale_s: float = STALE_S) -> Holder | None:
    """Who holds the lock, as far as one look can tell: another machine's holder lives while its beat is young."""
    number = _newest(run_dir / FOLDER)
    if not number or (run_dir / FOLDER / f"{number}.released").exists():
        return None
    holder = _read(run_dir / FOLDER, number)
    if holder and holder.machine == this_process().machine:
        return holder if _alive(holder) else None
    try:
        age = time.time() - (run_dir / FOLDER / f"{number}.beat").stat().st_mtime
    except OSError:
        return None
    return holder if age < stale_s else None


def this_process() -> Holder:
    """The process that asks, as a holder."""
    array, task = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    job = f"{array}_{task}" if array else os.environ.get("SLURM_JOB_ID")
    return Holder(socket.gethostname(), _machine(), os.getpid(), _born(os.getpid()) or 0, job)


def _take(folder: Path, stale_s: float) -> int:
    while True:
        number = _newest(folder)
        if number and not (folder / f"{number}.released").exists():
            _await_death(folder, number, stale_s)
        try:
            descriptor = os.open(folder / str(number + 1), os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
        except FileExistsError:
            continue  # another was faster; look who
        with os.fdopen(descriptor, "w") as file:
            json.dump(asdict(this_process()), file)
        if _newest(folder) == number + 1:
            _forget(folder, number - 1)
            return number + 1
        (folder / f"{number + 1}.released").touch()  # the first look was at an old list of the folder


def _forget(folder: Path, last: int) -> None:
    """Removes what holders up to number `last` left."""
    for name in os.listdir(folder):
        if int(name.partition(".")[0]) <= last:
            (folder / name).unlink(missing_ok=True)


def _await_death(folder: Path, number: int, stale_s: float) -> None:
    """Returns when a holder is dead or gives its lock back; raises Busy when it lives."""
    first, start = _count(folder, number), time.monotonic()
    while not (folder / f"{number}.released").exists():
        holder = _read(folder, number)
        if holder and holder.machine == this_process().machine:
            if _alive(holder):
                raise Busy(holder)
            return
        if _count(folder, number) != first:
            raise Busy(holder)
        if time.monotonic() - start > stale_s:
            return
        time.sleep(min(1.0, stale_s / 10))


def _beat(folder: Path, number: int, beat_s: float, done: threading.Event) -> None:
    count = 0
    while True:
        count += 1
        try:
            (folder / f"{number}.beat").write_text(str(count))
        except FileNotFoundError:
            pass  # the run's folder was removed
        except OSError as error:  # a file system that is away for a moment is no reason to give up
            print(f"lock {folder}: {type(error).__name__}", file=sys.stderr, flush=True)
        if (folder / str(number + 1)).exists():
            print(f"{folder.parent}: another process took this run over; stopping", file=sys.stderr, flush=True)
            os._exit(LOST)
        if done.wait(beat_s):
            return


def _newest(folder: Path) -> int:
    try:
        return max((int(name) for name in os.listdir(folder) if name.isdigit()), default=0)
    except FileNotFoundError:
        return 0


def _read(folder: Path, number: int) -> Holder | None:
    try:
        return Holder(**json.loads((folder / str(number)).read_text()))
    except (OSError, ValueError, TypeError):
        return None  # just being written, or by a process that died in writing it


def _count(folder: Path, number: int) -> str | None:
    try:
        return (folder / f"{number}.beat").read_text()
    except OSError:
        return None


def _alive(holder: Holder) -> bool:
    return _born(holder.pid) == holder.born


def _born(pid: int) -> int | None:
    """The start of a living process in ticks since the machine's; None when it is dead or a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None if Path("/proc/self").exists() else _born_elsewhere(pid)
    return None if fields[0] in "ZX" else int(fields[19])


def _born_elsewhere(pid: int) -> int | None:
    """The same where there is no /proc: whether the process lives, without its age."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        return 0
    return 0


@cache
def _machine() -> str:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return socket.gethostname()
