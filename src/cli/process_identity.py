"""Says which process this is, and whether one that left its name somewhere still lives."""

import os
import socket
from functools import cache
from pathlib import Path


@cache
def machine() -> str:
    """Names the boot, the space of process ids and the host; copies of a machine share the first two."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')} {socket.gethostname()}"
    except OSError:
        return socket.gethostname()


def born(pid: int) -> int | None:
    """Returns when a living process started, in ticks since the machine did; None when it is dead or a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None if Path("/proc/self").exists() else _born_without_proc(pid)
    return None if fields[0] in "ZX" else int(fields[19])


def _born_without_proc(pid: int) -> int | None:
    """Returns zero where the process lives: its age is not known without /proc."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        return 0
    return 0
