"""Scores notes of several clients together: one thread owns the model, and takes what waits a batch at a time."""

import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Lock
from typing import ParamSpec, TypeVar

import polars as pl

P = ParamSpec("P")
R = TypeVar("R")

WINDOW = 0.004
"""Seconds in which further requests join a batch; while a batch is scored, they join the next without."""

NOTES_A_BATCH = 64


class QueueFullError(Exception):
    """More notes wait than the queue takes; a client is to ask again later."""


class ShareFullError(Exception):
    """So many notes of one client wait that its next ones would leave others too few places."""


@dataclass(frozen=True, eq=False)
class Ticket:
    """Holds the notes of one request, and what becomes of them."""

    notes: pl.DataFrame
    client: str
    future: "Future[pl.DataFrame]" = field(default_factory=Future)


class ScoringQueue:
    """Gathers requests; a request that its client cancels before it is scored takes no time of the model.

    A client whose notes wait gets further places while at least as many stay free as it then has: one client takes half
    of the queue at most, two a third each, so that there is room for the next.

    Args:
        score: scores rows of `id` and others, a row each in their order; it runs in the queue's thread alone.
        limit: notes that wait at most.
    """

    def __init__(self, score: Callable[[pl.DataFrame], pl.DataFrame], limit: int) -> None:
        self.score, self.limit = score, limit
        self._waiting: deque[Ticket] = deque()
        self._lock = Lock()
        self._thread = ThreadPoolExecutor(1, "model")

    @property
    def waiting(self) -> int:
        """Counts the notes that wait."""
        with self._lock:
            return self._count()

    def put(self, notes: pl.DataFrame, client: str) -> "Future[pl.DataFrame]":
        """Adds the notes of a request; cancelling what it returns takes them out again.

        Raises:
            ShareFullError: too many of this client wait.
            QueueFullError: too many wait.
        """
        ticket = Ticket(notes, client)
        with self._lock:
            free = self.limit - self._count() - notes.height
            own = sum(waiting.notes.height for waiting in self._waiting if waiting.client == client)
            if own and own + notes.height > free:
                raise ShareFullError
            if free < 0:
                raise QueueFullError
            self._waiting.append(ticket)
        self._thread.submit(self._drain)
        return ticket.future

    def call(self, work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> "Future[R]":
        """Lets the thread that owns the model do something else with it, after what waits."""
        return self._thread.submit(work, *args, **kwargs)

    def close(self) -> None:
        """Cancels what waits, and ends the thread after the batch in hand."""
        with self._lock:
            for ticket in self._waiting:
                ticket.future.cancel()
        self._thread.shutdown(cancel_futures=True)

    def _count(self) -> int:
        self._waiting = deque(ticket for ticket in self._waiting if not ticket.future.cancelled())
        return sum(ticket.notes.height for ticket in self._waiting)

    def _drain(self) -> None:
        if not self._waiting:  # an earlier batch took them
            return
        time.sleep(WINDOW)
        taken: list[Ticket] = []
        with self._lock:
            while self._waiting and (
                not taken or sum(ticket.notes.height for ticket in [*taken, self._waiting[0]]) <= NOTES_A_BATCH
            ):
                ticket = self._waiting.popleft()
                if ticket.future.set_running_or_notify_cancel():
                    taken.append(ticket)
        if taken:
            self._answer(taken)

    def _answer(self, tickets: Sequence[Ticket]) -> None:
        """Scores several requests at once; where that fails, each alone, so that no client bears another's fault."""
        rows = pl.concat([ticket.notes for ticket in tickets])
        try:
            # Ids of two clients may be the same.
            scored = self.score(rows.with_columns(id=pl.int_range(pl.len()).cast(pl.String)))
        except Exception as error:
            if len(tickets) == 1:
                tickets[0].future.set_exception(error)
                return
            for ticket in tickets:
                self._answer([ticket])
            return
        start = 0
        for ticket in tickets:
            ticket.future.set_result(scored.slice(start, ticket.notes.height).with_columns(id=ticket.notes["id"]))
            start += ticket.notes.height
