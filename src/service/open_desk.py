"""Opens the coder's desk: reads a study's allocation, and says how cases are scored and explained."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import polars as pl

from src.cohort.apr import AprDrg
from src.cohort.msdrg import Drg, load_drgs
from src.config.prepare import DrgSystem, system_name
from src.evidence.explanation import explain_note
from src.inference.proposals import Proposer
from src.service.access import Access
from src.service.action_log import ActionLog, LogUnavailableError
from src.service.allotted_cases import read_allocation
from src.service.desk import Desk
from src.service.scoring_queue import ScoringQueue
from src.service.served_notes import text_finder
from src.service.worklist import Encounter, Worklist, worth_of

SENTENCES = 5
"""Strongest sentences that are marked."""


def open_desk(
    proposer: Proposer,
    queue: ScoringQueue,
    log: ActionLog,
    access: Access,
    encounters: pl.DataFrame,
    study: Path | None,
) -> Desk:
    """Opens the desk; what is left to score of its worklist waits for `Worklist.scoring`.

    Args:
        proposer: what proposes DRGs.
        queue: scores with it; its thread makes explanations too.
        log: what coders did, and what was proposed before.
        access: who may log in.
        encounters: see `src.service.served_notes.read_encounters`.
        study: a study's allocation.

    Raises:
        UserError: the allocation cannot be read, or names other cases.
    """
    first = proposer.models.first
    version = proposer.models.drg_version
    drgs: Mapping[str, Drg | AprDrg] = load_drgs(version) if version and version != DrgSystem.APR else {}
    if version == DrgSystem.APR:
        drgs = {label.code: label for label in first.predictor.data.cohort.labels if isinstance(label, AprDrg)}
    find = text_finder(first.kept)

    @lru_cache(1_000)
    def explain(note: str, drg: str, against: str | None) -> list[tuple[str, float]]:
        (text,) = find(pl.Series([note]))
        scores = queue.call(explain_note, first, text, drg, against).result()
        strongest = sorted(scores, key=lambda sentence: -sentence.score)[:SENTENCES]
        return [(text[sentence.start : sentence.end].strip(), sentence.score) for sentence in strongest]

    return Desk(
        worklist=_worklist(proposer, queue, log, encounters),
        log=log,
        access=access,
        system=system_name(version),
        titles={code: drg.title for code, drg in drgs.items()} or dict.fromkeys(proposer.models.space.codes, ""),
        drgs=drgs,
        weights=proposer.weights,
        study=read_allocation(study, set(encounters["id"])) if study else None,
        explain=explain,
    )


def _worklist(proposer: Proposer, queue: ScoringQueue, log: ActionLog, encounters: pl.DataFrame) -> Worklist:
    """Makes the worklist; what the same models proposed for the same notes is not scored again."""
    fingerprint = proposer.fingerprint()
    before = log.proposals(fingerprint)

    def with_proposal(case: Encounter, proposal: Mapping[str, Any]) -> Encounter:
        worth = worth_of(proposal.get("drgs"), proposal.get("probabilities"), proposer.weights.of)
        return replace(case, proposal=proposal, worth=worth)

    def score(cases: Sequence[Encounter]) -> list[Encounter]:
        notes = pl.DataFrame({"id": [case.id for case in cases], "text": [case.note for case in cases]})
        proposals = queue.score(notes.with_columns(sections=True)).to_dicts()
        kept = {_digest(case): json.dumps(row) for case, row in zip(cases, proposals, strict=True)}
        with suppress(LogUnavailableError):
            log.keep(fingerprint, kept)
        return list(map(with_proposal, cases, proposals))

    cases = [Encounter(*row) for row in encounters.select("id", "text", "days").rows()]
    known = [with_proposal(case, json.loads(before.get(_digest(case), "{}"))) for case in cases]
    return Worklist(known, queue, score)


def _digest(case: Encounter) -> str:
    return hashlib.sha256(case.note.encode()).hexdigest()
