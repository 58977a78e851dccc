"""A lock gives a run's folder to one process; a dead one cannot hold it for ever, even on a shared file system.

Each holder is a file of its own, numbered: 1, 2, 3. To take the lock is to create the next number, which the file
system grants to one process alone, so that two that find the same holder dead never both take its place. Numbers only
grow while the folder lives. A holder beats: it counts up in a file beside its own. A dead process on this machine is
known at once by its id and the time it was born; on another machine by a count that stands still for `STALE_S`,
whatever the clocks say.

A process that was frozen and taken for dead may wake. It has lost the lock as soon as it cannot read its own file, or
there is a newer one: it says so and ends. It looks at each beat, when it begins a file in the run's folder, and again
directly before the file takes its place (`src.cli.files.guarded`). Who takes a lock removes the earlier holder's
file and every half-written file of the run first, so that a rename which the frozen process had decided on finds
nothing to rename. What may be left of it is a hidden half-written file, and a line that it was about to append to the
history, which repeats a step.

This needs of a file system that creating with O_EXCL, renaming and removing are atomic, and that opening a file asks
whether it still exists: ext4, XFS, Lustre, GPFS, BeeGFS and NFS from version 3 on, not with `nocto`. Object stores
mounted as folders have none of it. Libraries for locks (filelock, fasteners, flufl.lock) were tried first: they trust
flock, which not every cluster's file system passes on, or the clocks, and none notices that it lost its lock.
"""

import json
import os
import socket
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from src.cli.errors import UserError
from src.cli.files import abandon, guarded, remove_leftovers
from src.cli.process_identity import born, machine
from src.runs.folder import RunFolder

BEAT_S = 5.0
"""Seconds between two beats of a holder."""

STALE_S = 60.0
"""Seconds without a beat after which a holder on another machine is dead: twelve beats."""

LOST = 77
"""Exit status of a process whose lock was taken because it had not beaten for too long."""


@dataclass(frozen=True)
class Holder:
    """Identifies the process that holds a lock.

    Attributes:
        machine: one boot of one machine, and one space of process ids on it.
        born: when the process started, in ticks since the machine did; ids are used again, pairs are not.
        job: the Slurm job, where there is one.
        nonce: tells this taking of the lock from every other.
    """

    host: str
    machine: str
    pid: int
    born: int
    job: str | None
    nonce: str = ""

    def __str__(self) -> str:
        return f"{self.host} pid {self.pid}" + (f" job {self.job}" if self.job else "")


class Busy(Exception):
    """Another process holds the lock and lives."""

    def __init__(self, holder: Holder | None) -> None:
        super().__init__(str(holder or "another process"))
        self.holder = holder


@contextmanager
def holding(run_dir: Path, beat_s: float = BEAT_S, stale_s: float = STALE_S) -> Iterator[None]:
    """Holds the lock of a run's folder, and beats; files in the folder take their places while it is held alone.

    Where the holder runs on another machine this watches it until it beats or is stale, a minute at most.

    Raises:
        Busy: another process works on the run.
    """
    lock = _take(RunFolder(run_dir).lock, stale_s)
    lock.beat(1)
    done = threading.Event()
    # A daemon: it must not keep a process alive, and its lock fresh, whose main thread is gone.
    beating = threading.Thread(target=_keep_beating, args=(lock, beat_s, done), daemon=True)
    beating.start()
    try:
        with guarded(run_dir, lock.check):
            yield
    finally:
        done.set()
        beating.join()
        lock.release()


@contextmanager
def exclusive(run_dir: Path) -> Iterator[None]:
    """Holds the lock of a run that was started by itself.

    Raises:
        UserError: another process works on the run.
    """
    try:
        with holding(run_dir):
            yield
    except Busy as busy:
        raise UserError(f"{run_dir}: {busy} works on it; wait for it, or stop it first") from None


def held_by(run_dir: Path, beat_s: float = BEAT_S, stale_s: float = STALE_S) -> Holder | None:
    """Names who holds the lock, as far as a look can tell: another machine's holder lives while its beat is young.

    The beat's age is measured by the file system's clock, not by this machine's. A beat of the future comes from a
    file system that stamps files with the clocks of its writers: such a holder is watched for three beats.
    """
    folder = RunFolder(run_dir).lock
    number = _newest(folder)
    if not number or (folder / f"{number}.released").exists():
        return None
    holder = _read(folder, number)
    if holder and holder.machine == this_process().machine:
        return holder if _alive(holder) else None
    try:
        age = _clock(folder) - (folder / f"{number}.beat").stat().st_mtime
    except OSError:
        return None
    if age < -2 * beat_s:
        return holder if _beats(folder, number, 3 * beat_s) else None
    return holder if age < stale_s else None


def this_process() -> Holder:
    """Describes the process that asks, as a holder."""
    array, task = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    job = f"{array}_{task}" if array else os.environ.get("SLURM_JOB_ID")
    return Holder(socket.gethostname(), machine(), os.getpid(), born(os.getpid()) or 0, job)


@dataclass(frozen=True)
class HeldLock:
    """Stands for a lock that this process took."""

    folder: Path
    number: int
    holder: Holder

    @property
    def ours(self) -> bool:
        """Says whether no other process took it since; what cannot be seen is lost."""
        return _newest(self.folder) == self.number and _read(self.folder, self.number) == self.holder

    def check(self) -> None:
        """Ends the process at once where the lock was lost: nothing of it may reach the run's folder any more."""
        if not self.ours:
            newest = _newest(self.folder)
            if newest > self.number:  # a beat that was under way when later holders removed ours comes after them
                with suppress(OSError):
                    (self.folder / f"{self.number}.beat").unlink()
            why = "another process took this run over" if newest else "its .lock was removed"
            print(f"{self.folder.parent}: {why}; stopping", file=sys.stderr, flush=True)
            abandon()
            # Not sys.exit: in the beating thread it ends that thread alone, elsewhere it runs code that still writes.
            os._exit(LOST)

    def beat(self, count: int) -> None:
        """Shows that this process lives; ends it where the lock was lost."""
        try:
            self.check()
            # Not atomic, and need not be: who reads half a count sees a change, which is all that a beat has to show.
            (self.folder / f"{self.number}.beat").write_text(str(count))
        except OSError as error:  # a file system that is away for a moment is no reason to give up
            print(f"lock {self.folder}: {type(error).__name__}", file=sys.stderr, flush=True)

    def release(self) -> None:
        """Gives the lock back; its number stays, but where nothing else was written the run's folder goes."""
        with suppress(OSError):  # of a file system that is away: the lock is stale soon
            if self.ours:
                (self.folder / f"{self.number}.released").touch()
                if os.listdir(self.folder.parent) == [self.folder.name]:
                    _forget(self.folder, self.number)
                    self.folder.rmdir()  # refused where another has taken the lock by now
                    self.folder.parent.rmdir()


def _take(folder: Path, stale_s: float) -> HeldLock:
    holder = replace(this_process(), nonce=uuid.uuid4().hex)
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        number = _newest(folder)
        if number and not (folder / f"{number}.released").exists():
            _await_death(folder, number, stale_s)
        lock = HeldLock(folder, number + 1, holder)
        try:
            descriptor = os.open(folder / str(lock.number), os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o640)
            with os.fdopen(descriptor, "w") as file:
                json.dump(asdict(holder), file)
            if lock.ours:
                # Asked again: a holder that gave its lock back while it was watched left nothing half-written.
                taken_over = number and not (folder / f"{number}.released").exists()
                _forget(folder, number)
                if taken_over:
                    remove_leftovers(folder.parent)
                return lock
            (folder / f"{lock.number}.released").touch()  # the first look was at an old list of the folder
        except (FileExistsError, FileNotFoundError):
            continue  # another was faster, or removed the folder; look again


def _forget(folder: Path, last: int) -> None:
    """Removes what holders up to number `last` left."""
    for name in os.listdir(folder):
        number = name.partition(".")[0]
        if number.isdecimal() and int(number) <= last:
            (folder / name).unlink(missing_ok=True)


def _await_death(folder: Path, number: int, stale_s: float) -> None:
    """Returns when a holder is dead, gives its lock back or is gone; raises Busy when it lives."""
    holder = _read(folder, number)
    if holder and holder.machine == this_process().machine:
        if _alive(holder):
            raise Busy(holder)
        return
    if _beats(folder, number, stale_s):
        raise Busy(_read(folder, number))


def _beats(folder: Path, number: int, seconds: float) -> bool:
    """Watches whether a holder's count goes on within so many seconds; False at once where it gives its lock back."""
    first, start = _count(folder, number), time.monotonic()
    while not (folder / f"{number}.released").exists() and (folder / str(number)).exists():
        if _count(folder, number) != first:
            return True
        if time.monotonic() - start > seconds:
            return False
        time.sleep(min(1.0, seconds / 10))
    return False


def _keep_beating(lock: HeldLock, beat_s: float, done: threading.Event) -> None:
    count = 1
    while not done.wait(beat_s):
        count += 1
        lock.beat(count)


def _clock(folder: Path) -> float:
    """Asks the clock that stamps a folder's files for the time; this machine's where nothing can be written there."""
    # A name of its own, for two that ask at once would remove each other's file.
    probe = folder / f".clock.{uuid.uuid4().hex[:8]}"
    try:
        probe.touch()
        try:
            return probe.stat().st_mtime
        finally:
            probe.unlink(missing_ok=True)
    except OSError:
        return time.time()


def _newest(folder: Path) -> int:
    try:
        return max((int(name) for name in os.listdir(folder) if name.isdecimal()), default=0)
    except (FileNotFoundError, NotADirectoryError):
        return 0


def _read(folder: Path, number: int) -> Holder | None:
    try:
        holder = Holder(**json.loads((folder / str(number)).read_text()))
    except (FileNotFoundError, PermissionError, ValueError, TypeError, RecursionError):
        return None  # gone, just being written, or by a process that died in writing it
    return holder if isinstance(holder.pid, int) and isinstance(holder.born, int) else None


def _count(folder: Path, number: int) -> str | None:
    try:
        return (folder / f"{number}.beat").read_text()
    except OSError:
        return None


def _alive(holder: Holder) -> bool:
    return born(holder.pid) == holder.born
