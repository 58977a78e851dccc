"""Holds the errors that a person at a terminal is meant to read."""

import errno
import os
import re
from collections.abc import Sequence

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""A full disk, a quota, and a limit on files."""

TO_DO = {
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), "allow it, or name another place"),
    **dict.fromkeys((errno.EEXIST, errno.ENOTDIR, errno.EISDIR), "name another place, or move what is there"),
    **dict.fromkeys((errno.EIO, errno.ESTALE, errno.ENOTCONN, errno.ENODEV), "is the disk sound and mounted?"),
    errno.ENOENT: "is it mounted, and spelt right?",
    errno.ENAMETOOLONG: "shorten it",
    errno.EPIPE: "what read the output has ended",
    errno.EMFILE: "raise ulimit -n",
    errno.ENOMEM: "run it where more memory is free",
}
"""What mends an error of the system, by its number."""


class UserError(ValueError):
    """A user error is a problem that the person who typed the command can mend.

    The message names the file, row, key or value, and what to do. Entry points print it without a
    traceback and exit with status 2.
    """


class Interrupted(Exception):
    """A signal asked the process to end, and its work was saved; the same command goes on with it.

    Attributes:
        signal: number of the signal. Entry points exit with 128 plus it, as shells do.
    """

    def __init__(self, signal: int) -> None:
        super().__init__(f"stopped by signal {signal}; the same command goes on from here")
        self.signal = signal


def raise_all(problems: Sequence[str], where: str) -> None:
    """Raises one UserError that lists every problem; does nothing when there are none.

    >>> raise_all([], "train")
    >>> raise_all(["lora.r=0: must be at least 1", "max_len=0: must be at least 8"], "train")
    Traceback (most recent call last):
    src.cli.errors.UserError: train: 2 problems
      lora.r=0: must be at least 1
      max_len=0: must be at least 8
    """
    if problems:
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        raise UserError("\n  ".join([f"{where}: {count}", *problems]))


def system_error_number(error: BaseException) -> int | None:
    """Returns the system's number of an error; libraries written in Rust, and NumPy, tell it in their text alone.

    >>> system_error_number(ValueError("I/O error: No space left on device (os error 28)"))
    28
    """
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno
    if isinstance(error, OSError) and re.fullmatch(r"\d+ requested and \d+ written", str(error)):
        return errno.ENOSPC
    match = re.search(r"\(os error (\d+)\)", str(error)) if isinstance(error, Exception) else None
    return int(match[1]) if match else None


def system_error_line(error: BaseException) -> str | None:
    """Writes a sentence on an error of the system that its user can mend, without what was read; else None.

    >>> system_error_line(PermissionError(13, "Permission denied", "runs/a"))
    'runs/a: Permission denied; allow it, or name another place'
    >>> system_error_line(MemoryError())
    'memory ran out; run it where more is free'
    """
    if isinstance(error, MemoryError):
        return "memory ran out; run it where more is free"
    if (number := system_error_number(error)) is None:
        return None
    where = f"{os.fsdecode(name)}: " if isinstance(name := getattr(error, "filename", None), str | bytes) else ""
    if number in FULL:
        return f"{where}the disk is full, or a limit on files is reached; free some space and run it again"
    return f"{where}{os.strerror(number)}" + (f"; {TO_DO[number]}" if number in TO_DO else "")
