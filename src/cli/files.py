"""Writes files and folders that are whole or absent, private and durable: beside their place, then renamed.

A name beside its place tells the machine, process and birth of its writer. The next start removes what a dead writer
left; what a writer on another machine left it removes after a day without a change, by the clock of the file system.
"""

import errno
import hashlib
import os
import re
import shutil
import stat
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from src.cli.errors import FULL, UserError, system_error_number
from src.cli.process_identity import born, machine

ACCESS = "DRG_LLAMA_ACCESS"
"""The environment variable that lets the group read what we write: `group`."""

STALE_S = 86400.0
"""Seconds without a change after which a file of a writer that cannot be asked is left over."""

LEFTOVER = re.compile(r"\.(?P<name>.+)\.by-(?P<machine>[0-9a-f]{8})-(?P<pid>\d+)-(?P<born>\d+)-[0-9a-f]{8}")

NEW, FORMER = "new", "former"
"""What a folder that is being exchanged becomes and was. Both lie in one folder beside it: who removes that folder
keeps its writer from touching the one in its place."""

_guards: list[tuple[Path, Callable[[], None]]] = []
_swept: set[Path] = set()
_begun: set[Path] = set()


def access_mask() -> int:
    """Returns the bits that no file of ours has: all of others, and of the group unless `DRG_LLAMA_ACCESS=group`.

    Raises:
        UserError: the variable holds something else.
    """
    access = os.environ.get(ACCESS, "")
    if access not in ("", "group"):
        raise UserError(f"{ACCESS}={access}: must be group, or not set")
    return 0o027 if access else 0o077


def private_folder(path: Path, whole: bool = False) -> Path:
    """Makes a folder that only its owner reads, its parents too; one that is there becomes so where it is ours.

    Args:
        path: the folder.
        whole: what is in it becomes so as well.
    """
    if not path.is_dir():
        missing = [folder for folder in (path, *path.parents) if not folder.exists()]
        for folder in reversed(missing or [path]):
            folder.mkdir(mode=0o777 & ~access_mask(), exist_ok=True)
            _sync(folder.parent)
    elif path.stat().st_mode & 0o777 & access_mask():
        print(f"{path}: others could read it; now its owner alone, or its group with {ACCESS}=group", file=sys.stderr)
    _make_private(path)
    if whole:
        _settle(path, durable=False)
    return path


def check_folder(folder: Path, instead: str) -> None:
    """Tries whether a folder can be made, or written to, before the work whose results go there.

    Args:
        folder: the folder.
        instead: what to do where it cannot.

    Raises:
        UserError: it, or one above it, is a file or may not be written.
    """
    whole = folder.absolute()
    nearest = next(path for path in (whole, *whole.parents) if os.path.lexists(path))
    if not nearest.is_dir():
        raise UserError(f"{nearest}: is a file; {instead}, or move it")
    try:
        folder.exists()  # raises where a name is too long
        os.rmdir(tempfile.mkdtemp(prefix=".", dir=nearest))
    except OSError as error:
        raise UserError(f"{folder}: cannot be written ({error.strerror}); {instead}") from None


@contextmanager
def guarded(folder: Path, check: Callable[[], None]) -> Iterator[None]:
    """Calls `check` directly before anything takes its place in `folder`; what it raises keeps it out."""
    guard = (folder.resolve(), check)
    _guards.append(guard)
    try:
        yield
    finally:
        _guards.remove(guard)


def may_write(path: Path) -> None:
    """Calls the checks of every guarded folder that `path` is in."""
    for folder, check in list(_guards):
        if path.resolve().is_relative_to(folder):
            check()


@contextmanager
def atomic_write(path: Path, former: Path | None = None) -> Iterator[Path]:
    """Yields a path beside `path` that takes its place on success and is removed on failure.

    Args:
        path: the file.
        former: where the file that is there goes.
    """
    tmp = _tmp_path(path)
    _begun.add(tmp)
    try:
        with _named(path, tmp):
            # Made with its final mode before anything is written: nobody else can open it in between.
            os.close(os.open(tmp, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666 & ~access_mask()))
            _remove_of_dead_writers(path, tmp.stat().st_mtime)
            yield tmp
            _settle(tmp)
        if former and path.exists():
            _rename(path, former)
        _rename(tmp, path)
    finally:
        _abandon(tmp)


def abandon() -> None:
    """Removes what this process has begun to write and not put in place, before it ends without unwinding."""
    for tmp in list(_begun):
        _abandon(tmp)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yields an empty folder beside `path` that takes its place on success and is removed on failure.

    Raises:
        UserError: `path` is a file, or a folder that holds something.
    """
    if path.is_dir() and any(path.iterdir()):
        raise UserError(f"{path}: the folder is not empty; name another, or remove it first")
    if path.exists() and not path.is_dir():
        raise UserError(f"{path}: is a file; name a folder, or remove it first")
    with _tmp_folder(path) as tmp:
        with _named(path, tmp):
            yield tmp
            _settle(tmp)
        _rename(tmp, path)  # over an empty folder too


@contextmanager
def exchanging_folder(path: Path, ours: Callable[[Path], bool], instead: str) -> Iterator[Path]:
    """Yields an empty folder beside `path` that takes its place on success, also of an earlier one of the same kind.

    Args:
        path: the folder.
        ours: whether a folder that is there may be replaced.
        instead: what to do where it may not.

    Raises:
        UserError: `path` is a file, or holds something that is not ours.
    """
    if path.exists() and not (path.is_dir() and (not any(path.iterdir()) or ours(path))):
        raise UserError(f"{path}: is there and holds something else; {instead}")
    with _tmp_folder(path) as tmp:
        new, former = tmp / NEW, tmp / FORMER
        new.mkdir(mode=0o777 & ~access_mask())
        with _named(path, new):
            yield new
            _settle(new)
        # Two renames, as no system call that Python has exchanges two folders; what ends in between is put back.
        if path.exists():
            _rename(path, former)
        try:
            _rename(new, path)
        except BaseException:
            _restore(tmp, path)
            raise


@contextmanager
def appending(path: Path) -> Iterator[BinaryIO]:
    """Opens a file to append to, private like the others; what was written is on the disk at the end."""
    may_write(path)
    handle = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o666 & ~access_mask())
    with os.fdopen(handle, "ab") as file:
        _make_private(path)
        with _named(path, path):
            yield file
            file.flush()
            os.fsync(file.fileno())


@contextmanager
def _named(path: Path, tmp: Path) -> Iterator[None]:
    """Names `path` in an error of the system that names what is beside it, or of a full disk that names nothing."""
    try:
        yield
    except Exception as error:
        name, number = getattr(error, "filename", None), system_error_number(error)
        if isinstance(name, str) and Path(name).is_relative_to(tmp):
            raise OSError(number, os.strerror(number or 0), str(path / Path(name).relative_to(tmp))) from error
        if name is None and number in FULL:
            raise OSError(number, os.strerror(number), str(path)) from error
        raise


@contextmanager
def _tmp_folder(path: Path) -> Iterator[Path]:
    tmp = _tmp_path(path)
    _begun.add(tmp)
    try:
        with _named(path, tmp):
            tmp.mkdir(mode=0o777 & ~access_mask())
        _remove_of_dead_writers(path, tmp.stat().st_mtime)
        yield tmp
    finally:
        _abandon(tmp)


def _abandon(tmp: Path) -> None:
    _begun.discard(tmp)
    shutil.rmtree(tmp, ignore_errors=True)  # a folder; what follows removes a file
    with suppress(OSError):
        tmp.unlink()


def _tmp_path(path: Path) -> Path:
    if not path.parent.is_dir():
        private_folder(path.parent)
    writer = f"by-{_machine_hash()}-{os.getpid()}-{born(os.getpid()) or 0}"
    return path.with_name(f".{path.name}.{writer}-{uuid.uuid4().hex[:8]}")


def _machine_hash() -> str:
    return hashlib.sha256(machine().encode()).hexdigest()[:8]


def _rename(source: Path, target: Path) -> None:
    may_write(target)
    try:
        os.replace(source, target)
    except FileNotFoundError:
        may_write(target)  # who took the folder over removed what was about to take its place
        raise
    _sync(target.parent)  # the new name is in the folder, and lasts once that is on the disk


def _settle(path: Path, durable: bool = True) -> None:
    """Makes a file, or a folder with all that it holds, private and durable."""
    if path.is_symlink():  # what it points to is not ours
        return
    if path.is_dir():
        for inner in path.iterdir():
            _settle(inner, durable)
    _make_private(path)
    if durable:
        _sync(path)


def _make_private(path: Path) -> None:
    """Takes from a mode what others may do; what another user owns, or a read-only file system holds, keeps its own."""
    with suppress(FileNotFoundError):  # removed by another process meanwhile
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode & access_mask():
            with suppress(OSError):
                path.chmod(mode & ~access_mask())


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # a file system that syncs no folders
            raise OSError(error.errno, error.strerror, str(path)) from None
    finally:
        os.close(handle)


def _remove_of_dead_writers(path: Path, now: float) -> None:
    """Removes what dead processes left in a folder, once a process for each `path` in it.

    Args:
        path: what is about to be written; earlier versions named what they wrote beside it `.NAME.HEX`.
        now: the file system's own time.
    """
    if path in _swept:
        return
    _swept.add(path)
    earlier = re.compile(rf"\.{re.escape(path.name)}\.[0-9a-f]{{8}}")
    try:
        entries = list(path.parent.iterdir())
    except PermissionError:  # a folder that can be written and not listed
        return
    for entry in entries:
        match = LEFTOVER.fullmatch(entry.name)
        if not match and not earlier.fullmatch(entry.name):
            continue
        # Ids of processes are given again: a writer lives if the process of its id was born when the writer was. What
        # another machine's processes do cannot be seen from here.
        if match and match["machine"] == _machine_hash():
            left = born(int(match["pid"])) != int(match["born"])
        else:
            left = now - _changed(entry) > STALE_S
        if left:
            _remove(entry, match["name"] if match else path.name)


def remove_leftovers(folder: Path) -> None:
    """Removes whatever half-written files lie in a folder and in those in it; their writers no longer hold it."""
    for entry in [*folder.glob(".*"), *folder.glob("[!.]*/.*")]:
        if match := LEFTOVER.fullmatch(entry.name):
            _remove(entry, match["name"])


def _remove(entry: Path, name: str) -> None:
    _restore(entry, entry.with_name(name))
    _abandon(entry)


def _restore(tmp: Path, path: Path) -> None:
    """Puts back a folder whose writer ended between taking it away and putting the new one in its place."""
    if (tmp / FORMER).is_dir() and not path.exists():
        os.replace(tmp / FORMER, path)


def _changed(path: Path) -> float:
    """Returns when a file, or anything in a folder, was last written, in seconds of the file system's clock."""
    times = [0.0]
    for inner in (path, *path.rglob("*")):
        with suppress(FileNotFoundError):
            times.append(inner.lstat().st_mtime)
    return max(times)
