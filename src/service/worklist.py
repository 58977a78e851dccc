"""Has a desk's cases scored while it is open, orders them by what a review is worth, and shows those asked for."""

import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from src.cli.progress import Clock
from src.inference.proposals import COLUMNS
from src.service.action_log import LoggedAction
from src.service.request_limits import failure
from src.service.scoring_queue import ScoringQueue

A_PAGE = 50

IN_BACKGROUND = 8
"""Cases that are scored at once while nobody asks: whoever then asks waits for so many at most."""

UNREAD: Mapping[str, Any] = {
    **dict.fromkeys(COLUMNS), "decision": "defer", "reasons": ["the model could not read it"]
}  # fmt: skip
"""Stands for the proposal of a case that cannot be scored: a coder decides without one."""

STATUSES = {"": "open", "accept": "accepted", "override": "overridden", "defer": "deferred", "decide": "decided"}
"""What a case is called after the last action on it."""


@dataclass(frozen=True)
class Encounter:
    """Holds an encounter with what is proposed for it."""

    id: str
    note: str
    days: float | None
    """Days in house, where they are known."""
    proposal: Mapping[str, Any] = field(default_factory=dict)
    """A row of `Proposer.propose`; empty until it is scored."""
    worth: float = 0.0
    """Of a review, see `worth_of`."""


def worth_of(drgs: Sequence[str] | None, probabilities: Sequence[float] | None, weights: Mapping[str, float]) -> float:
    """Computes the expected absolute difference of relative weight between the proposed DRG and the other likely ones.

    >>> round(worth_of(["291", "292"], [0.7, 0.3], {"291": 1.4, "292": 0.9}), 3), worth_of(None, None, {})
    (0.15, 0.0)
    """
    if not drgs or not probabilities or drgs[0] not in weights:
        return 0.0
    pairs = zip(drgs, probabilities, strict=True)
    return sum(share * abs(weights.get(drg, weights[drgs[0]]) - weights[drgs[0]]) for drg, share in pairs)


class Worklist:
    """Holds a desk's cases; the queue's thread scores them a few at a time, after the requests that wait.

    Args:
        cases: those with a proposal are scored already.
        queue: its thread owns the model.
        score: returns cases with their proposals; it runs in that thread alone.
    """

    def __init__(
        self,
        cases: Iterable[Encounter],
        queue: ScoringQueue,
        score: Callable[[Sequence[Encounter]], Sequence[Encounter]],
    ) -> None:
        self._cases = {case.id: case for case in cases}
        self._queue, self._score = queue, score
        self._left = deque(case.id for case in self if not case.proposal)
        self._clock = Clock(total=len(self._left), what="scoring the worklist", unit="case")

    def __iter__(self) -> Iterator[Encounter]:
        """Yields first the cases without a DRG, then by what a review is worth; at the end those not scored yet."""

        def rank(case: Encounter) -> tuple[bool, bool, float]:
            return not case.proposal, case.proposal.get("drg") is not None, -case.worth

        return iter(sorted(self._cases.values(), key=rank))

    @contextmanager
    def scoring(self) -> Iterator[None]:
        """Has the cases scored while it is entered, and shows on standard error how far they are."""
        if not self._left:
            yield
            return
        with self._clock:
            self._queue.call(self._read_next)
            yield

    @property
    def progress(self) -> str:
        """Says how many are scored, and how long the others will take; empty once all are."""
        clock = self._clock
        if clock.done == clock.total:
            return ""
        return clock.line(time.monotonic() - clock.start) if clock.done else f"{clock.what}: 0 of {clock.total}"

    def opened(self, case_id: str) -> Encounter | None:
        """Returns a case, which is scored first where it is not; None where there is none of this id."""
        if case_id in self._cases and self._cases[case_id].proposal in ({}, UNREAD):
            self._queue.call(self._read, [case_id]).result()
        return self._cases.get(case_id)

    def _read_next(self) -> None:
        """Scores the next cases if no request waits, and asks for its next turn, behind what came meanwhile."""
        if not self._queue.waiting:
            self._read([self._left.popleft() for _ in range(min(IN_BACKGROUND, len(self._left)))])
            self._clock.reach(self._clock.total - len(self._left))
        if self._left:
            # A closed queue raises here, in a future that nobody reads.
            self._queue.call(self._read_next)

    def _read(self, ids: Sequence[str]) -> None:
        """Scores cases; where that fails, each alone, so that none bears another's fault."""
        cases = [case for case_id in ids if (case := self._cases[case_id]).proposal in ({}, UNREAD)]
        try:
            self._cases.update((case.id, case) for case in (self._score(cases) if cases else ()))
        except Exception as error:
            if len(cases) == 1:
                print(f"a case cannot be scored: {failure(error)}", file=sys.stderr, flush=True)
                self._cases[cases[0].id] = replace(cases[0], proposal=UNREAD)
                return
            for case in cases:
                self._read([case.id])


@dataclass(frozen=True)
class Filters:
    """Holds what of the worklist a coder asks for; an empty one asks for all."""

    status: str = ""
    mdc: str = ""
    decision: str = ""
    reason: str = ""
    q: str = ""
    """Part of an id."""

    def of(
        self, worklist: Iterable[Encounter], last: Mapping[str, tuple[int, LoggedAction]]
    ) -> Iterator[tuple[Encounter, str]]:
        """Yields the encounters asked for, each with its status, in the worklist's order."""
        for case in worklist:
            proposal, status = case.proposal, status_of(case.id, last)
            if (
                self.status in ("", status)
                and (not self.mdc or proposal.get("mdc") == self.mdc)
                and self.decision in ("", proposal.get("decision"))
                and (not self.reason or self.reason in map(kind_of, proposal.get("reasons", ())))
                and self.q.lower() in case.id.lower()
            ):
                yield case, status


def status_of(case: str, last: Mapping[str, tuple[int, LoggedAction]]) -> str:
    """Names what became of a case."""
    return STATUSES[last[case][1].action if case in last else ""]


def kind_of(reason: str) -> str:
    """Names the kind of a reason to defer: what stands before its colon.

    >>> kind_of("too short: 4 words, the cohort's notes have 41 or more"), kind_of("1,204 tokens not read")
    ('too short', 'tokens not read')
    """
    return reason.partition(":")[0].lstrip("0123456789,. ")
