"""Orders encounters by what a review of each is worth, and shows those that a coder asks for."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from src.service.action_log import LoggedAction

A_PAGE = 50

STATUSES = {"": "open", "accept": "accepted", "override": "overridden", "defer": "deferred", "decide": "decided"}
"""What a case is called after the last action on it."""


@dataclass(frozen=True)
class Encounter:
    """Holds an encounter with what is proposed for it."""

    id: str
    note: str
    text: str | None
    """What the model read."""
    days: float | None
    """Days in house, where they are known."""
    proposal: Mapping[str, Any]
    """A row of `Proposer.propose`."""
    worth: float
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


def make_worklist(
    notes: pl.DataFrame,
    find: Callable[[pl.Series], pl.Series],
    propose: Callable[[pl.DataFrame], pl.DataFrame],
    weights: Mapping[str, float],
) -> dict[str, Encounter]:
    """Has encounters scored, and orders them: those without a proposal first, then by what a review is worth.

    Args:
        notes: `id`, `text` and `days`, see `read_encounters`.
        find: finds in notes what the model reads.
        propose: proposes DRGs for rows of `id` and `text`.
        weights: relative weights by DRG.
    """
    rows = notes.with_columns(read=find(notes["text"]))
    encounters = []
    for part in rows.iter_slices(64):
        proposed = propose(part.select("id", text="read"))
        for row, proposal in zip(part.iter_rows(named=True), proposed.to_dicts(), strict=True):
            worth = worth_of(proposal["drgs"], proposal["probabilities"], weights)
            encounters.append(Encounter(row["id"], row["text"], row["read"], row["days"], proposal, worth))
    encounters.sort(key=lambda case: (case.proposal["drg"] is not None, -case.worth))
    return {case.id: case for case in encounters}


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
        self, worklist: Mapping[str, Encounter], last: Mapping[str, tuple[int, LoggedAction]]
    ) -> Iterator[tuple[Encounter, str]]:
        """Yields the encounters asked for, each with its status, in the worklist's order."""
        for case in worklist.values():
            proposal, status = case.proposal, status_of(case.id, last)
            if (
                self.status in ("", status)
                and (not self.mdc or proposal["mdc"] == self.mdc)
                and self.decision in ("", proposal["decision"])
                and (not self.reason or any(kind_of(reason) == self.reason for reason in proposal["reasons"]))
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
