"""Progress with an estimate: a bar on a terminal, a line now and then elsewhere."""

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, TypeVar

T = TypeVar("T")

SECONDS_BETWEEN_LINES = 15.0
"""A log stays readable at four lines a minute."""


def track(items: Iterable[T], *, total: int, what: str, unit: str) -> Iterator[T]:
    """Yields `items` and tells on standard error how far they are and how long the rest will take."""
    if sys.stderr.isatty():
        from tqdm import tqdm

        yield from tqdm(items, total=total, desc=what, unit=f" {unit}", file=sys.stderr)
        return
    clock = Clock(total=total, what=what, unit=unit)
    for item in items:
        yield item
        clock.step()


class Clock:
    """A count that prints one line with an estimate every quarter of a minute."""

    def __init__(self, *, total: int, what: str, unit: str) -> None:
        self.total, self.what, self.unit = total, what, unit
        self.done = 0
        self.start = self.said = time.monotonic()

    def step(self, note: Callable[[], str] = str) -> None:
        """Counts one more item; where a line is due, what `note` gives is added to it.

        It is asked then alone, so that it may wait for a device.
        """
        self.done += 1
        now = time.monotonic()
        for listener in _listeners:
            listener.advanced(self, now - self.start)
        if now - self.said >= SECONDS_BETWEEN_LINES:
            self.said = now
            print(self.line(now - self.start, note()), file=sys.stderr, flush=True)

    def line(self, elapsed: float, note: str = "") -> str:
        """The line after `elapsed` seconds.

        >>> clock = Clock(total=100, what="notes", unit="note")
        >>> clock.done = 25
        >>> clock.line(60.0, "loss 2.31")
        'notes: 25 of 100, 1:00 gone, 3:00 left, loss 2.31'
        """
        left = elapsed / max(self.done, 1) * max(self.total - self.done, 0)
        text = f"{self.what}: {self.done} of {self.total}, {minutes(elapsed)} gone, {minutes(left)} left"
        return f"{text}, {note}" if note else text


class Listener(Protocol):
    """Who wants to know how far the work of this process is."""

    def advanced(self, clock: Clock, elapsed: float) -> None:
        """`clock.done` of `clock.total` items are done after `elapsed` seconds."""

    def measured(self, accuracy: float, notes: int) -> None:
        """Validation of an epoch ended with this accuracy on so many notes."""


_listeners: list[Listener] = []


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Tells `listener` of every count that advances, and of every validation."""
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)


def measured(accuracy: float, notes: int) -> None:
    """Tells whoever listens the accuracy of a validation."""
    for listener in _listeners:
        listener.measured(accuracy, notes)


class Bytes:
    """How far a file is read: a bar on a terminal, a line now and then elsewhere."""

    def __init__(self, path: Path, what: str) -> None:
        self.total, self.what = max(1, path.stat().st_size), what
        self.place = 0
        self._bar: Any = None
        self._clock = Clock(total=100, what=what, unit="%")

    def __enter__(self) -> "Bytes":
        if sys.stderr.isatty():
            from tqdm import tqdm

            self._bar = tqdm(total=self.total, desc=self.what, unit="B", unit_scale=True, file=sys.stderr)
        return self

    def __exit__(self, *error: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def at(self, place: int) -> None:
        """Tells that `place` bytes of the file are read."""
        if self._bar is not None:
            self._bar.update(place - self.place)
        else:
            self._clock.done = round(100 * place / self.total) - 1
            self._clock.step()
        self.place = place


def minutes(seconds: float) -> str:
    """Minutes and seconds, hours in front when there are any.

    >>> minutes(75), minutes(3725)
    ('1:15', '1:02:05')
    """
    whole = round(seconds)
    hours, rest = divmod(whole, 3600)
    clock = f"{rest // 60:02d}:{rest % 60:02d}" if hours else f"{rest // 60}:{rest % 60:02d}"
    return f"{hours}:{clock}" if hours else clock
