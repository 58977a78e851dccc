"""Shows progress with an estimate: a bar on a terminal, a line now and then elsewhere."""

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

T = TypeVar("T")

SECONDS_BETWEEN_LINES = 15.0
"""A log stays readable at four lines a minute."""

SECONDS_BETWEEN_NOTES = 0.5
"""A bar asks for its note this often at most: a loss waits for the device."""


def track(items: Iterable[T], *, total: int, what: str, unit: str) -> Iterator[T]:
    """Yields `items` and tells on standard error how far they are and how long the rest will take."""
    with Clock(total=total, what=what, unit=unit) as clock:
        for item in items:
            yield item
            clock.step()


class Clock:
    """Counts on standard error: a bar on a terminal, a line with an estimate every quarter of a minute elsewhere.

    Attributes:
        total: what is counted up to.
        what: the name of the work.
        unit: of what is counted; of bytes `B`, which lines show in per cent.
        quiet: nothing is shown, and no listener hears of it.
        done: how many are done.
    """

    def __init__(self, *, total: int, what: str, unit: str, quiet: bool = False) -> None:
        self.total, self.what, self.unit, self.quiet = total, what, unit, quiet
        self.done = 0
        self.start = self.said = time.monotonic()
        self._bar: Any = None

    def __enter__(self) -> "Clock":
        if sys.stderr.isatty() and not self.quiet:
            self._show(self.start, str)
        return self

    def __exit__(self, *error: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def step(self, note: Callable[[], str] = str) -> None:
        """Counts one more item; where it is shown, what `note` gives is added.

        It is asked then alone, so that it may wait for a device.
        """
        self.reach(self.done + 1, note)

    def reach(self, done: int, note: Callable[[], str] = str) -> None:
        """Counts on to `done` items."""
        if self.quiet:
            return
        self.done, now = done, time.monotonic()
        for listener in _listeners:
            listener.advanced(self, now - self.start)
        if sys.stderr.isatty():
            self._show(now, note)
        elif now - self.said >= SECONDS_BETWEEN_LINES:
            self.said = now
            print(self.line(now - self.start, note()), file=sys.stderr, flush=True)

    def _show(self, now: float, note: Callable[[], str]) -> None:
        if self._bar is None:
            from tqdm import tqdm

            size, unit = self.unit == "B", self.unit if self.unit == "B" else f" {self.unit}"
            self._bar = tqdm(total=self.total, desc=self.what, unit=unit, unit_scale=size, file=sys.stderr)
        if now - self.said >= SECONDS_BETWEEN_NOTES:
            self.said = now
            self._bar.set_postfix_str(note(), refresh=False)
        self._bar.update(self.done - self._bar.n)
        if self.done >= self.total:
            self._bar.close()

    def line(self, elapsed: float, note: str = "") -> str:
        """Writes the line that is shown after `elapsed` seconds.

        >>> clock = Clock(total=100, what="notes", unit="note")
        >>> clock.done = 25
        >>> clock.line(60.0, "loss 2.31")
        'notes: 25 of 100, 1:00 gone, 3:00 left, loss 2.31'
        >>> clock = Clock(total=2000, what="reading", unit="B")
        >>> clock.done = 500
        >>> clock.line(60.0)
        'reading: 25 of 100, 1:00 gone, 3:00 left'
        """
        left = elapsed / max(self.done, 1) * max(self.total - self.done, 0)
        done, total = (round(100 * self.done / self.total), 100) if self.unit == "B" else (self.done, self.total)
        text = f"{self.what}: {done} of {total}, {minutes(elapsed)} gone, {minutes(left)} left"
        return f"{text}, {note}" if note else text


class Listener(Protocol):
    """A listener wants to know how far the work of this process is."""

    def advanced(self, clock: Clock, elapsed: float) -> None:
        """`clock.done` of `clock.total` items are done after `elapsed` seconds."""

    def measured(self, accuracy: float, notes: int) -> None:
        """Validation of an epoch has ended with this accuracy on so many notes."""


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


def minutes(seconds: float) -> str:
    """Writes a time as minutes and seconds, hours in front when there are any.

    >>> minutes(75), minutes(3725)
    ('1:15', '1:02:05')
    """
    whole = round(seconds)
    hours, rest = divmod(whole, 3600)
    clock = f"{rest // 60:02d}:{rest % 60:02d}" if hours else f"{rest // 60}:{rest % 60:02d}"
    return f"{hours}:{clock}" if hours else clock
