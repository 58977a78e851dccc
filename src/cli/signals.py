"""Notices at once a signal that asks a long job to end, and ends the job where its work can be saved."""

import signal
from types import FrameType, TracebackType
from typing import Any

from src.cli.errors import Interrupted

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
"""What Slurm and Kubernetes send before they kill, Ctrl-C, and Slurm's `--signal=USR1@SECONDS`."""


class Stop:
    """While entered, a signal only leaves its number in `received`; the same signal again ends the process as ever."""

    def __init__(self) -> None:
        self.received: int | None = None
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> "Stop":
        self._before = {number: signal.getsignal(number) for number in SIGNALS}
        self.listen()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def listen(self) -> None:
        """Listens again, after a library has set handlers of its own."""
        for number in SIGNALS:
            signal.signal(number, self._noticed)

    def check(self) -> None:
        """Raises `Interrupted` when a signal came."""
        if self.received is not None:
            raise Interrupted(self.received)

    def _noticed(self, number: int, frame: FrameType | None) -> None:
        self.received = number
        signal.signal(number, self._before.get(signal.Signals(number)) or signal.SIG_DFL)
