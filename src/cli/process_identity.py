"""Which process this is, and whether one that left its name somewhere still lives."""

import os
import socket
from functools import cache
from pathlib import Path


@cache
def machine() -> str:
    """One boot of one machine, one space of process ids on it, and its name: copies of a machine share the former."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')} {socket.gethostname()}"
    except OSError:
        return socket.gethostname()


def born(pid: int) -> int | None:
    """The start of a living process in ticks since the machine's; None when it is dead or a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None if Path("/proc/self").exists() else _born_without_proc(pid)
    return None if fields[0] in "ZX" else int(fields[19])


def _born_without_proc(pid: int) -> int | None:
    """Zero where the process lives: its age is not known without /proc."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        return 0
    return 0
